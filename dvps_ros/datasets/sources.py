"""Opens the sources that paths name: folders of pictures, pictures, videos and recordings."""

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
    """A source for each path; for a recording, one for each of its topics.

    Parameters
    ----------
    paths : files and folders.
    given : the user's settings.
    together : consecutive picture files form one source.

    Raises ``FileNotFoundError`` naming a missing path, ``ValueError`` naming one of an unknown kind or without a
    camera.
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
