"""A frame as motion estimation uses it: grey image, labels, depth and camera at one size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dvps_ros.scene.rays import undistorted
from dvps_ros.scene.resampling import Nearest
from dvps_ros.structures import Intrinsics, Scene

#: Corners of a picture of this many pixels suffice for the camera's motion; more of them only take longer.
PIXELS = 131072


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


def view_of(scene: Scene, grey: Tensor, camera: Intrinsics, extent: tuple[float, float]) -> View:
    """The view of a scene at the network's resolution, or at a whole fraction of it that has 0.6 to 2.25 ``PIXELS``.

    ``grey`` (h, w) float32 0..255 and ``camera`` have the network's resolution; ``extent`` is the (h, w) of its pixels
    that the scene's maps cover. Only what the view keeps is copied from a GPU.
    """
    step = max(1, round(math.sqrt(grey.numel() / PIXELS)))
    if step > 1:
        grey = F.avg_pool2d(grey[None], step)[0]
        height, width = grey.shape
        camera = camera.cropped(0, 0, step * width, step * height).resized(width, height)
        extent = extent[0] / step, extent[1] / step
    panoptic, depth = scene.panoptic, scene.depth
    if panoptic.shape != grey.shape:
        size, whole = (grey.shape[0], grey.shape[1]), (panoptic.shape[0], panoptic.shape[1])
        seen = size[0] * whole[0] / extent[0], size[1] * whole[1] / extent[1]  # of the maps, by the whole picture
        nearest = Nearest.of(whole, size, seen, grey.device)
        panoptic, depth = nearest(panoptic), nearest(depth)
    return View(grey.to(torch.uint8).cpu().numpy(), panoptic.cpu().numpy(), depth.cpu().numpy(), camera)


def normalized(pixels: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """(N, 2) float64 x / z and y / z of the rays through ``pixels`` (N, 2) (x, y); distortion is removed.

    NaN for pixels without a ray, such as those of a fisheye at 90 degrees and more.
    """
    x, y = ((pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy]).T
    return np.stack(undistorted(x, y, camera), 1)


def in_view(pixels: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """As ``normalized``, (N, 2) for (N, 2), but a pixel without a ray has that of a camera without distortion.

    It lies on the right side, and nobody sees so far out where exactly.
    """
    straight = (pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    found = normalized(pixels, camera)
    return np.where(np.isfinite(found), found, straight)
