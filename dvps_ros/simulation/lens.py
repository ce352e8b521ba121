"""Lens distortion: maps the pixels of a lens's image to the pinhole image that MuJoCo renders.

The models are those of OpenCV, under their names in sensor_msgs/CameraInfo: ``plumb_bob`` (k1 k2 p1 p2 k3) and
``equidistant`` (k1 k2 k3 k4; Kannala and Brandt, PAMI 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dvps_ros.config import RigConfig
from dvps_ros.structures import Intrinsics

#: Directions farther than this from the optical axis, in focal lengths (79 degrees), are not rendered.
_WIDEST = 5.0
#: Termination criteria of OpenCV's inverse models.
_CRITERIA = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, 200, 1e-9)
#: A direction is valid if the forward model returns to the pixel within this many focal lengths.
_TOLERANCE = 1e-6
#: A surface is flat at a pixel if the second difference of 1 / depth is below this share of it.
_FLAT = 0.02


@dataclass(frozen=True)
class Lens:
    """A distortion model of sensor_msgs/CameraInfo (empty: a pinhole) and its coefficients."""

    model: str = ""
    coefficients: tuple[float, ...] = ()

    @classmethod
    def of(cls, config: RigConfig, share: float) -> Lens:
        """The configured lens with ``share`` times its coefficients."""
        straight = config.distortion_model == "plumb_bob" and not any(config.distortion)
        if config.distortion_model == "none" or straight:
            return cls()
        return cls(config.distortion_model, tuple(share * value for value in config.distortion))

    def directions(self, camera: Intrinsics) -> np.ndarray:
        """(H, W, 2) x and y at z = 1 of the ray of each pixel of ``camera``; NaN outside the lens's field of view."""
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        goal = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], -1).reshape(-1, 1, 2)
        with np.errstate(all="ignore"):
            ray = self._undistorted(goal)
            miss = np.linalg.norm(self._distorted(ray) - goal, axis=-1)
            radius = np.linalg.norm(ray, axis=-1)
            good = (miss < _TOLERANCE) & (radius < min(_WIDEST, self._fold()))
        return np.where(good[..., None], ray, np.nan).reshape(camera.height, camera.width, 2)

    def _undistorted(self, goal: np.ndarray) -> np.ndarray:
        k, eye = np.array(self.coefficients), np.eye(3)
        if self.model == "equidistant":
            return cv2.fisheye.undistortPoints(goal, eye, k, criteria=_CRITERIA)
        return cv2.undistortPointsIter(goal, eye, k, eye, eye, _CRITERIA)

    def _distorted(self, ray: np.ndarray) -> np.ndarray:
        k, eye = np.array(self.coefficients), np.eye(3)
        if self.model == "equidistant":
            return cv2.fisheye.distortPoints(ray, eye, k)
        points = np.concatenate([ray, np.ones_like(ray[..., :1])], -1)
        return cv2.projectPoints(points, np.zeros(3), np.zeros(3), eye, k)[0]

    def _fold(self) -> float:
        """The ray radius up to which the image radius grows with it (without tangential terms)."""
        radius = np.linspace(0, _WIDEST, 5001)
        ray = np.stack([radius, np.zeros_like(radius)], -1)[:, None]
        straight = Lens(self.model, self._radial()) if self.model else self
        falling = np.diff(straight._distorted(ray)[:, 0, 0]) <= 0
        return float(radius[falling.argmax()]) if falling.any() else _WIDEST

    def _radial(self) -> tuple[float, ...]:
        if self.model == "equidistant":
            return self.coefficients
        return (*self.coefficients[:2], 0.0, 0.0, *self.coefficients[4:])


class LensMap:
    """Converts pinhole renderings to the images of a lens.

    Parameters
    ----------
    lens : the lens.
    camera : focal length and size of the result; its distortion is ignored.

    Attributes
    ----------
    pinhole : the camera to render, with the same focal length and position, wide enough for the lens's field of view.
    directions : (H, W, 2) directions of the lens's pixels, see ``Lens.directions``.
    blind : (H, W) bool, True outside the lens's field of view.

    Raises ``ValueError`` for a lens that shows no pixel.
    """

    def __init__(self, lens: Lens, camera: Intrinsics) -> None:
        rays = self.directions = lens.directions(camera)
        self.blind = np.isnan(rays[..., 0])
        if self.blind.all():
            raise ValueError(f"a lens {lens.model} with coefficients {lens.coefficients} shows no pixel")
        reach = np.nanmax(np.abs(rays), axis=(0, 1))
        width, height = (2 * int(np.ceil(r * f)) + 3 for r, f in zip(reach, (camera.fx, camera.fy), strict=True))
        self.pinhole = Intrinsics(camera.fx, camera.fy, (width - 1) / 2, (height - 1) / 2, width, height)
        self._at = rays * [camera.fx, camera.fy] + [self.pinhole.cx, self.pinhole.cy]
        # towards the edge of a wide lens the image shrinks, so each pixel averages four samples
        fine = cv2.resize(self._at, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        coarse = self._at.repeat(2, 0).repeat(2, 1)
        self._fine = np.nan_to_num(np.where(np.isnan(fine), coarse, fine)).astype(np.float32)

    def picture(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 image from the pinhole's; black outside the lens's field of view."""
        fine = cv2.remap(rgb, self._fine[..., 0], self._fine[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        height, width = self.blind.shape
        small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        small[self.blind] = 0
        return small

    def labels(self, values: np.ndarray, void: int) -> np.ndarray:
        """(H, W) labels by nearest neighbour from the pinhole's; ``void`` outside the lens's field of view."""
        x, y = (np.floor(np.nan_to_num(part) + 0.5).astype(int) for part in (self._at[..., 0], self._at[..., 1]))
        return np.where(self.blind, values.dtype.type(void), values[y, x])

    def depth(self, depth: np.ndarray) -> np.ndarray:
        """(H, W) depth along the common optical axis, 0 outside the lens's field of view.

        It is the pinhole's depth by nearest neighbour. If the four neighbours lie on a flat surface, it is interpolated
        linearly in 1 / depth, which is exact on planes.
        """
        at = np.nan_to_num(self._at)
        left, top = (
            np.clip(np.floor(at[..., k]).astype(int), 0, size - 2)
            for k, size in enumerate((self.pinhole.width, self.pinhole.height))
        )
        x, y = at[..., 0] - left, at[..., 1] - top
        cells = [(top + j, left + k) for j in (0, 1) for k in (0, 1)]
        corners = np.stack([depth[cell] for cell in cells])
        nearest = np.take_along_axis(corners, ((y >= 0.5) * 2 + (x >= 0.5))[None].astype(int), 0)[0]
        weights = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
        with np.errstate(all="ignore"):
            blended = 1 / (weights / corners).sum(0)
        flat = _is_flat(depth)
        on_plane = np.logical_and.reduce([flat[cell] for cell in cells])
        return np.where(self.blind, 0, np.where(on_plane, blended, nearest)).astype(np.float32)


def _is_flat(depth: np.ndarray) -> np.ndarray:
    """(H, W) bool, True where depth (H, W) and its four neighbours lie on a plane."""
    with np.errstate(all="ignore"):
        inverse = 1 / np.pad(depth, 1, mode="edge")
        middle = inverse[1:-1, 1:-1]
        bend_x = inverse[1:-1, :-2] - 2 * middle + inverse[1:-1, 2:]
        bend_y = inverse[:-2, 1:-1] - 2 * middle + inverse[2:, 1:-1]
        return np.maximum(np.abs(bend_x), np.abs(bend_y)) < _FLAT * middle  # False in the sky, where it is NaN
