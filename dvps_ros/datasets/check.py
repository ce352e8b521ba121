"""Check of every file of a split before training: counts of frames and labels, and each broken file by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dvps_ros.camera.pictures import SUFFIXES
from dvps_ros.config import DataConfig, SourceConfig
from dvps_ros.datasets import cityscapes_dvps, class_labels, folder, png, semkitti_dvps
from dvps_ros.datasets.class_labels import ClassLabels
from dvps_ros.datasets.formats import open_source, plain_source
from dvps_ros.datasets.frames import FrameFiles, FrameReader, out_of_range, split_folder
from dvps_ros.datasets.order import natural, natural_key
from dvps_ros.labels import DIVISOR, VOID


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one file.

    Attributes
    ----------
    path : the file or folder.
    message : what is wrong with it.
    fatal : False if training can use the frame nevertheless (it has only one of its two labels).
    """

    path: Path
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.fatal else 'warning'}: {self.path}: {self.message}"


@dataclass
class CheckReport:
    """Result of the check of one split.

    Attributes
    ----------
    split : its name.
    frames, sequences : their numbers.
    with_panoptic, with_semantic, with_depth : number of frames that have the label.
    without_instances : number of frames that have things but no instance.
    crowds : number of frames in which only some of the things have instances.
    sizes : number of frames by image size (H, W).
    class_frames : number of frames in which a class occurs, by class name.
    problems : all faults, in the order of the frames.
    """

    split: str
    frames: int = 0
    sequences: int = 0
    with_panoptic: int = 0
    with_semantic: int = 0
    with_depth: int = 0
    without_instances: int = 0
    crowds: int = 0
    sizes: Counter = field(default_factory=Counter)
    class_frames: Counter = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing fatal was found."""
        return not any(problem.fatal for problem in self.problems)

    def __str__(self) -> str:
        sizes = ", ".join(f"{w}x{h}: {n}" for (h, w), n in sorted(self.sizes.items()))
        lines = [
            f"{self.split}: {self.frames} frames in {self.sequences} sequences; with panoptic labels "
            f"{self.with_panoptic}, with semantic labels {self.with_semantic}, with depth {self.with_depth}; "
            f"sizes {sizes or 'none'}",
            "  frames by class: " + (", ".join(f"{n} {c}" for n, c in self.class_frames.most_common()) or "none"),
            *self._instances(),
            *(f"  {problem}" for problem in self.problems),
        ]
        return "\n".join(lines)

    def _instances(self) -> list[str]:
        lines = []
        if self.without_instances:
            count = self.without_instances
            lines.append(f"  things without instances in {count} frames: only their class is learned and measured")
        if self.crowds:
            lines.append(f"  things of which some have no instance in {self.crowds} frames: those form no segment")
        return lines


def check(config: DataConfig | SourceConfig, split: str) -> CheckReport:
    """Read every file of a split that training would read; report counts, and each broken file by name.

    Parameters
    ----------
    config : a source, or the whole section, whose ``root`` names the data set.
    split : the split to read if the source names none.

    Raises ``FileNotFoundError`` if the root folder does not exist. A missing or empty split is a problem in the report.
    """
    config = plain_source(config) if isinstance(config, DataConfig) else config
    split = config.split or split
    if not Path(config.root).is_dir():
        raise FileNotFoundError(f"no data set folder {config.root}")
    report = CheckReport(split)
    in_folders = config.format == "folder"
    place = (folder.split_folder if in_folders else split_folder)(Path(config.root), split)
    try:
        reader = open_source(config, split)
    except (FileNotFoundError, ValueError) as error:
        report.problems.append(Problem(place, str(error)))
        return report
    report.frames = len(reader)
    report.sequences = len(reader.sequences())
    kinds = [kind for kind in ("panoptic", "depth") if not all(files.missing_label(kind) for files in reader.files)]
    for files in reader.files:
        _check_frame(reader, files, config.labels, kinds, report)
    # with include or exclude, a file that belongs to no frame may belong to a sequence that was left out
    whole_split = not (config.include or config.exclude)
    if whole_split:
        report.problems += _labels_without_image(config.format, place, reader)
    if in_folders and whole_split:
        report.problems += _ignored_images(place / folder.IMAGES, reader) + _equal_numbers(reader)
    return report


def _check_frame(reader: FrameReader, files: FrameFiles, labels: str, kinds: list[str], report: CheckReport) -> None:
    report.with_panoptic += bool(files.panoptic)
    report.with_semantic += files.semantic is not None
    report.with_depth += files.depth is not None
    if missing := files.missing_label(labels):
        report.problems.append(Problem(files.image, missing))
    elif labels == "both" and (partly := [missing for kind in kinds if (missing := files.missing_label(kind))]):
        report.problems.append(Problem(files.image, partly[0], fatal=False))
    try:
        size = reader.image(files).shape[:2]
        report.sizes[size] += 1
    except (ValueError, OSError) as error:
        report.problems.append(_problem(files.image, error))
        size = None
    maps = {}
    for path in files.maps(labels):
        try:
            values = png.read_values(path)
        except (ValueError, OSError) as error:
            report.problems.append(_problem(path, error))
            continue
        if size is not None and values.shape != size:
            report.problems.append(Problem(path, f"size {values.shape} differs from the image's {size}"))
        else:
            maps[path] = values
        report.problems += _value_problems(reader, files, path, values)
    if maps and all(path in maps for path in files.maps(labels)):
        try:
            decoded = reader.decode(files, maps)
        except ValueError as error:
            report.problems.append(_problem(files.semantic or files.image, error))
            return
        if decoded is not None:
            _count_classes(reader, decoded, report)


def _count_classes(reader: FrameReader, decoded: ClassLabels, report: CheckReport) -> None:
    table = reader.table
    rows = class_labels.all_rows(decoded.panoptic, decoded.semantic, table)
    seen = np.unique(rows[rows >= 0])
    report.class_frames.update(table.names[row] for row in seen)
    things = [row for row in seen if any(table.labels.is_thing[k] for k in table.sets[row])]
    if decoded.semantic is None or not things:
        return
    without_instance = np.isin(rows, things) & (decoded.panoptic == VOID)
    report.without_instances += decoded.segmented is not None
    report.crowds += decoded.segmented is None and bool(without_instance.any())


def _value_problems(reader: FrameReader, files: FrameFiles, path: Path, values: np.ndarray) -> list[Problem]:
    if fault := reader.fault(files, path, values):
        return [Problem(path, fault)]
    if path.name.endswith(f"{semkitti_dvps.INSTANCE}.png") and path in files.panoptic:
        overflow = out_of_range("instance ids out of range:", values, values < DIVISOR)
        return [Problem(path, f"{overflow}: renumbered", fatal=False)] if overflow else []
    return []


def _labels_without_image(format_name: str, place: Path, reader: FrameReader) -> list[Problem]:
    used = {path for files in reader.files for path in (files.image, *files.panoptic, files.semantic, files.depth)}
    files: Iterable[Path] = place.glob("*.png")
    kinds: tuple[str, ...] = ()
    if format_name == "folder":
        files = (
            path for kind in (folder.PANOPTIC, folder.SEMANTIC, folder.DEPTH) for path in (place / kind).rglob("*.png")
        )
    elif format_name == "cityscapes_dvps":
        kinds = (cityscapes_dvps.PANOPTIC, cityscapes_dvps.DEPTH)
    else:
        kinds = (semkitti_dvps.CLASS, semkitti_dvps.INSTANCE, "depth")
    return [
        Problem(path, "the image or the other label file is missing", fatal=False)
        for path in sorted(files)
        if path not in used and (not kinds or any(f"_{kind}" in path.name for kind in kinds))
    ]


def _ignored_images(images: Path, reader: FrameReader) -> list[Problem]:
    used = {files.image for files in reader.files}
    others = [path for path in natural(images.rglob("*")) if path.suffix.lower() in SUFFIXES and path not in used]
    if not others:
        return []
    message = f"{len(others)} pictures ignored (frames end in {', '.join(folder.SUFFIXES)}, at most one folder deep)"
    return [Problem(others[0], message, fatal=False)]


def _equal_numbers(reader: FrameReader) -> list[Problem]:
    """Names that differ only in padding (1 and 01): their order in time is ambiguous."""
    problems = []
    for earlier, later in zip(reader.files, reader.files[1:], strict=False):
        if earlier.sequence == later.sequence and natural_key(earlier.image)[0] == natural_key(later.image)[0]:
            problems.append(Problem(later.image, f"has the same number as {earlier.image.name}", fatal=False))
    return problems


def _problem(path: Path, error: Exception) -> Problem:
    return Problem(path, str(error).removeprefix(f"{path}: "))
