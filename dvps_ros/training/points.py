"""Random points at which masks are compared (PointRend, Kirillov et al., CVPR 2020; Cheng et al., CVPR 2022).

Points are image pixels in continuous coordinates: (x, y), pixel (u, v) covers u <= x < u + 1, v <= y < v + 1.
They are drawn from labelled pixels only, so a mean over points is a mean over labelled pixels, dense or sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dvps_ros.config.network import MAP_STRIDE
from dvps_ros.labels import VOID
from dvps_ros.structures import Target


def draw(labelled: Tensor, count: int, seed: int) -> Tensor:
    """Random points, uniform over the labelled area.

    Parameters
    ----------
    labelled : (H, W) bool with at least one True.
    count : number of points.
    seed : 0 .. 2**63 - 1; the same seed and labels give the same points on the same kind of device, independent of
        other images of the batch.

    Returns
    -------
    (count, 2) float32, (x, y) in pixels.

    Raises ``ValueError`` if no pixel is labelled.
    """
    pixels = labelled.flatten().nonzero()[:, 0]
    if len(pixels) == 0:
        raise ValueError("no labelled pixel to draw points from")
    random: dict[str, Any] = {
        "device": labelled.device,
        "generator": torch.Generator(labelled.device).manual_seed(seed),
    }
    chosen = pixels[torch.randint(len(pixels), (count,), **random)]
    width = labelled.shape[1]
    corner = torch.stack((chosen % width, chosen // width), dim=1)
    # added to a large float32, values of torch.rand near 1 would round up to the next pixel
    return corner + torch.rand(count, 2, **random).clamp(max=0.999)


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of a stride-4 map. Their dot products with an embedding are samples of the logits.

    Parameters
    ----------
    features : (C, h, w) of the padded image (padding is at the right and bottom).
    points : (P, 2) image pixels.

    Returns
    -------
    (C, P), the dtype of ``features``.
    """
    height, width = features.shape[-2:]
    size = torch.tensor([width * MAP_STRIDE, height * MAP_STRIDE], dtype=features.dtype, device=features.device)
    grid = (2 * points.to(features.dtype) / size - 1)[None, None]  # (1, 1, P, 2)
    return F.grid_sample(features[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0, :, 0]


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """The label of the pixel under each point: (N, H, W) bool masks, (P, 2) points -> (N, P) bool."""
    columns, rows = points.long().unbind(1)
    return masks[:, rows, columns]


def uncertain(logits: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` most uncertain points of each mask, with logits nearest to 0.

    Parameters
    ----------
    logits : (..., P).

    Returns
    -------
    (..., count) int64.
    """
    return logits.detach().abs().topk(count, dim=-1, largest=False, sorted=False).indices


def known_ids(target: Target) -> Tensor:
    """(H, W) int32: the image's panoptic ids; void everywhere if it came without them."""
    return target.panoptic if target.has_panoptic else torch.full_like(target.panoptic, VOID)


def at_stride(labels: Tensor, size: Sequence[int], fill: float, stride: int = MAP_STRIDE) -> Tensor:
    """Labels of an image, resized to a feature map by nearest neighbour.

    Parameters
    ----------
    labels : (..., H, W), any dtype.
    size : (h, w) of the map, h >= H / stride; cells beyond the image are ``fill``.
    stride : pixels of the image per pixel of the map, even.

    Returns
    -------
    (..., h, w): the pixel to the lower right of the center of each stride x stride cell (the center is a corner of
    four pixels).
    """
    height, width = size[0] * stride - labels.shape[-2], size[1] * stride - labels.shape[-1]
    return F.pad(labels, (0, width, 0, height), value=fill)[..., stride // 2 :: stride, stride // 2 :: stride]
