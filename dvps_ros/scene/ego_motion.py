"""The camera's motion between two frames, from static points and their depth.

Optical flow follows corners on static classes (Lucas and Kanade, IJCAI 1981; with pyramids, Bouguet 2000). Depth in the
earlier frame makes them 3D points. The camera's pose in the later frame then solves a perspective-n-point problem with
RANSAC (Fischler and Bolles, CACM 1981).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from dvps_ros.config import TrackConfig
from dvps_ros.labels import DIVISOR, VOID, LabelSet
from dvps_ros.scene.cuts import is_cut
from dvps_ros.scene.rays import project
from dvps_ros.scene.view import View, normalized
from dvps_ros.structures import CameraMotion, Intrinsics

#: Number of corners that are followed, and side in pixels of the cells with at most one corner.
_POINTS, _CELL = 140, 10
#: Margin at the image border in pixels, and range of usable depth in metres.
_BORDER, _NEAR, _FAR = 4, 0.5, 60.0
#: Threshold of FAST in grey levels: initial value and bounds.
_CONTRAST, _LOW_CONTRAST, _HIGH_CONTRAST = 20.0, 6.0, 160.0
#: It adapts to keep the number of corners in this range, by this power of the ratio of that number to the wanted one.
_CORNERS, _ADAPTATION = (250, 600), 0.1
_FLOW: dict[str, Any] = {
    "winSize": (11, 11),
    "maxLevel": 1,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.03),
    "minEigThreshold": 1e-3,
}
#: Corners up to this percentile of the flow's residual are used.
_FLOW_PERCENTILE = 75
#: RANSAC: reprojection error of inliers in pixels, iterations, and smallest number and share of inliers.
_REPROJECTION, _ITERATIONS, _MIN_INLIERS, _MIN_SHARE = 1.5, 150, 15, 0.2
#: Search without a prior motion: metres ahead, degrees to the left (points then move right).
_AHEAD = (0, 0.3, 0.6, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, -0.5, -1, -2)
_YAW = (0, -2, 2, -4, 4, -7, 7, -10, 10, -14, 14, -19, 19, -25, 25)
#: Downward pitch of the camera in degrees that the search tries.
_PITCH = (-3, 0, 3, 6, 10)
#: Upper limit of differences in grey levels, and smallest share of points that stay in the image.
_MAX_DIFFERENCE, _IN_IMAGE = 60.0, 0.4
#: Motion in metres from which on its direction is used in later searches.
_MOVED = 0.1


class EgoMotion:
    """Estimates how the camera moved from each frame to the next.

    Parameters
    ----------
    labels : the class table; corners on things and sky are not used.
    config : limits of the camera's speed.
    """

    def __init__(self, labels: LabelSet, config: TrackConfig | None = None) -> None:
        self.config = config or TrackConfig()
        self._static = np.zeros(VOID + 1, bool)  # indexed by panoptic value: a lookup is faster than a division
        for i in range(len(labels)):
            self._static[i * DIVISOR : (i + 1) * DIVISOR] = not labels.is_thing[i] and i not in labels.sky
        self._fast = cv2.FastFeatureDetector.create()
        self.reset()

    def reset(self) -> None:
        """Forget the last frame."""
        self._before: View | None = None
        self._velocity: np.ndarray | None = None  # (6,) rotation vector and translation per second
        self._direction: np.ndarray | None = None  # (3,) driving direction in the optical frame
        self._contrast = _CONTRAST

    def rescale(self, factor: float) -> None:
        """Multiply all stored distances by ``factor``."""
        if self._before is not None:
            self._before = replace(self._before, depth=self._before.depth * factor)
        if self._velocity is not None:
            self._velocity = self._velocity * np.repeat([1.0, factor], 3)

    def update(self, view: View, seconds: float) -> CameraMotion:
        """The motion from the last view to this one, ``seconds`` later; on failure ``CameraMotion.problem`` is set."""
        before, self._before = self._before, view
        if before is None or before.grey.shape != view.grey.shape:
            return CameraMotion(seconds=seconds, problem="no frame before")
        try:
            motion = self._estimate(before, view, seconds)
        except cv2.error as error:  # degenerate points
            motion = CameraMotion(seconds=seconds, problem=f"no pose: {error.err}")
        self._learn(motion)
        return motion

    def follow(self, view: View | None, motion: CameraMotion) -> None:
        """Take over a frame whose ``motion`` is known from elsewhere; None: its picture is missing."""
        self._before = view
        self._learn(motion)

    def _learn(self, motion: CameraMotion) -> None:
        """Expect the next frame to go on like ``motion``."""
        if motion.matrix is None or motion.seconds <= 0:
            return
        self._velocity = logarithm(motion.matrix) / motion.seconds
        distance = np.linalg.norm(motion.matrix[:3, 3])
        if distance > _MOVED:
            ahead = motion.matrix[:3, 3] / -distance
            self._direction = ahead if ahead[2] > 0 else -ahead

    def _estimate(self, before: View, view: View, seconds: float) -> CameraMotion:
        corners = self._corners(before)  # (N, 2) float32
        points = _points(before, corners)
        known = np.isfinite(points).all(1)
        corners, points = corners[known], points[known]
        if len(corners) < _MIN_INLIERS:
            return CameraMotion(seconds=seconds, problem="too few corners with depth on static classes")
        motion = None
        if self._velocity is not None:
            motion = self._solve(before, view, corners, points, self._velocity * seconds, seconds)
        if motion is None or motion.problem:  # the last velocity does not help: search
            guess = _search(before, view, corners, points, self.config.max_speed * seconds, self._direction)
            motion = self._solve(before, view, corners, points, guess, seconds)
        return replace(motion, cut=is_cut(before.grey, view.grey)) if motion.problem else motion

    def _solve(
        self, before: View, view: View, corners: np.ndarray, points: np.ndarray, guess: np.ndarray, seconds: float
    ) -> CameraMotion:
        """The motion, if it is near ``guess`` (6,), a rotation vector and a translation."""
        expected = _expected_pixels(points, corners, view.camera, guess)
        found, status, residual = cv2.calcOpticalFlowPyrLK(
            before.grey, view.grey, corners, expected, flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **_FLOW
        )
        height, width = view.grey.shape
        kept = (status[:, 0] > 0) & (found >= 0).all(1) & (found[:, 0] < width) & (found[:, 1] < height)
        kept &= residual[:, 0] <= np.percentile(residual, _FLOW_PERCENTILE)
        rays = normalized(found, view.camera)
        kept &= np.isfinite(rays).all(1)
        if kept.sum() < _MIN_INLIERS:
            return CameraMotion(seconds=seconds, problem="too few corners found again")
        matrix, inliers = _pose(points[kept], rays[kept], view.camera)
        share = inliers / kept.sum()
        problem = self._problem(matrix, seconds, share, inliers)
        return CameraMotion(None if problem else matrix, seconds, share, "" if problem else "picture", problem)

    def _corners(self, view: View) -> np.ndarray:
        """(N, 2) float32 x, y of the strongest corner of static classes in each cell."""
        usable = self._static.take(view.panoptic)
        usable &= view.depth > _NEAR
        usable &= view.depth < _FAR
        usable[:_BORDER], usable[-_BORDER:], usable[:, :_BORDER], usable[:, -_BORDER:] = False, False, False, False
        # a corner next to a thing's edge would move partly with the thing
        mask = cv2.erode(usable.view(np.uint8), np.ones((5, 5), np.uint8))
        self._fast.setThreshold(round(self._contrast))
        found = self._fast.detect(view.grey, mask)
        if not _CORNERS[0] <= len(found) <= _CORNERS[1]:
            wanted = math.sqrt(_CORNERS[0] * _CORNERS[1])
            step = min(max((len(found) / wanted) ** _ADAPTATION, 0.8), 1.25)
            self._contrast = min(max(self._contrast * step, _LOW_CONTRAST), _HIGH_CONTRAST)
        if not found:
            return np.zeros((0, 2), np.float32)
        at = np.array(cv2.KeyPoint.convert(found))
        strength = np.array([corner.response for corner in found])
        order = np.argsort(-strength, kind="stable")
        cells = (at[order] // _CELL).astype(np.int64) @ np.array([1, 100000])
        _, first = np.unique(cells, return_index=True)
        chosen = order[np.sort(first)]  # unique orders by cell; restore the order by strength
        return np.ascontiguousarray(at[chosen[:: max(1, len(chosen) // _POINTS)]][:_POINTS], np.float32)

    def _problem(self, matrix: np.ndarray, seconds: float, share: float, inliers: int) -> str:
        """Why a motion is refused; empty if it is plausible."""
        if inliers < _MIN_INLIERS or share < _MIN_SHARE:
            return "too few corners agree"
        return implausible(matrix, seconds, self.config)


def implausible(matrix: np.ndarray, seconds: float, config: TrackConfig) -> str:
    """Why a motion (4, 4) within ``seconds`` exceeds the limits of ``config``; empty if it is plausible."""
    if not np.isfinite(matrix).all():
        return "the pose is not finite"
    angle = math.degrees(np.linalg.norm(cv2.Rodrigues(matrix[:3, :3])[0]))
    distance = float(np.linalg.norm(matrix[:3, 3]))
    # stamps jitter: allow a tenth of a second more
    if distance > config.max_speed * (seconds + 0.1):
        return f"the camera would have moved {distance:.1f} m"
    if angle > config.max_turn * (seconds + 0.1):
        return f"the camera would have turned {angle:.0f} degrees"
    return ""


def _expected_pixels(points: np.ndarray, corners: np.ndarray, camera: Intrinsics, step: np.ndarray) -> np.ndarray:
    """(N, 2) float32 pixels of ``points`` after a motion (6,); ``corners``, their old pixels, if outside the image."""
    moved = points @ cv2.Rodrigues(step[:3])[0].T + step[3:]
    at = project(torch.from_numpy(moved), camera).numpy()
    inside = np.isfinite(at).all(1) & (at >= 0).all(1) & (at < [camera.width, camera.height]).all(1)
    return np.where(inside[:, None], at, corners).astype(np.float32)


def _search(
    before: View, view: View, corners: np.ndarray, points: np.ndarray, farthest: float, direction: np.ndarray | None
) -> np.ndarray:
    """The motion (6,) with the smallest difference of grey levels: a step along ``direction``, then a turn.

    A grid of steps and turns is tried on blurred images, without a direction also several pitches of the camera.
    """
    first, second = (cv2.blur(v.grey, (7, 7)) for v in (before, view))
    grey = first[np.rint(corners[:, 1]).astype(np.int64), np.rint(corners[:, 0]).astype(np.int64)].astype(np.float32)
    ahead = np.array([d for d in _AHEAD if abs(d) <= farthest] or [0.0])
    if direction is None:
        pitches = np.radians(_PITCH)
        differences = [
            _best_motion(points, grey, second, view.camera, ahead, _level(pitch), np.zeros(1))[0] for pitch in pitches
        ]
        direction = _level(pitches[int(np.argmin(differences))])
    yaw = np.radians(_YAW)
    _, turn, step = _best_motion(points, grey, second, view.camera, ahead, direction, yaw)
    rotation = np.array([0.0, yaw[turn], 0.0])
    return np.concatenate([rotation, cv2.Rodrigues(rotation)[0] @ (-ahead[step] * direction)])


def _level(pitch: float) -> np.ndarray:
    """(3,) direction parallel to the ground, in the frame of a camera that looks down by ``pitch`` radians."""
    return np.array([0.0, -np.sin(pitch), np.cos(pitch)])


def _best_motion(
    points: np.ndarray,
    grey: np.ndarray,
    picture: np.ndarray,
    camera: Intrinsics,
    ahead: np.ndarray,
    direction: np.ndarray,
    yaw: np.ndarray,
) -> tuple[float, int, int]:
    """The smallest mean difference of grey levels, and the indices into ``yaw`` and ``ahead`` of its motion.

    ``points`` (N, 3) had the levels ``grey`` (N,) in the earlier image; ``picture`` (h, w) is the later one.
    """
    cosine, sine = np.cos(yaw)[:, None, None].astype(np.float32), np.sin(yaw)[:, None, None].astype(np.float32)
    x, y, z = (points.T[:, None] - ahead[None, :, None] * direction[:, None, None]).astype(np.float32)  # (D, N) each
    turned_x, turned_z = cosine * x + sine * z, cosine * z - sine * x  # (Y, D, N)
    with np.errstate(all="ignore"):
        u = np.rint(camera.fx * turned_x / turned_z + camera.cx)
        v = np.rint(camera.fy * y / turned_z + camera.cy)
    height, width = picture.shape
    inside = (turned_z > _NEAR) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    u, v = (np.where(inside, c, 0).astype(np.int64) for c in (u, v))
    difference = np.minimum(np.abs(picture[v, u] - grey), _MAX_DIFFERENCE) * inside
    count = inside.sum(-1)
    mean = difference.sum(-1) / np.maximum(count, 1)
    mean = np.where(count >= _IN_IMAGE * len(points), mean, _MAX_DIFFERENCE)  # (Y, D)
    turn, step = np.unravel_index(mean.argmin(), mean.shape)
    return float(mean[turn, step]), int(turn), int(step)


def _points(view: View, corners: np.ndarray) -> np.ndarray:
    """(N, 3) float64 points of corners (N, 2), metres in the optical frame; NaN without depth or ray."""
    depth = view.depth[np.rint(corners[:, 1]).astype(np.int64), np.rint(corners[:, 0]).astype(np.int64)]
    return np.concatenate([normalized(corners, view.camera), np.ones((len(corners), 1))], 1) * depth[:, None]


def _pose(points: np.ndarray, rays: np.ndarray, camera: Intrinsics) -> tuple[np.ndarray, int]:
    """The motion (4, 4) that moves ``points`` (N, 3) to ``rays`` (N, 2), x / z and y / z, and the inlier count."""
    error = _REPROJECTION / camera.fx
    good, rotation, shift, inliers = cv2.solvePnPRansac(
        points, rays, np.eye(3), None, iterationsCount=_ITERATIONS, reprojectionError=error, flags=cv2.SOLVEPNP_AP3P
    )
    matrix = np.eye(4)
    if not good or inliers is None:
        return matrix, 0
    rotation, shift = cv2.solvePnPRefineLM(points[inliers[:, 0]], rays[inliers[:, 0]], np.eye(3), None, rotation, shift)
    matrix[:3, :3], matrix[:3, 3] = cv2.Rodrigues(rotation)[0], shift[:, 0]
    moved = points[inliers[:, 0]] @ matrix[:3, :3].T + matrix[:3, 3]
    if not np.isfinite(matrix).all() or (moved[:, 2] <= 0).any():
        return np.eye(4), 0
    return matrix, len(inliers)


def logarithm(matrix: np.ndarray) -> np.ndarray:
    """(6,) rotation vector (radians) and translation of a motion (4, 4)."""
    return np.concatenate([cv2.Rodrigues(matrix[:3, :3])[0][:, 0], matrix[:3, 3]])


def exponential(step: np.ndarray) -> np.ndarray:
    """The motion (4, 4) of a rotation vector and a translation (6,); the inverse of ``logarithm``."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = cv2.Rodrigues(step[:3])[0], step[3:]
    return matrix
