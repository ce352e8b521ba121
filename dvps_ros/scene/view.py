"""A frame as motion estimation uses it: grey image, labels, depth and camera at one size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dvps_ros.structures import Intrinsics, Scene


@dataclass(frozen=True)
class View:
    """One frame as motion estimation uses it, at one size.

    Attributes
    ----------
    grey : (h, w) uint8.
    panoptic : (h, w) integers, class * 1000 + instance.
    depth : (h, w) float along the optical axis, metres or relative.
    camera : the camera at that size.
    """

    grey: np.ndarray
    panoptic: np.ndarray
    depth: np.ndarray
    camera: Intrinsics


def view_of(scene: Scene, grey: np.ndarray, camera: Intrinsics, extent: tuple[float, float]) -> View:
    """The view of a scene at the network's resolution.

    ``grey`` (h, w) uint8 and ``camera`` have that resolution; ``extent`` is the (h, w) of its pixels that the scene's
    maps cover.
    """
    rows, columns = (
        np.minimum(((np.arange(side) + 0.5) * (whole / covered)).astype(np.int64), whole - 1)
        for side, whole, covered in zip(grey.shape, scene.panoptic.shape, extent, strict=True)
    )
    panoptic, depth = scene.panoptic.cpu().numpy(), scene.depth.cpu().numpy()
    if panoptic.shape != grey.shape:
        panoptic, depth = panoptic[rows[:, None], columns], depth[rows[:, None], columns]
    return View(grey, panoptic, depth, camera)


def normalized(pixels: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """(N, 2) float64 x / z and y / z of the rays through ``pixels`` (N, 2) (x, y); distortion is removed."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1.0]])
    distortion = np.array(camera.distortion, np.float64)
    if not distortion.any():
        return (pixels - matrix[:2, 2]) / [camera.fx, camera.fy]
    undistort = cv2.fisheye.undistortPoints if camera.distortion_model == "equidistant" else cv2.undistortPoints
    return undistort(pixels.astype(np.float64)[:, None], matrix, distortion)[:, 0]
