"""``dvps predict``: pictures, videos and recordings in; overlays, labels, depth, point clouds and videos out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvps_ros.cli.arguments import (
    add_camera_height,
    add_config,
    add_device,
    add_input_pixels,
    add_precision,
    given_config,
    real_number,
)
from dvps_ros.cli.prediction_files import OUTPUTS, VIDEO
from dvps_ros.cli.source_options import add_sources, given_for_sources
from dvps_ros.config import PredictConfig

if TYPE_CHECKING:
    import numpy as np

    from dvps_ros.datasets.streams import Source, SourceFrame
    from dvps_ros.drawing.video import VideoFiles
    from dvps_ros.runtime import Perceiver


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "predict",
        help="label pictures, videos or recordings, estimate their depth and write point clouds",
        description="Writes for each picture NAME: NAME_overlay.png (for viewing), NAME_panoptic.png (16 bit, "
        "class * 1000 + instance, 32000 unlabelled; for more than 32 classes 8 bit RGB, R + 256 G + 65536 B as in "
        "COCO, 255000 unlabelled), NAME_depth.png (16 bit, metres * 256, 0 none) and, if the "
        "camera is known, NAME_cloud.ply (x right, y down, z forward in metres; colour, class, instance, score). "
        "Without the camera, depth is relative and there is no cloud. The frames of a video or recording are named "
        "SOURCE_000000 and so on. They also become a video in which an object keeps its colour: SOURCE_overlay.mp4 "
        "(MPEG-4 Part 2, mp4v: VLC, mpv and ffmpeg play it, browsers do not).",
    )
    add_sources(parser)
    parser.add_argument("--model", required=True, help="model folder, e.g. models/street")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="folder of the results")
    parser.add_argument(
        "--outputs", nargs="+", choices=OUTPUTS, default=list(OUTPUTS), help="what to write (default: all)"
    )
    parser.add_argument(
        "--video", action="store_true", help="the pictures are frames of one video, in this order: objects keep numbers"
    )
    parser.add_argument(
        "--score",
        type=real_number(0.0, 1.0),
        help="keep queries that score more than this (default: the model's own)",
    )
    add_config(parser, PredictConfig)
    add_device(parser)
    add_precision(parser)
    add_input_pixels(parser)
    add_camera_height(parser)


def run(args: argparse.Namespace) -> int:
    """Predict and write. Raises ``FileNotFoundError`` or ``ValueError`` naming a missing or broken source or model."""
    from dataclasses import replace

    from dvps_ros.datasets.sources import open_sources
    from dvps_ros.runtime import load_perceiver
    from dvps_ros.scene.track import Tracker

    config = given_config(args, PredictConfig)
    sources = open_sources(args.sources, given_for_sources(args, need_camera=False), together=args.video)
    _check_names(sources)
    if args.outputs == [VIDEO] and not (args.video or any(source.in_motion for source in sources)):
        raise ValueError("--outputs video: pictures are no video, unless --video says so")
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out} is not a folder")
    perceiver = load_perceiver(args.model, args.device, args.precision, runtime="torch", input_pixels=args.input_pixels)
    perceiver.camera_height = args.camera_height
    if args.score is not None:
        perceiver.merge_config = replace(perceiver.merge_config, score_threshold=args.score)
    # pictures that are not taken for another stream by --max-gap are not so by the tracker
    gap = max(perceiver.config.track.max_gap, config.max_gap + config.every)
    perceiver.tracker = Tracker(perceiver.labels, replace(perceiver.config.track, max_gap=gap))
    args.out.mkdir(parents=True, exist_ok=True)
    relative = sum(_predict_source(source, perceiver, args, config) for source in sources)
    if relative:
        print(f"{relative} pictures have no camera (see --fx): their depth is relative, and they have no cloud")
    return 0


def _check_names(sources: Sequence[Source]) -> None:
    """Raise ``ValueError`` if the results of two pictures or sources would overwrite each other."""
    seen: dict[str, Path] = {}
    for source in sources:
        for name, path in source.result_names():
            if name in seen:
                raise ValueError(f"{seen[name]} and {path} would be written under the same name")
            seen[name] = path


def _predict_source(source: Source, perceiver: Perceiver, args: argparse.Namespace, config: PredictConfig) -> int:
    """Write the results of a source and print its remarks; returns the number of pictures without a camera."""
    from tqdm import tqdm

    from dvps_ros.drawing.video import VideoFiles

    in_motion = source.in_motion or args.video
    total = None if source.in_motion else len(source.result_names())
    count = relative = 0
    perceiver.reset_tracks()
    videos = VideoFiles(args.out / f"{source.name}_overlay.mp4", config.video_rate)
    with _closing(videos), tqdm(desc=source.path.name, total=total, unit="frame", disable=None) as bar:
        for item in source.frames(config.every, config.max_gap):
            if item.break_reason or not in_motion:
                perceiver.reset_tracks()
            if item.break_reason and in_motion:
                bar.write(f"{source.path}: {item.break_reason}; objects get new numbers")
            count += 1
            relative += item.frame.intrinsics is None
            summary, picture = _predict(perceiver, item, source.seconds(item) if in_motion else None, args, config)
            if in_motion and VIDEO in args.outputs:
                videos.add(picture, item.frame.stamp if source.timed else None)
            bar.update()
            if not source.in_motion:
                bar.write(f"[{count}/{total}] {item.name}: {summary}")
    if not count:
        raise ValueError(f"{source.path} has no pictures")
    for remark in source.remarks:
        print(f"{source.path}: {remark}")
    if in_motion:
        print(f"{source.path}: {count} pictures; {', '.join(map(str, videos.paths)) or 'no video'}", flush=True)
    return relative


@contextmanager
def _closing(videos: VideoFiles) -> Iterator[None]:
    """Close the videos even after an error, so that they can be played."""
    try:
        yield
    finally:
        videos.close()


def _predict(
    perceiver: Perceiver, item: SourceFrame, seconds: float | None, args: argparse.Namespace, config: PredictConfig
) -> tuple[str, np.ndarray]:
    """Write one picture's results; returns a summary in words and the overlay, (H, W, 3) uint8 RGB."""
    from dvps_ros.cli.prediction_files import write_prediction
    from dvps_ros.drawing.overlay import overlay

    frame = item.frame
    scene = perceiver.step(frame.image, frame.intrinsics, seconds).cpu()
    picture = overlay(frame.image, scene, perceiver.labels)
    write_prediction(args.out / item.name, frame, picture, scene, perceiver.labels, args.outputs, config)
    things = sum(perceiver.labels.is_thing[s.class_id] for s in scene.segments)
    milliseconds = 1000 * sum(perceiver.timings.values())
    return f"{things} things, {len(scene.segments) - things} kinds of stuff, {milliseconds:.0f} ms", picture
