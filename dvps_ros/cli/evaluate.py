"""``dvps evaluate``: a model's panoptic quality and depth errors on the labelled frames of a split."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvps_ros.cli.arguments import (
    add_camera_height,
    add_device,
    add_input_pixels,
    add_precision,
    count,
    positive,
)
from dvps_ros.cli.evaluate_report import summarize, table, tracked, write_report
from dvps_ros.cli.evaluate_simulated import SPLIT, cameras, check_simulated, drives

if TYPE_CHECKING:
    from dvps_ros.cli.torchrun import Process
    from dvps_ros.datasets.frames import FrameReader
    from dvps_ros.datasets.predictions import PredictionWriter
    from dvps_ros.metrics import DepthAwareVideoPanopticQuality, DepthErrors, DepthScale, MeanIou, TrackingQuality
    from dvps_ros.runtime import Perceiver

#: Window lengths (frames) that the authors of the data sets publish.
FRAMES = {"cityscapes": (1, 2, 3, 4), "semkitti": (1, 5, 10, 20)}


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure PQ, DPQ, DVPQ, mIoU, STQ and depth errors on a data set",
        description="Runs a model over a split and prints PQ, SQ, RQ, PQ by class, DPQ and DVPQ by depth threshold, "
        "mIoU over the classes that the labels distinguish, and the errors of metric depth. Under torchrun "
        "(torchrun --nproc_per_node N -m dvps_ros.cli.main evaluate ..) "
        "each process measures its share of the sequences, on a GPU of its own if there are several; the figures "
        "are the same.",
    )
    parser.add_argument("--model", required=True, help="model folder, e.g. models/street")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", help="data set folder, with video_sequence/ or train/ and val/")
    what.add_argument(
        "--cameras",
        type=count,
        nargs="?",
        const=12,
        metavar="N",
        help="instead measure on N simulated held-out streets (12) with cameras of many shapes, lenses and mountings, "
        "without and with the scale from the ground; prints a Markdown table and the error of scale over all cameras",
    )
    what.add_argument(
        "--drives",
        type=count,
        nargs="?",
        const=8,
        metavar="N",
        help="instead measure tracking on drives through N simulated held-out streets (8): id switches with true "
        "masks; STQ and DVPQ of the model's output as tracked, untracked, and as a perfect tracker would number it; "
        "prints two Markdown tables",
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="cache of the rendered --drives")
    _add_data_options(parser)
    _add_output_options(parser)
    parser.set_defaults(run=run)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the frames of a data set."""
    parser.add_argument("--split", default=SPLIT, help="split to measure on (default: %(default)s)")
    parser.add_argument(
        "--format",
        choices=("cityscapes_dvps", "semkitti_dvps", "folder"),
        help="folder format of the data set (default: folder where --data has SPLIT/images, else the one the model was "
        "trained on)",
    )
    parser.add_argument(
        "--semantic-table",
        default="",
        metavar="FILE",
        help="format folder: meaning of the values in semantic/, e.g. config/labels/camvid.yaml (default: labels.yaml "
        "in --data; without it, values are train ids)",
    )
    for name, what in (("include", "only these sequences"), ("exclude", "all but these sequences")):
        parser.add_argument(f"--{name}", nargs="+", default=[], metavar="PATTERN", help=f"{what} (* and ? are wild)")
    focal = parser.add_mutually_exclusive_group()
    focal.add_argument("--focal", type=positive, default=0.0, help="fx in pixels if the data set has no camera")
    focal.add_argument("--focal-widths", type=positive, default=0.0, help="the same in image widths")
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N frames")


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the device and the output."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all measures to this file")
    parser.add_argument(
        "--predictions", type=Path, metavar="FOLDER", help="also write label and depth PNGs in the official layout"
    )
    add_device(parser)
    add_precision(parser)
    add_input_pixels(parser)
    add_camera_height(parser)


def run(args: argparse.Namespace) -> int:
    """Measure; the first process prints.

    Raises ``FileNotFoundError`` or ``ValueError`` for a user's mistake, before anything is written.
    """
    from dvps_ros.cli.torchrun import own_device, this_process, together
    from dvps_ros.datasets.predictions import PredictionWriter
    from dvps_ros.runtime import load_perceiver

    if args.json is not None and args.json.is_dir():
        raise ValueError(f"--json {args.json} is a folder, not a file")
    process = this_process()
    check_simulated(args, process)
    perceiver = load_perceiver(
        args.model, own_device(args.device, process), args.precision, runtime="torch", input_pixels=args.input_pixels
    )
    if args.cameras:
        return cameras(perceiver, args)
    if args.drives:
        return drives(perceiver, args)
    perceiver.camera_height = args.camera_height
    reader = _open(args, perceiver)
    if reader.labels.name != perceiver.labels.name:
        known = perceiver.labels.name
        raise ValueError(f"{args.model} has the classes of {known}, {args.data} has those of {reader.labels.name}")
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
    write_report(report, args.json)
    return 0


def _open(args: argparse.Namespace, perceiver: Perceiver) -> FrameReader:
    """The frames to measure on. Raises ``FileNotFoundError`` or ``ValueError`` as ``open_source``."""
    from dvps_ros.config import Config, DataConfig, SourceConfig
    from dvps_ros.datasets.formats import open_source, plain_source

    data = perceiver.config.data if isinstance(perceiver.config, Config) else DataConfig()
    in_folders = (Path(args.data) / args.split / "images").is_dir()
    form = args.format or ("folder" if in_folders else data.format)
    focal, widths = args.focal, args.focal_widths
    if not (focal or widths) and form != "folder":  # all sequences of these data sets have one camera
        source = plain_source(replace(data, format=form))
        focal, widths = source.focal, source.focal_widths
    source = SourceConfig(
        root=args.data,
        format=form,
        semantic_table=args.semantic_table,
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        focal=focal,
        focal_widths=widths,
    )
    return open_source(source, args.split)


def measure(
    perceiver: Perceiver, reader: FrameReader, writer: PredictionWriter | None = None, process: Process | None = None
) -> dict[str, Any]:
    """All measures of ``perceiver`` on the labelled frames of ``reader``, with a progress bar on a terminal.

    Tracking starts again with each sequence. Frames without a panoptic label count only for depth, and end a window of
    frames. Classes whose labels do not separate segments (things without instances) count only for mIoU. Each of
    several processes (``process``) measures its share of the sequences, and waits for the others. Returns the content
    of ``--json``, for the whole split, in every process.
    """
    from tqdm import tqdm

    from dvps_ros.cli.torchrun import Process, share
    from dvps_ros.metrics import (
        DepthAwareVideoPanopticQuality,
        DepthErrors,
        DepthScale,
        MeanIou,
        TrackingQuality,
        over_all_processes,
    )

    process = process or Process()
    quality = DepthAwareVideoPanopticQuality(reader.labels, frames=FRAMES[reader.labels.name])
    errors, scale, classes, tracking = (
        DepthErrors(),
        DepthScale(),
        MeanIou(reader.table),
        TrackingQuality(reader.labels),
    )
    sequences = reader.sequences()
    own = share(sequences, process)
    frames = sum(map(len, own.values()))
    start = time.perf_counter()
    with tqdm(total=frames, desc="evaluate", unit="frame", disable=True if process.rank else None) as bar:
        for positions in own.values():
            perceiver.reset_tracks()
            quality.begin_sequence()
            tracking.begin_sequence()
            for position in positions:
                _measure_frame(perceiver, reader, position, quality, errors, scale, classes, tracking, writer)
                bar.update()
    seconds = (time.perf_counter() - start) / max(frames, 1)
    return {
        "frames": len(reader),
        "sequences": len(sequences),
        "processes": process.count,
        "seconds_per_frame": seconds,  # of the first process
        **summarize(over_all_processes(quality), over_all_processes(classes)),
        **tracked(over_all_processes(tracking), longest=max(map(len, sequences.values()), default=0)),
        "depth": {**over_all_processes(errors).compute(), **over_all_processes(scale).compute()},
    }


def _measure_frame(
    perceiver: Perceiver,
    reader: FrameReader,
    position: int,
    quality: DepthAwareVideoPanopticQuality,
    errors: DepthErrors,
    scale: DepthScale,
    classes: MeanIou,
    tracking: TrackingQuality,
    writer: PredictionWriter | None,
) -> None:
    from dvps_ros.datasets.class_labels import all_rows, with_known_classes
    from dvps_ros.metrics import only_classes
    from dvps_ros.runtime import NonFiniteOutputError

    frame = reader[position]
    try:
        scene = perceiver.step(frame.image, frame.intrinsics).cpu()
    except NonFiniteOutputError as error:
        raise ValueError(f"frame {frame.name}: {error}") from error
    panoptic, depth = scene.panoptic.numpy(), scene.depth.numpy()
    if frame.panoptic is None:
        quality.begin_sequence()
        tracking.begin_sequence()
    else:
        segmented = only_classes(panoptic, frame.segmented)
        quality.update_frame(segmented, frame.panoptic, depth, frame.depth)
        known = with_known_classes(frame.panoptic, frame.semantic, reader.table)
        tracking.update_frame(segmented, frame.panoptic, (panoptic, known))
        classes.update(panoptic, all_rows(frame.panoptic, frame.semantic, reader.table))
    if frame.depth is not None:
        scale.update(depth, frame.depth)
        errors.update(depth, frame.depth, None if scene.depth_std is None else scene.depth_std.numpy())
    if writer is not None:
        writer.write(reader.files[position], panoptic, depth)
