"""Whether a program gives the same scene as the network that it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dvps_ros.config import MergeConfig
from dvps_ros.labels import LabelSet
from dvps_ros.scene.merge import merge
from dvps_ros.structures import Prediction


@dataclass(frozen=True)
class Tolerance:
    """What is required: equal ids, and depth within the relative error ``depth``, each on a ``share`` of pixels."""

    share: float
    depth: float


FULL = Tolerance(0.999, 1e-3)
HALF = Tolerance(0.99, 2e-2)


@dataclass(frozen=True)
class Agreement:
    """How well the scenes of a program and its network agree on one picture.

    Attributes: ``ids``, share of pixels with the same panoptic id; ``depth``, share of pixels whose depth is within the
    tolerance; ``segments``, number of segments of the network's scene; ``tolerance``, the required agreement.
    """

    ids: float
    depth: float
    segments: int
    tolerance: Tolerance = FULL

    @property
    def good(self) -> bool:
        """Whether ids and depth agree on enough pixels."""
        return min(self.ids, self.depth) >= self.tolerance.share

    def __str__(self) -> str:
        return (
            f"same ids on {self.ids:.3%} and same depth (to {self.tolerance.depth:g}) on {self.depth:.3%} of pixels, "
            f"{self.segments} segments"
        )


def compare(
    live: Callable[[Tensor], Prediction],
    program: Callable[[Tensor], Prediction],
    size: tuple[int, int],
    labels: LabelSet,
    device: torch.device,
    tolerance: Tolerance = FULL,
) -> Agreement:
    """Compare the scenes of a network and its program on one synthetic picture of ``size`` (H, W).

    Every query with a class is kept. The ``live`` network computes in float32, even under autocast, unless it chooses
    otherwise itself.
    """
    images = torch.from_numpy(tiles(*size)).to(device).permute(2, 0, 1)[None]
    config = MergeConfig(score_threshold=0.0, overlap_threshold=0.0)
    with torch.no_grad():
        with torch.autocast(device.type, enabled=False):
            true = live(images)
        ours, theirs = (merge(one, 0, size, None, labels, config).cpu() for one in (true, program(images)))
    same = (ours.panoptic == theirs.panoptic).float().mean()
    close = ((theirs.depth - ours.depth).abs() <= tolerance.depth * ours.depth).float().mean()
    return Agreement(float(same), float(close), len(ours.segments), tolerance)


def tiles(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: colored tiles under fine noise."""
    random = np.random.default_rng(0)
    colors = random.integers(0, 224, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    colors = colors.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return colors + random.integers(0, 32, colors.shape, dtype=np.uint8)
