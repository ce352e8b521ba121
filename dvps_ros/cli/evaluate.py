"""``dvps evaluate``: a model's panoptic quality and depth errors on the labelled frames of a split."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvps_ros.cli.torchrun import Process
    from dvps_ros.datasets.frames import FrameReader
    from dvps_ros.datasets.predictions import PredictionWriter
    from dvps_ros.metrics import DepthAwareVideoPanopticQuality, DepthErrors
    from dvps_ros.runtime import Perceiver

#: Window lengths that the data sets' authors publish (deeper in time where the recordings are dense).
FRAMES = {"cityscapes": (1, 2, 3, 4), "semkitti": (1, 5, 10, 20)}
GROUPS = ("all", "thing", "stuff")


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure PQ, DPQ, DVPQ and depth errors on a data set",
        description="Runs a model over a split and prints PQ, SQ, RQ, PQ by class, DPQ and DVPQ by depth threshold, "
        "and the errors of metric depth. Under torchrun (torchrun --nproc_per_node N -m dvps_ros.cli.main evaluate ..) "
        "each process measures its share of the sequences, on a GPU of its own where there are several; the figures "
        "are the same.",
    )
    parser.add_argument("--model", required=True, help="model folder, e.g. models/street")
    parser.add_argument("--data", required=True, help="data set folder, which holds video_sequence/ or train/ and val/")
    parser.add_argument("--split", default="val", help="split to measure on (default: %(default)s)")
    parser.add_argument(
        "--format",
        choices=("cityscapes_dvps", "semkitti_dvps", "folder"),
        help="folder format of the data set (default: the one the model was trained on)",
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N frames")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all measures to this file")
    parser.add_argument(
        "--predictions", type=Path, metavar="FOLDER", help="also write label and depth PNGs in the official layout"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=("auto", "32", "16", "bf16"),
        default="auto",
        help="arithmetic; auto: 16 on CUDA, 32 elsewhere (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, and print in the first process; ``FileNotFoundError`` or ``ValueError`` before anything is written."""
    from dataclasses import replace

    from dvps_ros.cli.torchrun import own_device, this_process, together
    from dvps_ros.config import Config, DataConfig
    from dvps_ros.datasets.formats import open_split
    from dvps_ros.datasets.predictions import PredictionWriter
    from dvps_ros.runtime import load_perceiver

    if args.json is not None and args.json.is_dir():
        raise ValueError(f"--json {args.json} is a folder, not a file")
    process = this_process()
    perceiver = load_perceiver(args.model, own_device(args.device, process), args.precision)
    data = perceiver.config.data if isinstance(perceiver.config, Config) else DataConfig()
    reader = open_split(replace(data, root=args.data, format=args.format or data.format), args.split)
    if reader.labels.name != perceiver.labels.name:
        known = perceiver.labels.name
        raise ValueError(f"{args.model} knows the classes of {known}, {args.data} has {reader.labels.name}'s")
    if args.limit is not None:
        reader.files = reader.files[: args.limit]
    writer = None if args.predictions is None else PredictionWriter(args.predictions, reader.labels)

    with together(process):
        measures = measure(perceiver, reader, writer, process)
    if process.rank > 0:
        return 0
    named = {"model": str(args.model), "data": str(args.data), "split": args.split, "device": str(perceiver.device)}
    report = named | measures
    print(table(report))
    if args.json is not None:
        from dvps_ros.datasets import png

        png.write_bytes(args.json, (json.dumps(_without_nan(report), indent=2) + "\n").encode())
    return 0


def measure(
    perceiver: Perceiver, reader: FrameReader, writer: PredictionWriter | None = None, process: Process | None = None
) -> dict[str, Any]:
    """All measures of ``perceiver`` on the labelled frames of ``reader``, with a progress bar on a terminal.

    Tracks start anew with each sequence. Frames without a panoptic label count for depth alone, and end a window of
    frames. One of several processes (``process``) runs over its share of the sequences, and waits for the others.
    Returns what ``--json`` writes, of the whole split, in every process.
    """
    from tqdm import tqdm

    from dvps_ros.cli.torchrun import Process, share
    from dvps_ros.metrics import DepthAwareVideoPanopticQuality, DepthErrors, over_all_processes

    process = process or Process()
    quality = DepthAwareVideoPanopticQuality(reader.labels, frames=FRAMES[reader.labels.name])
    errors = DepthErrors()
    sequences = reader.sequences()
    own = share(sequences, process)
    frames = sum(map(len, own.values()))
    start = time.perf_counter()
    with tqdm(total=frames, desc="evaluate", unit="frame", disable=True if process.rank else None) as bar:
        for positions in own.values():
            perceiver.reset_tracks()
            quality.begin_sequence()
            for position in positions:
                _measure_frame(perceiver, reader, position, quality, errors, writer)
                bar.update()
    seconds = (time.perf_counter() - start) / max(frames, 1)
    return {
        "frames": len(reader),
        "sequences": len(sequences),
        "processes": process.count,
        "seconds_per_frame": seconds,  # of the first process
        **summarize(over_all_processes(quality)),
        "depth": over_all_processes(errors).compute(),
    }


def _measure_frame(
    perceiver: Perceiver,
    reader: FrameReader,
    position: int,
    quality: DepthAwareVideoPanopticQuality,
    errors: DepthErrors,
    writer: PredictionWriter | None,
) -> None:
    import numpy as np

    from dvps_ros.runtime import NonFiniteOutputError

    frame = reader[position]
    try:
        scene = perceiver.step(frame.image, frame.intrinsics).cpu()
    except NonFiniteOutputError as error:
        raise ValueError(f"frame {frame.name}: {error}") from error
    panoptic, depth = scene.panoptic.numpy(), scene.depth.numpy()
    if frame.panoptic is None:
        quality.begin_sequence()
    else:
        true_depth = np.zeros_like(depth) if frame.depth is None else frame.depth
        quality.update_frame(panoptic, frame.panoptic, depth, true_depth)
    if frame.depth is not None:
        errors.update(depth, frame.depth)
    if writer is not None:
        writer.write(reader.files[position], panoptic, depth)


def summarize(quality: DepthAwareVideoPanopticQuality) -> dict[str, Any]:
    """PQ, SQ and RQ, PQ by class, and each DPQ and DVPQ there is, from the counts."""
    plain = quality.quality(1, None).compute()
    values, means = quality.compute(), quality.means()
    limits = [limit for limit in quality.thresholds if limit is not None]
    tubes = [k for k in quality.frames if k > 1 and quality.windows[k]]

    def row(k: int, limit: float | None) -> dict[str, float]:
        name = f"k{k}/{'none' if limit is None else f'{limit:g}'}"
        return {group: values[name][group] for group in GROUPS}

    summary: dict[str, Any] = {
        "PQ": {group: plain[group] for group in GROUPS},
        "per_class": plain["per_class"],
        "absent": plain["absent"],
        "DPQ": {**{f"{limit:g}": row(1, limit) for limit in limits}, "mean": means.get("DPQ")},
    }
    if tubes:
        summary["DVPQ"] = {
            **{f"k{k}/{limit:g}": row(k, limit) for k in tubes for limit in limits},
            "mean": means["DVPQ"],
        }
        summary["VPQ"] = {f"k{k}": row(k, None) for k in tubes}
    return summary


def table(report: dict[str, Any]) -> str:
    """The measures as text for a terminal."""
    lines = [
        f"{report['model']} on {report['data']} ({report['split']}): {report['frames']} frames, "
        f"{report['sequences']} sequences, {report['seconds_per_frame']:.2f} s per frame on {report['device']}"
        + (f", {report['processes']} processes" if report["processes"] > 1 else ""),
        "",
        f"{'':12}{'all':>8}{'thing':>8}{'stuff':>8}",
    ]
    for measure_name in ("PQ", "SQ", "RQ"):
        lines.append(_row(measure_name, [report["PQ"][group][measure_name] for group in GROUPS]))
    named = [(f"DPQ {key}", row) for key, row in report["DPQ"].items()]
    named += [(f"VPQ {key}", row) for key, row in report.get("VPQ", {}).items()]
    named += [(f"DVPQ {key}", row) for key, row in report.get("DVPQ", {}).items()]
    lines += [_row(name, [row[group] for group in GROUPS]) for name, row in named if row]
    lines += ["", f"{'class':16}{'PQ':>8}{'SQ':>8}{'RQ':>8}{'TP':>8}{'FP':>8}{'FN':>8}"]
    for name, row in report["per_class"].items():
        cells = "".join(f"{_number(row[key])}" for key in ("PQ", "SQ", "RQ"))
        lines.append(f"{name:16}{cells}" + "".join(f"{row[key]:8d}" for key in ("TP", "FP", "FN")))
    if report["absent"]:
        lines.append(f"left out of the means, neither in the truth nor predicted: {', '.join(report['absent'])}")
    depth = report["depth"]
    lines += ["", f"depth over {depth['pixels']} labelled pixels"]
    lines += ["  ".join(f"{name} {depth[name]:.3f}" for name in depth if name not in ("pixels", "invalid"))]
    if depth["invalid"]:
        lines.append(f"not finite, and so not in these errors: {depth['invalid']} pixels")
    return "\n".join(lines)


def _row(name: str, values: list[float]) -> str:
    return f"{name:12}" + "".join(_number(value) for value in values)


def _number(value: float) -> str:
    return f"{'-':>8}" if math.isnan(value) else f"{value:8.1f}"


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: what could not be measured becomes null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)
