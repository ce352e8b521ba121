"""Sources of pictures without labels, in temporal order, and their division into continuous runs.

A source can be read any number of times and gives the same frames each time. A fault raises a ``ValueError`` of one
line that names the source. Irregularities and omissions become remarks.
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
    """The user's settings for sources: what files and recordings may lack.

    Attributes
    ----------
    camera : fx, fy, cx, cy in pixels, or None. fy None means fx, cx and cy None mean the picture's center. It overrides
        a recording's camera_info. It applies to pictures and videos after they are turned upright.
    topics : image topics to read from each recording; empty: the only one.
    info_topic : the camera_info topic of all of them; empty: the one in the namespace of each image topic.
    need_camera : refuse sources without a camera.
    rectified : all images are rectified: camera_info's P is used, without distortion. Topics with a rectified name are
        rectified anyway.
    bits : number of significant bits of 16-bit values (10, 12, 14); 0: all.
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
        """Raise ``ValueError`` with ``problem`` and its remedy if a camera is needed and none is given."""
        if self.need_camera and self.camera is None:
            raise ValueError(f"{problem}, which depth in metres needs: give --fx, or use --labels panoptic")


@dataclass(frozen=True)
class SourceFrame:
    """One picture of a source.

    Attributes
    ----------
    frame : the picture, its camera (None if unknown) and time.
    name : name of its results: the picture's name, or the source's name with a number.
    run : index of its continuous run, from 0. A run has one camera, one size and no gap.
    break_reason : why a new run begins with this picture; empty otherwise.
    """

    frame: CameraFrame
    name: str
    run: int = 0
    break_reason: str = ""


class Source(ABC):
    """A source of pictures.

    Attributes
    ----------
    path : the file or folder.
    name : name of its sequences.
    topic : the topic of a recording; empty for others.
    in_motion : whether its pictures are consecutive frames of one camera; otherwise they may be unrelated.
    timed : whether the stamps of its frames are times; otherwise they only count.
    remarks : irregularities and omissions of the last complete pass, one line each.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or path.stem
        self.topic = ""
        self.in_motion = self.timed = True
        self.remarks: list[str] = []

    def result_names(self) -> list[tuple[str, Path]]:
        """Names of its results with their files; a common prefix if the number of results is not known before."""
        return [(self.name, self.path)]

    def seconds(self, item: SourceFrame) -> float | None:
        """Time of one of its frames in seconds, for a tracker; None if its stamps only count."""
        return item.frame.stamp / 1e9 if self.timed else None

    @abstractmethod
    def frames(self, every: float, max_gap: float) -> Iterator[SourceFrame]:
        """Its decoded pictures, at least ``every`` seconds apart. A gap of over ``max_gap`` seconds begins a new run.

        Raises ``ValueError`` naming a broken file or message, when the iteration reaches it.
        """


class Pace:
    """Throttles a stream of stamps to one per ``every`` seconds, and finds its interruptions.

    ``every`` 0 keeps all pictures. An interruption is a gap of more than ``max_gap`` seconds, or a jump back.
    """

    def __init__(self, every: float, max_gap: float) -> None:
        self.every, self._max_gap = every, max_gap
        self._last: float | None = None
        self._beat = Beat()
        self.start = 0.0

    def keep(self, stamp: int) -> bool:
        """Whether to keep the picture with this stamp (ns). The first one, also after an interruption, is kept."""
        seconds = stamp / 1e9
        if self._last is None:
            self.start = seconds
        taken = self._beat.takes(seconds, self.every, restart=self.gap(stamp) is not None)
        self._last = seconds
        return taken

    def gap(self, stamp: int) -> str | None:
        """A message about an interruption between the last stamp given to ``keep`` and this one (ns), or None."""
        if self._last is None:
            return None
        step = stamp / 1e9 - self._last
        where = f"{self._last - self.start:.1f} s after the start"
        if step > self._max_gap:
            return f"no picture for {step:.1f} s, {where}"
        return f"time jumps back by {-step:.1f} s, {where}" if step < 0 else None


class Runs:
    """Numbers the pictures of one source, and its continuous runs.

    ``name``, the source's name, is the prefix of the pictures' names.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._run = 0
        self.count = 0
        self._last: CameraFrame | None = None

    def add(self, frame: CameraFrame, gap: str | None, name: str = "") -> SourceFrame:
        """The frame with its run; a gap, another size or another camera begins a new run."""
        reason, last = gap or "", self._last
        if last is not None and not reason:
            if frame.image.shape[:2] != last.image.shape[:2]:
                (h, w), (old_h, old_w) = frame.image.shape[:2], last.image.shape[:2]
                reason = f"pictures change from {old_w}x{old_h} to {w}x{h}"
            elif frame.intrinsics != last.intrinsics:
                reason = "the camera's intrinsics change"
        self._run += bool(reason)
        self._last = replace(frame, image=frame.image[:, :, :0])  # keeps the size without the pixels
        self.count += 1
        return SourceFrame(frame, name or f"{self._name}_{self.count - 1:06d}", self._run, reason)
