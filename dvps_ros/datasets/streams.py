"""Pictures without labels, in the order they were taken: what a source of them is, and what splits it.

A source can be read any number of times and gives the same frames each time. What is wrong with it becomes a
``ValueError`` of one line that names it; what is odd about it, and what is left out of it, a remark.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dvps_ros.camera.beat import Beat
from dvps_ros.structures import CameraFrame, Intrinsics


@dataclass(frozen=True)
class Given:
    """What a user says of sources that do not say it themselves.

    Attributes
    ----------
    camera : fx, fy, cx, cy in pixels, None where not told (fy then is fx, cx and cy the picture's middle); or None. It
        wins over a recording's camera_info. Pictures and videos that carry an orientation are turned upright first.
    topics : image topics to take of each recording; empty: the only one there is.
    info_topic : the camera_info topic of all of them; empty: the one beside each image topic.
    need_camera : refuse what has no camera.
    rectified : all images are rectified: camera_info's P is read, without distortion. Topics whose name says so are
        rectified anyway.
    bits : how many bits of 16-bit values carry the picture (10, 12, 14); 0: all.
    """

    camera: tuple[float, float | None, float | None, float | None] | None = None
    topics: tuple[str, ...] = ()
    info_topic: str = ""
    need_camera: bool = True
    rectified: bool = False
    bits: int = 0

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

    def check_camera(self, problem: str) -> None:
        """Raise ``ValueError`` with the ``problem`` and its remedy where a camera is needed and none is given."""
        if self.need_camera and self.camera is None:
            raise ValueError(f"{problem}, which depth in metres needs: give --fx, or take --labels panoptic alone")


@dataclass(frozen=True)
class SourceFrame:
    """One picture of a source.

    Attributes
    ----------
    frame : the picture, its camera (None when unknown) and time.
    name : what its results are called: the picture's name, or the source's with a number.
    run : number of the continuous run it belongs to, from 0: one camera, one size, no gap.
    break_reason : why a new run begins with it; empty otherwise.
    """

    frame: CameraFrame
    name: str
    run: int = 0
    break_reason: str = ""


class Source(ABC):
    """Where pictures come from.

    Attributes
    ----------
    path : the file or folder.
    name : what its sequences are called.
    in_motion : whether its pictures are frames of a moving camera; else they may be of anything.
    timed : whether the stamps of its frames are times; else they only count.
    remarks : one line for each thing that was odd or left out in the last complete reading.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or path.stem
        self.in_motion = self.timed = True
        self.remarks: list[str] = []

    def result_names(self) -> list[tuple[str, Path]]:
        """What its results are called (or begin with, where their number is not known before), each with its file."""
        return [(self.name, self.path)]

    def seconds(self, item: SourceFrame) -> float | None:
        """When one of its frames was taken, for a tracker; None where its stamps only count."""
        return item.frame.stamp / 1e9 if self.timed else None

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
        self.every, self._max_gap = every, max_gap
        self._last: float | None = None
        self._beat = Beat()
        self.start = 0.0

    def keep(self, stamp: int) -> bool:
        """Whether the picture of this time (ns) is taken; the first one is, and the first one after a gap."""
        seconds = stamp / 1e9
        if self._last is None:
            self.start = seconds
        taken = self._beat.takes(seconds, self.every, anew=self.gap(stamp) is not None)
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
    """Numbers the pictures that are taken of one camera, and its continuous runs.

    ``name`` is that of the source, which the pictures' names begin with.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._run = 0
        self.count = 0
        self._last: CameraFrame | None = None

    def add(self, frame: CameraFrame, gap: str | None, name: str = "") -> SourceFrame:
        """The frame with its run; a gap, another size or another camera begins a new one."""
        reason, last = gap or "", self._last
        if last is not None and not reason:
            if frame.image.shape[:2] != last.image.shape[:2]:
                (h, w), (old_h, old_w) = frame.image.shape[:2], last.image.shape[:2]
                reason = f"pictures change from {old_w}x{old_h} to {w}x{h}"
            elif frame.intrinsics != last.intrinsics:
                reason = "the camera's intrinsics change"
        self._run += bool(reason)
        self._last = replace(frame, image=frame.image[:, :, :0])  # the size is enough; the picture may go
        self.count += 1
        return SourceFrame(frame, name or f"{self._name}_{self.count - 1:06d}", self._run, reason)
