"""``dvps bench``: time of each stage of perception on this machine, optionally beside two separate networks.

``--training``: time of a training step, and the share of the guidance losses.
"""

from __future__ import annotations

import argparse
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dvps_ros.cli.arguments import (
    add_device,
    add_input_pixels,
    add_precision,
    add_settings,
    configured,
    count,
    height_by_width,
    require_modules,
)
from dvps_ros.config import PerceptionConfig

if TYPE_CHECKING:
    from dvps_ros.network import DvpsNet
    from dvps_ros.runtime import Perceiver
    from dvps_ros.runtime.arithmetic import Precision


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "bench",
        help="measure the time of each stage",
        description="Prints the milliseconds of each stage from picture to point cloud: the median, and in brackets "
        "the 99th percentile. Several run times, and with --against pair two separate networks, take turns frame by "
        "frame. The two networks are Mask2Former (Swin-T, 100 queries, 19 classes) and Depth Anything V2 (Small) from "
        "transformers, with random weights of their public sizes; they are timed to the point cloud, too. --training "
        "prints the seconds and the peak memory of whole training steps instead, in turn without and with both "
        "guidance losses, on synthetic images of 40 segments with depth.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="model folder, e.g. models/street")
    source.add_argument(
        "--config",
        nargs="+",
        metavar="FILE",
        help="configuration whose network is built with random weights; all its queries are merged. Of several files "
        "a later one overrides the earlier ones",
    )
    parser.add_argument("--training", action="store_true", help="time training steps of --config, not perception")
    add_settings(parser, "of --config")
    parser.add_argument(
        "--size",
        type=height_by_width,
        metavar="HxW",
        help="picture size (default: 256x512; for training the size of its crops)",
    )
    parser.add_argument(
        "--frames", type=count, metavar="N", help="frames to time (default: 30; for training 3 pairs of steps)"
    )
    parser.add_argument(
        "--warm-up", type=count, metavar="N", help="frames before that (default: 3; for training 1 pair of steps)"
    )
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="pictures to use (default: noise)")
    parser.add_argument(
        "--runtime",
        nargs="+",
        choices=typing.get_args(typing.get_type_hints(PerceptionConfig)["runtime"]),
        default=["auto"],
        help="run times of the network; several are compared with the first (default: auto)",
    )
    _add_outputs(parser)
    add_device(parser)
    add_precision(parser)
    add_input_pixels(parser)
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads of torch (default: torch's choice)")
    parser.set_defaults(run=run)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options for the comparison and the output."""
    parser.add_argument("--against", choices=("pair",), help="also time two separate networks and print the ratio")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="also measure pictures of several sizes, and with 5 to 50 synthetic segments, in torch; draw the times to "
        "a .png, .svg or .pdf file",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print. Raises ``ValueError`` or ``FileNotFoundError`` naming a wrong model, picture or device."""
    import torch

    if args.model and args.set:
        raise ValueError("--set goes with --config: the configuration of a model is in its folder")
    if args.training:
        _check_training(args)
    elif args.plot:
        _check_plot(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    return _run_training(args) if args.training else _run_stages(args)


def _check_training(args: argparse.Namespace) -> None:
    """Raise ``ValueError`` for options that ``--training`` ignores."""
    given = [name for name in ("plot", "json", "images", "against", "input_pixels") if getattr(args, name)]
    given += ["runtime"] if args.runtime != ["auto"] else []
    if given:
        raise ValueError(f"--{given[0].replace('_', '-')} is about perception and does not go with --training")


def _check_plot(args: argparse.Namespace) -> None:
    """Check ``--plot`` before anything is measured."""
    require_modules("matplotlib")
    if args.plot.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--plot {args.plot}: the name must end in .png, .svg or .pdf")
    if not args.plot.parent.is_dir():
        raise FileNotFoundError(f"--plot {args.plot}: no folder {args.plot.parent}")


def _run_stages(args: argparse.Namespace) -> int:
    import numpy as np

    from dvps_ros.benchmarks import stages, tracker_cost

    size, frames, warm_up = args.size or (256, 512), args.frames or 30, args.warm_up or 3
    perceivers = _perceivers(args)
    first = next(iter(perceivers.values()))
    if args.against:
        perceivers["pair"] = stages.random_pair(size, str(first.device), first.precision)
    pictures = stages.read_pictures(args.images, size, frames)
    times = stages.time_stages(perceivers, pictures, frames, warm_up, _show_progress(frames))
    found, peak = stages.summary(times), stages.peak_memory(first.device)
    where = stages.machine(first.device, first.precision)
    print(f"\r{where}, peak memory {peak:.0f} MiB")
    print(f"{_source(args)}, {size[0]}x{size[1]}, {frames} frames, median (99 of 100) ms")
    print(stages.stage_table(found))
    tracker = tracker_cost.tracker_seconds(size, first.labels, first.config.track)
    middle, most = (1000 * value for value in np.percentile(tracker, (50, 99)))
    print(f"tracking {tracker_cost.THINGS} synthetic things and the camera, one thread: {middle:.1f} ({most:.1f}) ms")
    network, more = _live_network(first), {}
    if network is not None:
        more = _machine_use(network, first, size, found)
        if args.plot:
            more |= _plot(args.plot, network, first, where, frames, warm_up)
    elif args.plot:
        print(f"no {args.plot}: --plot needs a network of this package, not a program or a pair")
    if args.json:
        report = {"machine": where, "source": _source(args), "size": size, "frames": frames, "peak_mib": round(peak)}
        report |= more
        report["tracking"] = {"things": tracker_cost.THINGS, "p50_ms": middle, "p99_ms": most}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**report, "runs": found}, indent=1) + "\n")
    return 0


def _live_network(perceiver: Perceiver) -> DvpsNet | None:
    """The network behind a perceiver's run time; None for the pair and for exported programs."""
    from dvps_ros.network import DvpsNet

    network: Any = getattr(perceiver.network, "net", perceiver.network)
    return network if isinstance(network, DvpsNet) else None


def _machine_use(network: DvpsNet, first: Perceiver, size: tuple[int, int], found: Mapping[str, Any]) -> dict[str, Any]:
    """Print and return the operations of the network, and each run time's share of the machine's matrix rate."""
    import numpy as np

    from dvps_ros.benchmarks.work import matrix_rate, network_flops
    from dvps_ros.camera.resizing import resize
    from dvps_ros.runtime.arithmetic import DTYPES
    from dvps_ros.runtime.preprocess import to_device

    images = resize(to_device(np.zeros((*size, 3), np.uint8), first.device), first.resizing(size))
    flops = network_flops(network, images)
    rate = matrix_rate(first.device, DTYPES[first.precision])
    shares = {
        name: flops / (row["stages"]["network"]["p50"] / 1000) / rate for name, row in found.items() if name != "pair"
    }
    used = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    print(f"network: {flops / 1e9:.1f} GFLOP; of this machine's {rate / 1e9:.0f} GFLOP/s (matrix product): {used}")
    return {"gflop": flops / 1e9, "matrix_gflops_per_s": rate / 1e9, "share_of_matrix_rate": shares}


def _plot(
    path: Path, network: DvpsNet, first: Perceiver, where: str, frames: int, warm_up: int
) -> dict[str, list[dict[str, Any]]]:
    """Draw and return the time by pixels and by segments, in torch."""
    from dvps_ros.benchmarks import scaling
    from dvps_ros.runtime import Perceiver

    runs = len(scaling.AREAS) + len(scaling.SEGMENTS)
    done = iter(range(1, runs + 1))

    def progress() -> None:
        print(f"\rplot: {next(done)}/{runs} ", end="", flush=True)

    plain = Perceiver(network, first.config, str(first.device), cast("Precision", first.precision))
    pixels = scaling.by_pixels(plain, frames, warm_up, progress)
    own = pixels[scaling.AREAS.index(1.0)]
    size, device = (own["height"], own["width"]), str(first.device)
    segments = scaling.by_segments(size, first.labels, device, frames, warm_up, progress)
    scaling.picture(pixels, segments, where, path)
    print(f"\r{path}")
    return {"by_pixels": pixels, "by_segments": segments}


def _show_progress(frames: int) -> Callable[[int], None]:
    return lambda number: print(f"\rframe {number}/{frames}", end="", flush=True)


def _run_training(args: argparse.Namespace) -> int:

    from dvps_ros.benchmarks.stages import machine
    from dvps_ros.benchmarks.training_cost import SEGMENTS, cost_table, measure_steps
    from dvps_ros.runtime.arithmetic import DTYPES, choose_device, choose_precision
    from dvps_ros.training.memory import keep_freed_memory

    if not args.config:
        raise ValueError("--training needs --config")
    config = configured(args.config, args.set)
    device = choose_device(args.device)
    precision = choose_precision(args.precision, device)
    height, width = args.size or (config.data.crop_height, config.data.crop_width)
    keep_freed_memory()  # as dvps train does
    costs = measure_steps(config, (height, width), device, DTYPES[precision], args.frames or 3, args.warm_up or 1)
    print(machine(device, precision))
    print(
        f"training step of {_source(args)}, batch {config.training.batch_size}, {height}x{width}, {SEGMENTS} segments"
    )
    print(cost_table(costs))
    return 0


def _source(args: argparse.Namespace) -> str:
    return args.model or " + ".join(args.config)


def _perceivers(args: argparse.Namespace) -> dict[str, Perceiver]:
    """A perceiver for each run time, by its name."""
    import torch

    from dvps_ros.network import build
    from dvps_ros.runtime import Perceiver, load_perceiver

    if args.model:
        how = {"device": args.device, "precision": args.precision, "input_pixels": args.input_pixels}
        made = [load_perceiver(args.model, runtime=name, **how) for name in args.runtime]
        return {perceiver.runtime: perceiver for perceiver in made}
    if args.input_pixels:
        raise ValueError("--input-pixels goes with --model; with --config: --set input.pixels=N")
    config = configured(args.config, args.set)
    # Queries with random weights have low scores: keep all, so that merging has at least its usual work.
    config = replace(config, merge=replace(config.merge, score_threshold=0.0, overlap_threshold=0.0))
    torch.manual_seed(0)  # the same weights in each run, so that compiled programs are found in the cache
    network = build(config.network)
    made = [Perceiver(network, config, args.device, args.precision, runtime=name) for name in args.runtime]
    return {perceiver.runtime: perceiver for perceiver in made}
