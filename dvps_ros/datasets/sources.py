"""Pictures without labels, in the order they were taken: from folders, videos and ROS 2 recordings.

A source can be read any number of times and gives the same frames each time. What is wrong with it becomes a
``ValueError`` of one line that names it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from dvps_ros.datasets import pictures
from dvps_ros.structures import CameraFrame, Intrinsics

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg")
RECORDING_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True)
class Given:
    """What a user says of sources that do not say it themselves.

    Attributes
    ----------
    camera : fx, fy, cx, cy in pixels, None where not told (fy then is fx, cx and cy the picture's middle); or None. It
        wins over a recording's camera_info.
    topics : image topics to take of each recording; empty: the only one there is.
    info_topic : the camera_info topic of all of them; empty: the one beside each image topic.
    need_camera : refuse what has no camera.
    """

    camera: tuple[float, float | None, float | None, float | None] | None = None
    topics: tuple[str, ...] = ()
    info_topic: str = ""
    need_camera: bool = True

    def intrinsics(self, height: int, width: int) -> Intrinsics | None:
        """The given camera for a ``height`` x ``width`` picture."""
        if self.camera is None:
            return None
        fx, fy, cx, cy = self.camera
        return Intrinsics(
            fx,
            fx if fy is None else fy,
            (width - 1) / 2 if cx is None else cx,
            (height - 1) / 2 if cy is None else cy,
            width,
            height,
        )


@dataclass(frozen=True)
class SourceFrame:
    """One picture of a source.

    Attributes
    ----------
    frame : the picture, its camera (None when unknown) and time.
    run : number of the continuous run it belongs to, from 0: one camera, one size, no gap.
    news : why a new run begins with it; empty otherwise.
    """

    frame: CameraFrame
    run: int = 0
    news: str = ""


class Source(ABC):
    """Where pictures come from.

    Attributes
    ----------
    path : the file or folder.
    name : what its sequences are called.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or path.stem

    @abstractmethod
    def frames(self, every: float, max_gap: float) -> Iterator[SourceFrame]:
        """Its pictures, decoded, at least ``every`` seconds apart; after ``max_gap`` seconds of none a new run begins.

        Raises ``ValueError`` naming what is broken, when it is reached.
        """


class Pace:
    """Thins a stream of stamps, and notices where it is interrupted.

    ``every`` and ``max_gap`` are seconds; ``every`` 0 keeps all.
    """

    def __init__(self, every: float, max_gap: float) -> None:
        self._every, self._max_gap = every, max_gap
        self._last: float | None = None
        self._due = 0.0
        self.start = 0.0

    def keep(self, stamp: int) -> bool:
        """Whether the picture of this time (ns) is taken; the first one is, and the first one after a gap."""
        seconds = stamp / 1e9
        jitter = 0.05 * self._every
        taken = self._last is None or self.gap(stamp) is not None or seconds >= self._due - jitter
        if self._last is None:
            self.start = seconds
        if taken:
            on_beat = self._last is not None and 0 <= seconds - self._due + jitter < self._every
            self._due = (self._due if on_beat else seconds) + self._every
        self._last = seconds
        return taken

    def gap(self, stamp: int) -> str | None:
        """What interrupts the stream between the last stamp that ``keep`` saw and this one (ns), in words; or None."""
        if self._last is None:
            return None
        step = stamp / 1e9 - self._last
        where = f"{self._last - self.start:.1f} s after the start"
        if step > self._max_gap:
            return f"no picture for {step:.1f} s, {where}"
        return f"time jumps back by {-step:.1f} s, {where}" if step < 0 else None


class Runs:
    """Numbers the continuous runs of one camera."""

    def __init__(self) -> None:
        self._run = 0
        self._last: CameraFrame | None = None

    def add(self, frame: CameraFrame, gap: str | None) -> SourceFrame:
        """The frame with its run; a gap, another size or another camera begins a new one."""
        news, last = gap or "", self._last
        if last is not None and not news:
            if frame.image.shape[:2] != last.image.shape[:2]:
                (h, w), (old_h, old_w) = frame.image.shape[:2], last.image.shape[:2]
                news = f"pictures change from {old_w}x{old_h} to {w}x{h}"
            elif frame.intrinsics != last.intrinsics:
                news = "the camera's intrinsics change"
        self._run += bool(news)
        self._last = replace(frame, image=frame.image[:, :, :0])  # the size is enough; the picture may go
        return SourceFrame(frame, self._run, news)


class PictureFolder(Source):
    """The pictures of a folder by name, or given ones. They have no time: all are taken, none is a gap."""

    def __init__(self, path: Path, given: Given) -> None:
        super().__init__(path, path.name if path.is_dir() else path.stem)
        self._given = given
        self._files = [path] if path.is_file() else picture_files(path)
        if not self._files:
            raise ValueError(f"{path} holds no pictures ({', '.join(pictures.SUFFIXES)})")
        check_camera(given, f"{path}: pictures have no camera")

    def frames(self, every: float, max_gap: float) -> Iterator[SourceFrame]:
        """See ``Source``; stamps count the pictures, one a second."""
        runs = Runs()
        for number, path in enumerate(self._files):
            image = pictures.read_picture(path)
            camera = self._given.intrinsics(*image.shape[:2])
            yield runs.add(CameraFrame(image, camera, number * 10**9), None)


class Video(Source):
    """A video file, read by OpenCV."""

    def __init__(self, path: Path, given: Given) -> None:
        super().__init__(path)
        self._given = given
        check_camera(given, f"{path}: a video has no camera")

    def frames(self, every: float, max_gap: float) -> Iterator[SourceFrame]:
        """See ``Source``.

        Raises ``ValueError`` naming a video that cannot be opened, has no frame, or ends more than a second before the
        length that it states.
        """
        capture = cv2.VideoCapture(str(self.path))
        try:
            if not capture.isOpened():
                raise ValueError(f"{self.path} is not a video that OpenCV can read, or was cut off")
            rate = capture.get(cv2.CAP_PROP_FPS)
            if not 0 < rate < 1000:
                rate = 30.0
            yield from self._read(capture, rate, Pace(every, max_gap))
        finally:
            capture.release()

    def _read(self, capture: cv2.VideoCapture, rate: float, pace: Pace) -> Iterator[SourceFrame]:
        runs, count = Runs(), 0
        while capture.grab():
            milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
            stamp = round(milliseconds * 1e6) if milliseconds > 0 else round(count / rate * 1e9)
            count += 1
            gap = pace.gap(stamp)
            if not pace.keep(stamp):
                continue
            done, bgr = capture.retrieve()
            if not done:
                raise ValueError(f"{self.path}: frame {count} cannot be decoded")
            image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            yield runs.add(CameraFrame(image, self._given.intrinsics(*image.shape[:2]), stamp), gap)
        if count == 0:
            raise ValueError(f"{self.path} is a video of zero frames")
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if stated - count > rate:
            raise ValueError(f"{self.path} ends after {count} of {stated:.0f} frames: it was cut off")


def open_sources(paths: Sequence[Path], given: Given) -> list[Source]:
    """A source for each path, for each of its topics where it is a recording.

    Raises ``FileNotFoundError`` or ``ValueError`` naming what is missing, of an unknown kind, or lacks its camera.
    """
    sources: list[Source] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        suffix = path.suffix.lower()
        if suffix in RECORDING_SUFFIXES or (path.is_dir() and _holds_recording(path)):
            from dvps_ros.datasets.recordings import open_recording

            sources += open_recording(path, given)
        elif path.is_dir() or suffix in pictures.SUFFIXES:
            sources.append(PictureFolder(path, given))
        elif suffix in VIDEO_SUFFIXES:
            sources.append(Video(path, given))
        else:
            raise ValueError(f"{path} is neither a folder of pictures, a picture, a video nor a ROS 2 recording")
    return sources


def picture_files(folder: Path) -> list[Path]:
    """The picture files that lie directly in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in pictures.SUFFIXES and path.name[0] != ".")


def check_camera(given: Given, problem: str) -> None:
    """Raise ``ValueError`` with the ``problem`` and its remedy where a camera is needed and none is given."""
    if given.need_camera and given.camera is None:
        raise ValueError(f"{problem}, which depth in metres needs: give --fx, or take --labels panoptic alone")


def _holds_recording(folder: Path) -> bool:
    files = {path.suffix.lower() for path in folder.iterdir()}
    return (folder / "metadata.yaml").is_file() or not files.isdisjoint(RECORDING_SUFFIXES)
