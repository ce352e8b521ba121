"""Picture files and videos as sources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from dvps_ros.camera.pictures import SUFFIXES, read_pixels
from dvps_ros.camera.pixel_formats import to_rgb
from dvps_ros.camera.stream_watch import StreamWatch
from dvps_ros.datasets.order import natural, natural_key
from dvps_ros.datasets.streams import Given, Pace, Runs, Source, SourceFrame
from dvps_ros.structures import CameraFrame

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg")
#: Frames per second of a video whose file does not state its rate.
ASSUMED_RATE = 30.0


class PictureFiles(Source):
    """Picture files in the order given. They have no times: all are used, and there are no gaps.

    ``path`` is the folder or the picture that the user named.
    """

    def __init__(self, path: Path, files: Sequence[Path], given: Given) -> None:
        super().__init__(path, path.name if path.is_dir() else path.stem)
        self.in_motion = self.timed = False
        self._files, self._given = files, given
        given.check_camera(f"{path}: pictures have no camera")

    @classmethod
    def in_folder(cls, folder: Path, given: Given) -> PictureFiles:
        """The pictures of a folder, in natural order; raises ``ValueError`` if there are none."""
        found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        files = natural(path for path in found if path.name[0] != ".")
        if not files:
            raise ValueError(f"folder {folder} has no pictures ({', '.join(SUFFIXES)})")
        return cls(folder, files, given)

    def result_names(self) -> list[tuple[str, Path]]:
        """Each picture's name without its suffix, and its file."""
        return [(path.stem, path) for path in self._files]

    def frames(self, every: float, max_gap: float) -> Iterator[SourceFrame]:
        """See ``Source``; stamps count the pictures, one per second."""
        self.remarks = self._remarks_on_names()
        runs, watch = Runs(self.name), StreamWatch()
        for number, path in enumerate(self._files):
            pixels = read_pixels(path)
            self.remarks += watch.add(pixels, self._given.bits)
            image = to_rgb(pixels, self._given.bits)
            camera = self._given.intrinsics(*image.shape[:2])
            yield runs.add(CameraFrame(image, camera, number * 10**9), None, path.stem)
        self.remarks += watch.end()

    def _remarks_on_names(self) -> list[str]:
        """Remarks on ignored entries of the folder, and on names that do not determine the order."""
        remarks = []
        if self.path.is_dir():
            others = [path for path in self.path.iterdir() if path.name[0] != "." and path not in self._files]
            folders = sum(path.is_dir() for path in others)
            counts = ((folders, "subfolder(s)"), (len(others) - folders, "file(s) that are not pictures"))
            remarks += [f"{count} {what} left out" for count, what in counts if count]
        elif list(self._files) != sorted(self._files, key=lambda path: (path.parent, natural_key(path))):
            remarks.append("pictures are used in the order given, which is not the order of their names")
        nameless = sum(re.search(r"\d", path.stem) is None for path in self._files)
        if nameless and len(self._files) > 1:
            of = f"{nameless} of {len(self._files)} names have no number"
            remarks.append(f"{of}: the pictures are in alphabetical order")
        return remarks


class Video(Source):
    """A video file, read by OpenCV, which turns frames upright if the file holds an orientation."""

    def __init__(self, path: Path, given: Given) -> None:
        super().__init__(path)
        self._given = given
        given.check_camera(f"{path}: a video has no camera")

    def frames(self, every: float, max_gap: float) -> Iterator[SourceFrame]:
        """See ``Source``.

        Raises ``ValueError`` naming a video that cannot be opened, has no frame, or ends more than a second before its
        stated length.
        """
        self.remarks = []
        capture = cv2.VideoCapture(str(self.path))
        try:
            if not capture.isOpened():
                raise ValueError(f"{self.path} is truncated, or not a video that OpenCV can read")
            rate = capture.get(cv2.CAP_PROP_FPS)
            if not 0 < rate < 1000:
                rate = ASSUMED_RATE
                self.remarks.append(f"the file states no frame rate; {rate:g} frames per second are assumed")
            yield from self._read(capture, rate, Pace(every, max_gap))
        finally:
            capture.release()

    def _read(self, capture: cv2.VideoCapture, rate: float, pace: Pace) -> Iterator[SourceFrame]:
        runs, count = Runs(self.name), 0
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
            raise ValueError(f"{self.path} is a video without frames")
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if stated - count > rate:
            raise ValueError(f"{self.path} ends after {count} of {stated:.0f} frames: it is truncated")
        if stated > count:
            self.remarks.append(f"ends after {count} of the {stated:.0f} frames that it states")
        if count > runs.count:
            self.remarks.append(f"{runs.count} of {count} frames are used, one every {pace.every:g} s")
