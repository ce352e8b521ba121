"""A look at every file of a split before training trusts it: what is there, and what is broken, by name."""

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
    fatal : False where training can go on without it (a frame that has only one of its two labels).
    """

    path: Path
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.fatal else 'warning'}: {self.path}: {self.message}"


@dataclass
class CheckReport:
    """What was found in one split.

    Attributes
    ----------
    split : its name.
    frames, sequences : how many there are.
    with_panoptic, with_semantic, with_depth : frames that have the label.
    without_instances : frames that have things, and not one instance of them.
    crowds : further frames in which some of the things have no instance.
    sizes : frames by image size (H, W).
    class_frames : frames by class name, of the classes seen in them.
    problems : everything wrong, in order of the frames.
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
            lines.append(f"  things without instances in {count} frames: their class alone is learned and measured")
        if self.crowds:
            lines.append(f"  things of which some have no instance in {self.crowds} frames: those are no segment")
        return lines


def check(config: DataConfig | SourceConfig, split: str) -> CheckReport:
    """Read every file of a split that training would read, and report counts and each broken file by name.

    Parameters
    ----------
    config : one source, or the one data set that ``root`` of the whole section names.
    split : to read where the source does not say.

    Raises ``FileNotFoundError`` when the root folder itself does not exist; a missing or empty split is a problem in
    the report.
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
    kinds = [kind for kind in ("panoptic", "depth") if not all(files.lacks(kind) for files in reader.files)]
    for files in reader.files:
        _check_frame(reader, files, config.labels, kinds, report)
    chosen = bool(config.include or config.exclude)  # then what belongs to no frame may belong to one that is held out
    if not chosen:
        report.problems += _labels_without_image(config.format, place, reader)
    if in_folders and not chosen:
        report.problems += _pictures_passed_over(place / folder.IMAGES, reader) + _equal_numbers(reader)
    return report


def _check_frame(reader: FrameReader, files: FrameFiles, labels: str, kinds: list[str], report: CheckReport) -> None:
    report.with_panoptic += bool(files.panoptic)
    report.with_semantic += files.semantic is not None
    report.with_depth += files.depth is not None
    if lack := files.lacks(labels):
        report.problems.append(Problem(files.image, lack))
    elif labels == "both" and (lacks := [lack for kind in kinds if (lack := files.lacks(kind))]):
        report.problems.append(Problem(files.image, lacks[0], fatal=False))
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
        report.problems += _look(reader, files, path, values)
    if maps and all(path in maps for path in files.maps(labels)):
        try:
            told = reader.decode(files, maps)
        except ValueError as error:
            report.problems.append(_problem(files.semantic or files.image, error))
            return
        if told is not None:
            _count_classes(reader, told, report)


def _count_classes(reader: FrameReader, told: ClassLabels, report: CheckReport) -> None:
    table = reader.table
    rows = class_labels.all_rows(told.panoptic, told.semantic, table)
    seen = np.unique(rows[rows >= 0])
    report.class_frames.update(table.names[row] for row in seen)
    things = [row for row in seen if any(table.labels.is_thing[k] for k in table.sets[row])]
    if told.semantic is None or not things:
        return
    borderless = np.isin(rows, things) & (told.panoptic == VOID)
    report.without_instances += told.segmented is not None
    report.crowds += told.segmented is None and bool(borderless.any())


def _look(reader: FrameReader, files: FrameFiles, path: Path, values: np.ndarray) -> list[Problem]:
    if fault := reader.fault(files, path, values):
        return [Problem(path, fault)]
    if path.name.endswith(f"{semkitti_dvps.INSTANCE}.png") and path in files.panoptic:
        overflow = out_of_range("instance ids out of range:", values, values < DIVISOR)
        return [Problem(path, f"{overflow}: numbered anew", fatal=False)] if overflow else []
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
        Problem(path, "belongs to no image or lacks its counterpart", fatal=False)
        for path in sorted(files)
        if path not in used and (not kinds or any(f"_{kind}" in path.name for kind in kinds))
    ]


def _pictures_passed_over(images: Path, reader: FrameReader) -> list[Problem]:
    used = {files.image for files in reader.files}
    others = [path for path in natural(images.rglob("*")) if path.suffix.lower() in SUFFIXES and path not in used]
    if not others:
        return []
    message = f"{len(others)} pictures are no frames (suffix {', '.join(folder.SUFFIXES)}; at most one folder deep)"
    return [Problem(others[0], message, fatal=False)]


def _equal_numbers(reader: FrameReader) -> list[Problem]:
    """Names that differ in padding alone (1 and 01), whose order is nobody's intention."""
    problems = []
    for earlier, later in zip(reader.files, reader.files[1:], strict=False):
        if earlier.sequence == later.sequence and natural_key(earlier.image)[0] == natural_key(later.image)[0]:
            problems.append(Problem(later.image, f"has the same number as {earlier.image.name}", fatal=False))
    return problems


def _problem(path: Path, error: Exception) -> Problem:
    return Problem(path, str(error).removeprefix(f"{path}: "))
