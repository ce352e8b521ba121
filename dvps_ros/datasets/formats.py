"""From a configuration to the reader of its data format."""

from __future__ import annotations

from pathlib import Path

from dvps_ros.config import DataConfig
from dvps_ros.datasets.cityscapes_dvps import CityscapesDvps
from dvps_ros.datasets.folder import Folder
from dvps_ros.datasets.frames import FrameReader
from dvps_ros.datasets.semkitti_dvps import SemkittiDvps

_READERS = {"cityscapes_dvps": CityscapesDvps, "semkitti_dvps": SemkittiDvps, "folder": Folder}


def open_split(config: DataConfig, split: str) -> FrameReader:
    """The labelled frames of one split; raises ``FileNotFoundError`` naming a folder that is missing or empty."""
    return _READERS[config.format](Path(config.root), split, config.focal)
