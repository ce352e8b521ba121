"""Pictures as videos, written by OpenCV."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2
import numpy as np

#: MPEG-4 Part 2, the one codec for MP4 that every build of OpenCV can write. VLC, mpv and ffmpeg play it; browsers
#: do not.
CODEC = "mp4v"
#: Number of pictures that are buffered to measure the video's rate from their stamps.
WAITING = 10


class VideoFile:
    """Writes an MP4 file from pictures of one size, that of the first one.

    The file has a hidden temporary name until it is complete, so that an older file of its name stays intact.

    Parameters
    ----------
    path : ends with .mp4.
    rate : pictures per second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self._growing = path.with_name(f".{path.stem}.part{path.suffix}")  # OpenCV needs the suffix
        # the codec allows at most 65535 time steps per second
        self._rate = round(rate, 2) if rate < 100 else float(round(rate))
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] | None = None

    def add(self, picture: np.ndarray) -> None:
        """Append a picture (H, W, 3) uint8 RGB; an odd last row or column is left out.

        Raises ``ValueError`` naming the file if it cannot be written, or if the picture has another size.
        """
        height, width = picture.shape[:2]
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._size = (height, width)
            self._writer = cv2.VideoWriter(
                str(self._growing), cv2.VideoWriter.fourcc(*CODEC), self._rate, (width // 2 * 2, height // 2 * 2)
            )
            if not self._writer.isOpened():
                self._writer = None
                raise ValueError(f"OpenCV cannot write the video {self.path} ({CODEC}, {width}x{height})")
        if self._size is not None and self._size != (height, width):
            raise ValueError(f"video {self.path} has size {self._size[1]}x{self._size[0]}, a picture {width}x{height}")
        self._writer.write(cv2.cvtColor(picture[: height // 2 * 2, : width // 2 * 2], cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Complete the file; before this call players cannot open it."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._growing.replace(self.path)


class VideoFiles:
    """Writes a stream of pictures as a video. If their size changes, another video begins.

    Parameters
    ----------
    path : path of the first video, e.g. ``drive_overlay.mp4``; the next one is ``drive_overlay_2.mp4``.
    rate : pictures per second, used for pictures without stamps.

    Attributes
    ----------
    paths : the videos that were written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._waiting: list[tuple[int | None, np.ndarray]] = []
        self._size: tuple[int, int] | None = None
        self._video: VideoFile | None = None
        self.paths: list[Path] = []

    def add(self, picture: np.ndarray, stamp: int | None) -> None:
        """Append a picture (H, W, 3) uint8 RGB; ``stamp`` is its time in nanoseconds, None if unknown.

        Raises ``ValueError`` naming a video that cannot be written.
        """
        if self._size != picture.shape[:2]:
            self.close()
        self._size = picture.shape[:2]
        self._waiting.append((stamp, picture))
        if self._video is not None or len(self._waiting) == WAITING:
            self._write()

    def close(self) -> None:
        """Complete the current video."""
        self._write()
        if self._video is not None:
            self._video.close()
            self._video = None

    def _write(self) -> None:
        if not self._waiting:
            return
        if self._video is None:
            number = f"_{len(self.paths) + 1}" if self.paths else ""
            self.paths.append(self._path.with_stem(f"{self._path.stem}{number}"))
            self._video = VideoFile(self.paths[-1], self._rate_of_stamps())
        for _, picture in self._waiting:
            self._video.add(picture)
        self._waiting = []

    def _rate_of_stamps(self) -> float:
        stamps = [stamp for stamp, _ in self._waiting if stamp is not None]
        steps = [later - earlier for earlier, later in pairwise(stamps) if later > earlier]
        return min(max(1e9 / median(steps), 1.0), 1000.0) if steps else self._rate
