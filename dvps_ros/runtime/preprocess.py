"""From a camera's picture to the network's input, on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dvps_ros.config import InputConfig


def network_size(image_size: tuple[int, int], config: InputConfig) -> tuple[int, int]:
    """(H, W) at which the network sees an image of ``image_size`` (H, W)."""
    return config.height or image_size[0], config.width or image_size[1]


def to_device(image: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 RGB picture as a tensor on the device; through pinned memory to a CUDA one.

    Raises ``ValueError`` naming what is wrong with an array that is no such picture.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} array of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"the image must be a uint8 array of shape (H, W, 3), got {found}")
    if 0 in image.shape:
        raise ValueError(f"the image is empty: shape {image.shape}")
    if not (image.flags.c_contiguous and image.flags.writeable):  # torch shares only such memory
        image = image.copy()
    picture = torch.from_numpy(image)
    return picture.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else picture.to(device)


def preprocess(image: np.ndarray, config: InputConfig, device: torch.device) -> Tensor:
    """(1, 3, H, W) images for the network, RGB 0..255, from one (H', W', 3) uint8 RGB picture.

    Resized bilinearly with antialiasing where the network's size (``network_size``) differs; pixel (u, v) of the
    camera becomes ((u + 0.5) * W / W' - 0.5, ...), which is what ``Intrinsics.resized`` says of the camera.
    Raises ``ValueError`` as ``to_device`` does.
    """
    images = to_device(image, device).permute(2, 0, 1)[None]  # (1, 3, H', W'), channels last in memory
    size = network_size(image.shape[:2], config)
    if tuple(images.shape[-2:]) == size:
        return images
    if device.type != "cpu":  # only the CPU resizes bytes
        images = images.float()
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
