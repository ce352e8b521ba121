"""Opens the data sets that a configuration names."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from dvps_ros import resources
from dvps_ros.config import DataConfig, SourceConfig
from dvps_ros.datasets.cityscapes_dvps import CityscapesDvps
from dvps_ros.datasets.folder import Folder
from dvps_ros.datasets.frames import FrameReader
from dvps_ros.datasets.semkitti_dvps import SemkittiDvps

_READERS = {"cityscapes_dvps": CityscapesDvps, "semkitti_dvps": SemkittiDvps}
#: fx in pixels of Cityscapes' cameras, whose data set has no file of intrinsics.
_CITYSCAPES_FOCAL = 2262.52


def open_split(config: DataConfig, split: str) -> FrameReader:
    """The labelled frames of one split of ``config.root``; raises as ``open_source``."""
    return open_source(plain_source(config), split)


def open_source(source: SourceConfig, split: str) -> FrameReader:
    """The labelled frames of one data set.

    Parameters
    ----------
    source : its folder, format and sequences.
    split : the split to read if the source names none.

    Raises
    ------
    FileNotFoundError : naming a folder that is missing or empty, or a table of label values that is missing.
    ValueError : naming a broken file, a pattern that matches no sequence, or a setting that contradicts another.
    """
    root, split = Path(source.root), source.split or split
    if not source.root:
        raise ValueError("a data source has no root: set it to the folder of the data set")
    if source.format == "folder":
        table = resources.find(source.semantic_table) if source.semantic_table else None
        reader: FrameReader = Folder(root, split, source.focal, table)
    elif source.semantic_table:
        raise ValueError(f"semantic_table applies to the format folder only; {source.format} has no semantic labels")
    else:
        reader = _READERS[source.format](root, split, source.focal)
    reader.focal_widths = source.focal_widths
    _select_sequences(reader, source, split)
    _check_cameras(reader, source)
    return reader


def plain_source(config: DataConfig) -> SourceConfig:
    """``config.root`` and the settings that belong to it, as a source."""
    shared = ("root", "format", "labels", "semantic_table", "include", "exclude", "focal", "focal_widths")
    source = SourceConfig(**{key: getattr(config, key) for key in shared})
    if config.focal not in (0, _CITYSCAPES_FOCAL) or config.focal_widths:
        return source
    # configurations of earlier versions hold this number whatever the format
    return replace(source, focal=_CITYSCAPES_FOCAL if config.format == "cityscapes_dvps" else 0.0)


def training_sources(config: DataConfig) -> tuple[SourceConfig, ...]:
    """The data sets to train on, each with its name.

    Raises ``ValueError`` for a share of zero, two equal names, or ``sources`` without ``validation``.
    """
    if not config.sources:
        return (_named(plain_source(config)),)
    if not config.validation:
        raise ValueError("data.sources needs data.validation: name the data sets to validate on")
    for number, source in enumerate(config.sources):
        if source.share == 0:
            raise ValueError(f"data.sources[{number}] ({_named(source).name}): share is 0; remove the source")
    return _all_named(config.sources, "data.sources")


def validation_sources(config: DataConfig) -> tuple[SourceConfig, ...]:
    """The data sets to validate on, each with its name. Raises ``ValueError`` for two equal names."""
    if not config.validation:
        return (_named(plain_source(config)),)
    return _all_named(config.validation, "data.validation")


def _named(source: SourceConfig) -> SourceConfig:
    return source if source.name else replace(source, name=Path(source.root).resolve().name)


def _all_named(sources: tuple[SourceConfig, ...], where: str) -> tuple[SourceConfig, ...]:
    named = tuple(map(_named, sources))
    names = [source.name for source in named]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{where}: two sources have the name {twice[0]}: set their name")
    if bad := [name for name in names if "/" in name]:
        raise ValueError(f"{where}: the name {bad[0]} must not contain /")
    return named


def _select_sequences(reader: FrameReader, source: SourceConfig, split: str) -> None:
    """Keep only the frames of sequences that ``include`` and ``exclude`` of the source select."""
    names = {reader.sequence_name(files) for files in reader.files}
    for pattern in (*source.include, *source.exclude):
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(sorted(names)[:3]) + (", .." if len(names) > 3 else "")
            raise ValueError(f"{source.root}: no sequence of {split} fits the pattern {pattern!r}; there are {some}")
    wanted = {
        name
        for name in names
        if (not source.include or any(fnmatchcase(name, pattern) for pattern in source.include))
        and not any(fnmatchcase(name, pattern) for pattern in source.exclude)
    }
    if not wanted:
        raise ValueError(f"{source.root}: include and exclude leave no sequence of {split}")
    reader.files = [files for files in reader.files if reader.sequence_name(files) in wanted]


def _check_cameras(reader: FrameReader, source: SourceConfig) -> None:
    """Refuse depth labels without a focal length: their scale would be unknown. Class labels need none."""
    if source.focal or source.focal_widths:
        return
    for files in reader.files:
        if files.depth is not None and source.labels != "panoptic" and not reader.has_camera(files):
            raise ValueError(f"{files.image}: depth without a camera: set the source's focal (pixels) or focal_widths")
    reader.focal_widths = 1.0
