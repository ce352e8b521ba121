"""``dvps label``: makes a training set from recordings, videos and pictures, labelled by a model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvps_ros.cli.arguments import (
    add_camera_height,
    add_config,
    add_device,
    add_input_pixels,
    add_precision,
    given_config,
)
from dvps_ros.cli.source_options import add_sources, given_for_sources
from dvps_ros.config import LabelConfig

if TYPE_CHECKING:
    from dvps_ros.datasets.pseudo_labels import Chunk, LabelledFolder
    from dvps_ros.datasets.streams import Given, Source, SourceFrame
    from dvps_ros.runtime import Perceiver
    from dvps_ros.structures import Scene

PANOPTIC, DEPTH = "panoptic", "depth"
SHEET = "contact_sheet.png"


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand, with an option for each field of ``LabelConfig``."""
    parser = subparsers.add_parser(
        "label",
        help="make a training set from recordings, videos or pictures, labelled by a model",
        description="Labels pictures with a model and keeps the confident labels, as a data set in the folder format "
        "(for dvps train --set data.format=folder data.root=OUT). Every source is read once before the first is "
        "labelled, so that a broken source is found at once. After an interruption the same command continues. "
        f"OUT/{SHEET} shows a selection.",
    )
    add_sources(parser)
    parser.add_argument("--model", default="models/street", help="model folder (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set, e.g. data/mine")
    parser.add_argument(
        "--labels",
        nargs="+",
        choices=(PANOPTIC, DEPTH),
        default=[PANOPTIC, DEPTH],
        help="labels to write (default: both)",
    )
    add_config(parser, LabelConfig)
    add_device(parser)
    add_precision(parser)
    add_input_pixels(parser)
    add_camera_height(parser)


def run(args: argparse.Namespace) -> int:
    """Label the pictures that have no labels yet. Raises ``ValueError`` or ``FileNotFoundError`` naming a source."""
    from dvps_ros.datasets.sources import open_sources

    config = given_config(args, LabelConfig)
    given = given_for_sources(args, need_camera=DEPTH in args.labels)
    kinds = tuple(sorted(set(args.labels)))
    sources = open_sources(args.sources, given)
    runs = [survey(source, config) for source in sources]
    teacher, identity = load_teacher(args)
    data = _open(args, teacher, identity, kinds, given, config)
    label(sources, runs, teacher, data, kinds, config)
    if config.sheet:
        contact_sheet(args.out, config.sheet)
    print(_summary(args.out, data))
    return 0


def load_teacher(args: argparse.Namespace) -> tuple[Perceiver, str]:
    """The model that labels, and the hash of its weights."""
    from dvps_ros.runtime import load_perceiver

    teacher = load_perceiver(args.model, args.device, args.precision, runtime="torch", input_pixels=args.input_pixels)
    teacher.camera_height = args.camera_height
    return teacher, teacher.digest


def survey(source: Source, config: LabelConfig) -> list[int]:
    """Read a source once; returns the run (see ``SourceFrame``) of each frame that will be labelled.

    Prints a line for each interruption and each remark. Raises ``ValueError`` naming a broken source.
    """
    from tqdm import tqdm

    found: list[int] = []
    with tqdm(desc=f"read {source.path.name}", unit="frame", disable=None) as bar:
        for item in source.frames(config.every, config.max_gap):
            if item.break_reason:
                bar.write(f"{source.path}: {item.break_reason}; a new sequence begins")
            found.append(item.run)
            bar.update()
    if not found:
        raise ValueError(f"{source.path} has no pictures")
    for remark in source.remarks:
        print(f"{source.path}: {remark}")
    return found


def label(
    sources: Sequence[Source],
    runs: Sequence[Sequence[int]],
    teacher: Perceiver,
    data: LabelledFolder,
    kinds: Sequence[str],
    config: LabelConfig,
) -> None:
    """Label every sequence that is not finished, with a progress bar.

    Parameters
    ----------
    sources, runs : the sources, and the result of ``survey`` for each.
    teacher : a ``Perceiver`` or anything with its ``step`` and ``reset_tracks``.
    data : the data set to write.
    kinds : ``"panoptic"``, ``"depth"`` or both.
    config : rate, gaps and thresholds.

    Raises ``ValueError`` if a source has changed, or the model fails on a frame. Finished sequences stay.
    """
    from tqdm import tqdm

    from dvps_ros.datasets.pseudo_labels import plan

    todo = []
    for source, own in zip(sources, runs, strict=True):
        name = data.register(source.path, source.name, len(own), source.topic)
        todo.append((source, plan(name, own, config)))
    total = sum(map(len, runs))
    with tqdm(total=total, desc="label", unit="frame", disable=None) as bar:
        try:
            for source, chunks in todo:
                missing = [chunk for chunk in chunks if chunk.name not in data.sequences]
                bar.update(sum(chunk.last - chunk.first + 1 for chunk in chunks if chunk not in missing))
                if missing:
                    _label_source(source, missing, teacher, data, kinds, config, bar)
        finally:
            data.discard_partial()


def _label_source(
    source: Source,
    chunks: Sequence[Chunk],
    teacher: Perceiver,
    data: LabelledFolder,
    kinds: Sequence[str],
    config: LabelConfig,
    bar: Any,
) -> None:
    from dvps_ros.runtime import DeviceMemoryError, NonFiniteOutputError

    waiting = list(chunks)
    writer = None
    for number, item in enumerate(source.frames(config.every, config.max_gap)):
        if not waiting:
            return
        chunk = waiting[0]
        if number < chunk.first:
            continue
        if writer is None:
            writer = data.begin(chunk)
            teacher.reset_tracks()
        try:
            scene = teacher.step(item.frame.image, item.frame.intrinsics, source.seconds(item))
            frame = _labelled(scene, item, f"{number:06d}", data, kinds, config)
        except (NonFiniteOutputError, DeviceMemoryError) as error:
            raise ValueError(f"{source.path}, frame {number}: {error}") from error
        writer.add(frame, item.frame.intrinsics)
        bar.update()
        if number == chunk.last:
            writer.finish()
            writer = None
            waiting.pop(0)
    if waiting:
        raise ValueError(f"{source.path} changed while it was read")


def _labelled(
    scene: Scene,
    item: SourceFrame,
    name: str,
    data: LabelledFolder,
    kinds: Sequence[str],
    config: LabelConfig,
) -> Any:
    from dvps_ros.datasets.frames import LabelledFrame, centered
    from dvps_ros.datasets.pseudo_labels import sure_labels

    frame = item.frame
    panoptic, depth = sure_labels(scene, data.labels, config, frame.intrinsics)
    return LabelledFrame(
        frame.image,
        panoptic if PANOPTIC in kinds else None,
        depth if DEPTH in kinds else None,
        frame.intrinsics or centered(1.0, *frame.image.shape[:2]),
        name,
    )


def contact_sheet(root: Path, count: int) -> None:
    """Write a picture of ``count`` frames, evenly spread over a data set: image, labels and depth of each."""
    import numpy as np

    from dvps_ros.datasets import folder, png
    from dvps_ros.drawing.montage import compose

    frames = [
        (split, reader, k) for split in ("train", "val") for reader in _readers(root, split) for k in range(len(reader))
    ]
    if not frames:
        return
    chosen = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))]
    rows = [_row(split, reader, position) for split, reader, position in chosen]
    columns = ["picture", *(kind for kind in (folder.PANOPTIC, folder.DEPTH) if kind in rows[0][2])]
    title = f"{root.name}: {len(chosen)} of {len(frames)} frames"
    pictures = [(caption, [image, *(parts[kind] for kind in columns[1:])]) for caption, image, parts in rows]
    png.write(root / SHEET, compose(title, columns, pictures, height=192))


def _readers(root: Path, split: str) -> list[Any]:
    """A list with the reader of a split; empty for a split without frames."""
    from dvps_ros.datasets.folder import Folder

    try:
        return [Folder(root, split, 1.0)]
    except FileNotFoundError:
        return []


def _row(split: str, reader: Any, position: int) -> tuple[str, Any, dict[str, Any]]:
    """Caption, image (H, W, 3) uint8 RGB, and a picture of each label by its kind."""
    import numpy as np
    import torch

    from dvps_ros.drawing.overlay import colorize_depth, overlay
    from dvps_ros.labels import VOID
    from dvps_ros.structures import Scene

    frame = reader[position]
    parts: dict[str, Any] = {}
    caption = f"{split}  {frame.name}"
    if frame.panoptic is not None:
        empty = torch.zeros(frame.panoptic.shape)
        scene = Scene(torch.from_numpy(frame.panoptic), empty, empty)
        parts[PANOPTIC] = overlay(frame.image, scene, reader.labels)
        caption += f"  labelled {100 * np.mean(frame.panoptic < VOID):.0f} %"
    if frame.depth is not None:
        parts[DEPTH] = colorize_depth(frame.depth)
        caption += f"  depth {100 * np.mean(frame.depth > 0):.0f} %"
    return caption, frame.image, parts


def _open(
    args: argparse.Namespace,
    teacher: Perceiver,
    identity: str,
    kinds: Sequence[str],
    given: Given,
    config: LabelConfig,
) -> LabelledFolder:
    from dataclasses import asdict

    from dvps_ros.datasets.pseudo_labels import LabelledFolder
    from dvps_ros.labels import LABEL_SETS

    if LABEL_SETS.get(teacher.labels.name) is not teacher.labels:
        raise ValueError(f"the model's class table {teacher.labels.name} cannot be used for training")
    settings = {"model": identity, "labels": list(kinds), **asdict(config)}
    settings["camera"] = None if given.camera is None else list(given.camera)
    settings |= {name: value for name in ("rectified", "bits") if (value := getattr(given, name))}
    # only where they differ from the defaults, so that data sets of earlier versions can be continued
    settings |= {
        name: value for name in ("camera_height", "input_pixels", "camera_info") if (value := getattr(args, name))
    }
    settings |= {"precision": args.precision} if args.precision != "auto" else {}
    del settings["sheet"]
    return LabelledFolder(args.out, teacher.labels, settings)


def _summary(out: Path, data: LabelledFolder) -> str:
    rows = list(data.sequences.values())
    lines = []
    for split in ("train", "val"):
        own = [row for row in rows if row["split"] == split and row["frames"]]
        frames = sum(row["frames"] for row in own)
        sure = sum(row["sure"] * row["frames"] for row in own) / max(frames, 1)
        lines.append(f"{out}/{split}: {frames} frames in {len(own)} sequences, {100 * sure:.0f} % of pixels labelled")
    left_out = sum(row["left_out"] for row in rows)
    if left_out:
        lines.append(f"{left_out} frames left out: no pixel was confident enough (--confidence)")
    if not any(row["frames"] for row in rows if row["split"] == "val"):
        lines.append("no frame is held out for validation, which dvps train needs: see --val")
    lines.append(f"check {out / SHEET}, then run: dvps train --set data.format=folder data.root={out} --config ...")
    return "\n".join(lines)
