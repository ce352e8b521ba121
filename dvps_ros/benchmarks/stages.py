"""Time of each stage of perception, from image to cloud, for each run time; also for two separate networks."""

from __future__ import annotations

import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

from dvps_ros.config import InputConfig, PairConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.runtime import Perceiver
from dvps_ros.runtime.arithmetic import Precision
from dvps_ros.runtime.pair import Pair, PairPerceiver
from dvps_ros.runtime.pair_segmentation import PanopticNetwork
from dvps_ros.scene.boxes import instances
from dvps_ros.scene.clouds import scene_cloud
from dvps_ros.structures import Intrinsics

#: Timed stages of each frame, in order; total is their sum.
STAGES = ("preprocess", "network", "merge", "track", "cloud", "total")

#: Seconds of every frame by stage.
Times = dict[str, list[float]]


def random_pair(size: tuple[int, int], device: str, precision: str) -> PairPerceiver:
    """Two networks of transformers with random weights and their public sizes, for pictures of ``size`` (H, W).

    Mask2Former has a Swin-T backbone, 100 queries and 19 classes; Depth Anything V2 is the small model. With random
    weights no query reaches the score threshold, so merging has the least possible cost.
    """
    swin = SwinConfig(
        embed_dim=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],  # type: ignore[call-arg]  # by **kwargs
    )
    settings = Mask2FormerConfig(backbone_config=swin, num_labels=19)  # type: ignore[call-arg]  # by **kwargs
    segmentation = Mask2FormerForUniversalSegmentation(settings)
    depth = DepthAnythingForDepthEstimation(DepthAnythingConfig())
    config = PairConfig(input=InputConfig(size[0] * size[1]), depth_size=min(size))
    return PairPerceiver(
        Pair(PanopticNetwork(segmentation), depth), config, CITYSCAPES, device, cast(Precision, precision)
    )


def read_pictures(folder: Path | None, size: tuple[int, int], count: int) -> list[np.ndarray]:
    """Up to ``count`` (H, W, 3) uint8 RGB pictures of a folder, resized to ``size`` (H, W); noise for None.

    Raises ``FileNotFoundError`` if the folder does not exist, or has no pictures.
    """
    height, width = size
    if folder is None:
        return [np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)]
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    read = (cv2.imread(str(path)) for path in sorted(folder.iterdir())[:count] if path.is_file())
    pictures = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1] for p in read if p is not None]
    if not pictures:
        raise FileNotFoundError(f"no pictures in folder {folder}")
    return [np.ascontiguousarray(picture) for picture in pictures]


def time_stages(
    perceivers: Mapping[str, Perceiver],
    pictures: Sequence[np.ndarray],
    frames: int,
    warm_up: int,
    on_frame: Callable[[int], None] | None = None,
) -> dict[str, Times]:
    """Seconds of every frame by ``STAGES`` for each perceiver; perceivers take turns frame by frame.

    Parameters
    ----------
    pictures : (H, W, 3) uint8 RGB pictures of one size, used in turn.
    frames, warm_up : number of timed frames, and of frames before them.
    on_frame : called after each timed frame with its number, from 1.
    """
    height, width = pictures[0].shape[:2]
    camera = Intrinsics(0.7 * width, 0.7 * width, (width - 1) / 2, (height - 1) / 2, width, height)
    times: dict[str, Times] = {name: {stage: [] for stage in STAGES} for name in perceivers}
    for frame in range(warm_up + frames):
        for name, perceiver in perceivers.items():
            taken = _step(perceiver, pictures[frame % len(pictures)], camera)
            if frame >= warm_up:
                for stage, seconds in taken.items():
                    times[name][stage].append(seconds)
        if on_frame is not None and frame >= warm_up:
            on_frame(frame - warm_up + 1)
    return times


def summary(times: Mapping[str, Times]) -> dict[str, dict[str, Any]]:
    """For each perceiver ``stages`` (milliseconds ``p50`` and ``p99`` of each) and ``speedup``.

    ``speedup`` is the median over frames of the ratio of total times, of the first perceiver and of this one.
    """
    first = next(iter(times.values()))["total"]
    return {
        name: {
            "stages": {
                stage: {f"p{q}": round(1000 * float(np.percentile(seconds, q)), 3) for q in (50, 99)}
                for stage, seconds in stages.items()
            },
            "speedup": round(statistics.median(a / b for a, b in zip(first, stages["total"], strict=True)), 3),
        }
        for name, stages in times.items()
    }


def stage_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each perceiver of a ``summary``: p50 (p99) milliseconds of each stage, frames a second, speedup."""
    lines = [" " * 12 + "".join(f"{stage:>18}" for stage in STAGES) + "   per s  speedup"]
    for name, row in found.items():
        cells = (f"{ms['p50']:.1f} ({ms['p99']:.1f})" for ms in (row["stages"][stage] for stage in STAGES))
        rate = 1000 / row["stages"]["total"]["p50"]
        lines.append(f"{name:12}" + "".join(f"{cell:>18}" for cell in cells) + f"{rate:8.1f}  {row['speedup']:.2f}")
    return "\n".join(lines)


def machine(device: torch.device, precision: str) -> str:
    """One line about the measurement: device, threads, arithmetic, version of torch, date."""
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{_processor()}, {torch.get_num_threads()} threads"
    arithmetic = {"32": "float32", "16": "float16", "bf16": "bfloat16"}[precision]
    return f"{where}, {arithmetic}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"


def peak_memory(device: torch.device) -> float:
    """Peak memory in MiB: of tensors on a CUDA device since its last reset, of the process on a CPU since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _processor() -> str:
    """The processor's name from Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _step(perceiver: Perceiver, picture: np.ndarray, camera: Intrinsics) -> dict[str, float]:
    """Seconds by stage of one frame."""
    scene = perceiver.step(picture, camera)
    start = time.perf_counter()
    instances(scene_cloud(scene, picture, camera, perceiver.labels))
    if perceiver.device.type == "cuda":
        torch.cuda.synchronize(perceiver.device)
    taken = {**perceiver.timings, "cloud": time.perf_counter() - start}
    return {**taken, "total": sum(taken.values())}
