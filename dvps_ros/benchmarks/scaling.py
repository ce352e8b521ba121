"""Time of a frame over its number of pixels and its number of segments, as figures and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dvps_ros.benchmarks.stages import STAGES, time_stages
from dvps_ros.config import Config
from dvps_ros.config.crops import sides
from dvps_ros.config.network import COARSEST_STRIDE, MAP_STRIDE
from dvps_ros.labels import LabelSet
from dvps_ros.runtime import Perceiver
from dvps_ros.structures import Prediction

#: Areas that are measured, as factors of the model's own, and numbers of segments in a picture.
AREAS, SEGMENTS = (0.25, 0.5, 1.0, 2.0, 4.0), (5, 10, 20, 30, 50)
#: Width by height of the measured pictures.
_ASPECT = 2.0
#: Mask logits of the synthetic segments, and their depths in metres.
_SURE, _NEAREST, _FARTHEST = 12.0, 4.0, 60.0


class MadeUpSegments(nn.Module):
    """A network that predicts a grid of ``count`` segments for any image; every third one is a thing.

    Parameters
    ----------
    count : number of segments.
    labels : the class table, whose classes are used in turn.
    max_depth : metres at sigmoid = 1.
    """

    def __init__(self, count: int, labels: LabelSet, max_depth: float = 80.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(_SURE))
        stuff = [index for index in range(len(labels)) if not labels.is_thing[index]]
        things = labels.things
        classes = [things[k // 3 % len(things)] if k % 3 == 0 else stuff[k % len(stuff)] for k in range(count)]
        logits = torch.zeros(1, count, len(labels) + 1)
        logits[0, torch.arange(count), torch.tensor(classes)] = _SURE
        metres = torch.linspace(_NEAREST, _FARTHEST, count)
        self.logits: Tensor
        self.depth: Tensor
        self.register_buffer("logits", logits)
        self.register_buffer("depth", torch.logit(metres / max_depth)[None, :, None])
        self.max_depth = max_depth

    def forward(self, images: Tensor) -> Prediction:
        """The prediction for images (B, 3, H, W)."""
        count = self.logits.shape[1]
        height, width = (-(-side // COARSEST_STRIDE) * COARSEST_STRIDE // MAP_STRIDE for side in images.shape[-2:])
        columns = max(1, round((count * _ASPECT) ** 0.5))
        rows = -(-count // columns)
        row = torch.arange(height, device=images.device) * rows // height
        column = torch.arange(width, device=images.device) * columns // width
        cell = (row[:, None] * columns + column).clamp(max=count - 1)
        features = torch.nn.functional.one_hot(cell, count).permute(2, 0, 1)[None].float() - 0.5
        ones = torch.ones(1, 1, height, width, device=images.device)
        return Prediction(
            self.logits,
            torch.eye(count, device=images.device)[None] * 2 * self.scale,
            features,
            self.depth,
            self.depth[:, :1],
            ones,
            self.max_depth,
        )


def by_pixels(perceiver: Perceiver, frames: int, warm_up: int, on_run: Callable[[], None] | None = None) -> list[dict]:
    """For each of ``AREAS`` the network's ``height``, ``width`` and ``pixels``, and the median ``ms`` of each stage.

    The image has the size of the network's input. The sizes are measured one after the other; ``on_run`` is called
    after each.
    """
    config, rows = perceiver.config, []
    for factor in AREAS:
        size = sides(round((config.input.pixels or 256 * 512) * factor), _ASPECT)
        perceiver.config = replace(config, input=replace(config.input, pixels=size[0] * size[1]))
        try:
            rows.append(
                {
                    "height": size[0],
                    "width": size[1],
                    "pixels": size[0] * size[1],
                    "ms": _median(perceiver, size, frames, warm_up),
                }
            )
        finally:
            perceiver.config = config
        if on_run is not None:
            on_run()
    return rows


def by_segments(
    size: tuple[int, int],
    labels: LabelSet,
    device: str,
    frames: int,
    warm_up: int,
    on_run: Callable[[], None] | None = None,
) -> list[dict]:
    """For each of ``SEGMENTS`` their number, and the median ``ms`` of each stage, of pictures of ``size`` (H, W).

    The segments are synthetic, so the time of ``network`` is meaningless. The other stages work as usual.
    """
    rows = []
    for count in SEGMENTS:
        perceiver = Perceiver(MadeUpSegments(count, labels), Config(), device, "32", labels)
        rows.append({"segments": count, "ms": _median(perceiver, size, frames, warm_up)})
        if on_run is not None:
            on_run()
    return rows


def _median(perceiver: Perceiver, size: tuple[int, int], frames: int, warm_up: int) -> dict[str, float]:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    [times] = time_stages({"": perceiver}, [noise], frames, warm_up).values()
    return {stage: round(1000 * float(np.median(seconds)), 3) for stage, seconds in times.items()}


def picture(pixels: Sequence[Mapping[str, Any]], segments: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Draw both tables as stacked areas of the stages; the suffix of ``path`` selects the format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    stages = [stage for stage in STAGES if stage != "total"]
    at = [row["pixels"] / 1e6 for row in pixels]
    left.stackplot(at, [[row["ms"][stage] for row in pixels] for stage in stages], labels=stages)
    left.set_xlabel("pixels of the picture (millions)")
    others = [stage for stage in stages if stage != "network"]
    colors = [f"C{stages.index(stage)}" for stage in others]
    counts = [row["segments"] for row in segments]
    right.stackplot(counts, [[row["ms"][s] for row in segments] for s in others], labels=others, colors=colors)
    right.set_xlabel("segments in the picture (without the network)")
    for axis in (left, right):
        axis.set_ylabel("milliseconds a frame, median")
        axis.set_ylim(0, 1.4 * axis.get_ylim()[1])  # the legend stands above
        axis.margins(x=0)
        axis.grid(alpha=0.3)
        handles, names = axis.get_legend_handles_labels()
        axis.legend(handles[::-1], names[::-1], loc="upper left")
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
