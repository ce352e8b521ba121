"""Which source of pictures a path means: a folder, a picture, a video or a recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dvps_ros.camera.pictures import SUFFIXES
from dvps_ros.datasets.bags import is_recording
from dvps_ros.datasets.picture_sources import VIDEO_SUFFIXES, PictureFiles, Video
from dvps_ros.datasets.recordings import open_recording
from dvps_ros.datasets.streams import Given, Source

__all__ = ["Given", "open_sources"]


def open_sources(paths: Sequence[Path], given: Given, together: bool = False) -> list[Source]:
    """A source for each path, for each of its topics where it is a recording.

    Parameters
    ----------
    together : picture files that follow one another are one source.

    Raises ``FileNotFoundError`` or ``ValueError`` naming what is missing, of an unknown kind, or lacks its camera.
    """
    sources: list[Source] = []
    waiting: list[Path] = []  # picture files that become one source
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        is_picture = path.is_file() and path.suffix.lower() in SUFFIXES
        if waiting and not (is_picture and together):
            sources.append(PictureFiles(waiting[0], waiting, given))
            waiting = []
        if is_picture:
            waiting.append(path)
        elif is_recording(path):
            sources += open_recording(path, given)
        elif path.is_dir():
            sources.append(PictureFiles.in_folder(path, given))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            sources.append(Video(path, given))
        else:
            raise ValueError(f"{path} is neither a folder of pictures, a picture, a video nor a recording")
    if waiting:
        sources.append(PictureFiles(waiting[0], waiting, given))
    return sources
