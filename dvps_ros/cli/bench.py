"""``dvps bench``: how long each stage of perception takes on this machine, also next to two separate networks.

``--training``: how long a training step takes, and what share of it guidance is.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from dvps_ros.config import Config
    from dvps_ros.runtime import Perceiver

STAGES = ("preprocess", "network", "merge", "track", "cloud")


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "bench",
        help="measure the time of each stage",
        description="Prints the median milliseconds of each stage from picture to point cloud. --against pair runs "
        "what people glue together otherwise in the same loop, frame by frame in turn: Mask2Former (Swin-T, 100 "
        "queries, 19 classes) and Depth Anything V2 (Small), from transformers, with random weights of their public "
        "sizes; of those only the two networks themselves are timed, no merging and no conversions. --training prints "
        "the seconds and the peak memory of whole training steps instead, in turn without and with both guidance "
        "losses, on made-up images of 40 segments with depth.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="model folder, e.g. models/street")
    source.add_argument(
        "--config", help="configuration whose network is built with random weights; all its queries are merged"
    )
    parser.add_argument("--training", action="store_true", help="time training steps of --config, not perception")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change single values of --config",
    )
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="picture size (default: 256x512; for training that of its crops)"
    )
    parser.add_argument(
        "--frames", type=_count, metavar="N", help="frames to time (default: 30; for training 3 pairs of steps)"
    )
    parser.add_argument(
        "--warm-up", type=_count, metavar="N", help="frames before that (default: 3; for training 1 pair of steps)"
    )
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="pictures to use (default: noise)")
    parser.add_argument("--against", choices=("pair",), help="also time two separate networks and print ratios")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision", choices=("auto", "32", "16", "bf16"), default="auto", help="arithmetic (default: auto)"
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="CPU threads of torch (default: torch's choice)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; ``ValueError`` or ``FileNotFoundError`` names a wrong model, picture or device."""
    import torch

    from dvps_ros.structures import Intrinsics

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.training:
        return _run_training(args)
    args.size, args.frames, args.warm_up = args.size or (256, 512), args.frames or 30, args.warm_up or 3
    perceiver = _perceiver(args)
    pictures = _pictures(args)
    height, width = args.size
    camera = Intrinsics(0.7 * width, 0.7 * width, (width - 1) / 2, (height - 1) / 2, width, height)
    pair = _Pair(perceiver.device, perceiver.precision, args.size) if args.against else None
    times: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "total")}
    rivals: dict[str, list[float]] = {name: [] for name in (pair.networks if pair else ())}
    for frame in range(args.warm_up + args.frames):
        picture = pictures[frame % len(pictures)]
        ours, theirs = _step(perceiver, picture, camera), pair.step(picture) if pair else {}
        if frame < args.warm_up:
            continue
        for name, seconds in {**ours, "total": sum(ours.values())}.items():
            times[name].append(seconds)
        for name, seconds in theirs.items():
            rivals[name].append(seconds)
        print(f"\rframe {frame - args.warm_up + 1}/{args.frames}", end="", flush=True)
    print(f"\r{_machine(perceiver.device, perceiver.precision)}")
    print(f"{args.model or args.config}, {height}x{width}, {args.frames} frames, median (fastest - slowest) ms")
    _print_table(times)
    if rivals:
        _print_rivals(times, rivals)
    return 0


def _run_training(args: argparse.Namespace) -> int:
    import torch

    from dvps_ros.runtime.perceive import choose_device, choose_precision
    from dvps_ros.training.benchmark import PARTS, SEGMENTS, measure_steps
    from dvps_ros.training.memory import keep_freed_memory

    if not args.config:
        raise ValueError("--training needs --config")
    config = _config(args)
    device = choose_device(args.device)
    precision = choose_precision(args.precision, device)
    dtype = {"32": torch.float32, "16": torch.float16, "bf16": torch.bfloat16}[precision]
    size = args.size or (config.data.crop_height, config.data.crop_width)
    keep_freed_memory()  # as dvps train does
    costs = measure_steps(config, size, device, dtype, args.frames or 3, args.warm_up or 1)
    print(_machine(device, precision))
    print(
        f"training step of {args.config}, batch {config.training.batch_size}, {size[0]}x{size[1]}, {SEGMENTS} segments"
    )
    print(f"  {'':8}" + "".join(f"{title:>10}" for title in ("s/step", *PARTS, "cpu s", "peak GiB")))
    for name, cost in costs.items():
        parts = [statistics.median(step[part] for step in cost.seconds) for part in PARTS]
        row = [statistics.median(cost.totals()), *parts, statistics.median(cost.processor), cost.peak / 2**30]
        print(f"  {name:8}" + "".join(f"{value:10.2f}" for value in row))
    print(f"guidance adds {_added([cost.totals() for cost in costs.values()])} to a step", end="")
    print(f", {_added([cost.processor for cost in costs.values()])} to its processor time")
    return 0


def _added(costs: list[list[float]]) -> str:
    """Median of what the second of each pair costs beyond the first, and each pair's own."""
    shares = [100 * (guided / plain - 1) for plain, guided in zip(*costs, strict=True)]
    return f"{statistics.median(shares):.1f} % ({', '.join(f'{share:+.1f}' for share in shares)})"


def _config(args: argparse.Namespace) -> Config:
    from dvps_ros import resources
    from dvps_ros.config import apply_overrides, load_config

    return apply_overrides(load_config(resources.find(args.config)), args.set)


def _perceiver(args: argparse.Namespace) -> Perceiver:
    from dataclasses import replace

    from dvps_ros.network import build
    from dvps_ros.runtime import Perceiver, load_perceiver

    if args.model:
        perceiver = load_perceiver(args.model, args.device, args.precision)
    else:
        config = _config(args)
        # Random weights are sure of nothing: keep every query, so that merging has at least its usual work.
        config = replace(config, merge=replace(config.merge, score_threshold=0.0, overlap_threshold=0.0))
        perceiver = Perceiver(build(config.network), config, args.device, args.precision)
    return perceiver


def _step(perceiver: Perceiver, picture: np.ndarray, camera: Any) -> dict[str, float]:
    """Seconds by stage of one frame."""
    from dvps_ros.scene.unproject import instances, scene_cloud

    scene = perceiver.step(picture, camera)
    start = time.perf_counter()
    instances(scene_cloud(scene, picture, camera, perceiver.labels))
    _wait(perceiver.device)
    return {**perceiver.timings, "cloud": time.perf_counter() - start}


class _Pair:
    """A panoptic and a depth network of transformers, side by side, as ``--against pair`` describes."""

    def __init__(self, device: torch.device, precision: str, size: tuple[int, int]) -> None:
        import torch
        from transformers import (
            DepthAnythingConfig,
            DepthAnythingForDepthEstimation,
            Mask2FormerConfig,
            Mask2FormerForUniversalSegmentation,
            SwinConfig,
        )

        swin = SwinConfig(
            embed_dim=96,
            depths=[2, 2, 6, 2],
            num_heads=[3, 6, 12, 24],
            window_size=7,
            drop_path_rate=0.0,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
        panoptic = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=swin, num_labels=19))
        depth = DepthAnythingForDepthEstimation(DepthAnythingConfig())
        self.networks: dict[str, nn.Module] = {
            "Mask2Former Swin-T": panoptic.eval().to(device),
            "Depth Anything Small": depth.eval().to(device),
        }
        self._device = device
        self._dtype = {"32": torch.float32, "16": torch.float16, "bf16": torch.bfloat16}[precision]
        patch = 14  # Depth Anything's: the nearest whole number of patches
        self._sizes = {
            "Mask2Former Swin-T": size,
            "Depth Anything Small": tuple(max(1, round(side / patch)) * patch for side in size),
        }

    def step(self, picture: np.ndarray) -> dict[str, float]:
        """Seconds of each network on one picture."""
        return {name: self._time(name, picture) for name in self.networks}

    def _time(self, name: str, picture: np.ndarray) -> float:
        import torch

        with torch.inference_mode(), torch.autocast(self._device.type, self._dtype, self._dtype != torch.float32):
            pixels = _normalized(picture, self._sizes[name], self._device)
            _wait(self._device)
            start = time.perf_counter()
            self.networks[name](pixel_values=pixels)
            _wait(self._device)
            return time.perf_counter() - start


def _normalized(picture: np.ndarray, size: tuple[int, int], device: torch.device) -> Tensor:
    import torch
    from torch.nn import functional as F

    pixels = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, size, mode="bilinear") if tuple(pixels.shape[-2:]) != size else pixels
    return (pixels - 118) / 58


def _print_table(times: dict[str, list[float]]) -> None:
    for name, seconds in times.items():
        low, middle, high = (1000 * f(seconds) for f in (min, statistics.median, max))
        print(f"  {name:22} {middle:8.1f}   ({low:.1f} - {high:.1f})")
    print(f"  {1 / statistics.median(times['total']):.1f} frames per second")


def _print_rivals(times: dict[str, list[float]], rivals: dict[str, list[float]]) -> None:
    print("the pair, in turn with it frame by frame, networks only:")
    both = [sum(seconds) for seconds in zip(*rivals.values(), strict=True)]
    _print_table({**rivals, "total": both})
    ratio = statistics.median(pair / own for pair, own in zip(both, times["network"], strict=True))
    whole = statistics.median(pair / own for pair, own in zip(both, times["total"], strict=True))
    print(f"the pair's networks take {ratio:.2f} times this network, {whole:.2f} times its whole trip")


def _machine(device: torch.device, precision: str) -> str:
    """One line: device, threads, arithmetic, versions."""
    import torch

    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, peak {torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB"
    else:
        where = f"{platform.processor() or platform.machine()} {device.type}, {torch.get_num_threads()} threads"
    arithmetic = {"32": "float32", "16": "float16 (autocast)", "bf16": "bfloat16 (autocast)"}[precision]
    return f"{where}, {arithmetic}, torch {torch.__version__}"


def _pictures(args: argparse.Namespace) -> list[np.ndarray]:
    import cv2
    import numpy as np

    height, width = args.size
    if args.images is None:
        return [np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)]
    if not args.images.is_dir():
        raise FileNotFoundError(f"no such folder: {args.images}")
    read = (cv2.imread(str(path)) for path in sorted(args.images.iterdir())[: args.frames] if path.is_file())
    pictures = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA)[..., ::-1] for p in read if p is not None]
    if not pictures:
        raise FileNotFoundError(f"no pictures in folder {args.images}")
    return [np.ascontiguousarray(picture) for picture in pictures]


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) >= 32 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be HEIGHTxWIDTH with both at least 32, e.g. 256x512")
    return int(parts[0]), int(parts[1])


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number above 0")
    return int(text)
