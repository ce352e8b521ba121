"""Copying a camera's picture to the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_device(image: np.ndarray, device: torch.device) -> Tensor:
    """(1, 3, H, W) uint8, channels last in memory, of one (H, W, 3) uint8 RGB picture; pinned on the way to CUDA.

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
    picture = picture.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else picture.to(device)
    return picture.permute(2, 0, 1)[None]
