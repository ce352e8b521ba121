"""A look at every file of a split before training trusts it: what is there, and what is broken, by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dvps_ros.config import DataConfig
from dvps_ros.datasets import cityscapes_dvps, folder, png, semkitti_dvps
from dvps_ros.datasets.formats import open_split
from dvps_ros.datasets.frames import FrameFiles, FrameReader, out_of_range, split_folder
from dvps_ros.labels import DIVISOR, VOID_CLASS


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
    with_panoptic, with_depth : frames that have the label.
    sizes : frames by image size (H, W).
    class_frames : frames by class name, of the classes seen in them.
    problems : everything wrong, in order of the frames.
    """

    split: str
    frames: int = 0
    sequences: int = 0
    with_panoptic: int = 0
    with_depth: int = 0
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
            f"{self.with_panoptic}, with depth {self.with_depth}; sizes {sizes or 'none'}",
            "  frames by class: " + (", ".join(f"{n} {c}" for n, c in self.class_frames.most_common()) or "none"),
            *(f"  {problem}" for problem in self.problems),
        ]
        return "\n".join(lines)


def check(config: DataConfig, split: str) -> CheckReport:
    """Read every file of a split that training would read, and report counts and each broken file by name.

    Raises ``FileNotFoundError`` when the root folder itself does not exist; a missing or empty split is a problem in
    the report.
    """
    if not Path(config.root).is_dir():
        raise FileNotFoundError(f"no data set folder {config.root}")
    report = CheckReport(split)
    in_folders = config.format == "folder"
    place = (folder.split_folder if in_folders else split_folder)(Path(config.root), split)
    try:
        reader = open_split(config, split)
    except (FileNotFoundError, ValueError) as error:
        report.problems.append(Problem(place, str(error)))
        return report
    report.frames = len(reader)
    report.sequences = len(reader.sequences())
    for files in reader.files:
        _check_frame(reader, files, config.labels, report)
    report.problems += _labels_without_image(config.format, place, reader)
    return report


def _check_frame(reader: FrameReader, files: FrameFiles, labels: str, report: CheckReport) -> None:
    report.with_panoptic += bool(files.panoptic)
    report.with_depth += files.depth is not None
    if lack := files.lacks(labels):
        report.problems.append(Problem(files.image, lack))
    elif labels == "both" and (lack := files.lacks("panoptic") or files.lacks("depth")):
        report.problems.append(Problem(files.image, lack, fatal=False))
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
    panoptic = [maps[path] for path in files.panoptic if path in maps]
    if panoptic and len(panoptic) == len(files.panoptic) and len({values.shape for values in panoptic}) == 1:
        decoded = reader.decode(files, panoptic)
        classes = np.bincount(decoded.reshape(-1) // DIVISOR, minlength=VOID_CLASS + 1)
        report.class_frames.update(name for name, count in zip(reader.labels.names, classes, strict=False) if count)


def _look(reader: FrameReader, files: FrameFiles, path: Path, values: np.ndarray) -> list[Problem]:
    if fault := reader.fault(files, path, values):
        return [Problem(path, fault)]
    if path.name.endswith(f"{semkitti_dvps.INSTANCE}.png") and path in files.panoptic:
        # they start again at 0, which could make two things of one frame one
        overflow = out_of_range("instance", values, values < DIVISOR)
        return [Problem(path, overflow, fatal=False)] if overflow else []
    return []


def _labels_without_image(format_name: str, place: Path, reader: FrameReader) -> list[Problem]:
    used = {path for files in reader.files for path in (files.image, *files.panoptic, files.depth)}
    files, kinds = place.glob("*.png"), ()
    if format_name == "folder":
        files = (path for kind in (folder.PANOPTIC, folder.DEPTH) for path in (place / kind).rglob("*.png"))
    elif format_name == "cityscapes_dvps":
        kinds = (cityscapes_dvps.PANOPTIC, cityscapes_dvps.DEPTH)
    else:
        kinds = (semkitti_dvps.CLASS, semkitti_dvps.INSTANCE, "depth")
    return [
        Problem(path, "belongs to no image or lacks its counterpart", fatal=False)
        for path in sorted(files)
        if path not in used and (not kinds or any(f"_{kind}" in path.name for kind in kinds))
    ]


def _problem(path: Path, error: Exception) -> Problem:
    return Problem(path, str(error).removeprefix(f"{path}: "))
