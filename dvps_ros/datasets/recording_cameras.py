"""The cameras that a recording's camera_info tells, by time."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Any

from dvps_ros.camera.calibration import content, contradiction, image_size, intrinsics_of
from dvps_ros.datasets.bags import Bag
from dvps_ros.structures import Intrinsics


class Cameras:
    """Finds the camera of a picture.

    Parameters
    ----------
    bag : the open recording.
    topic : of the camera_info; empty: there is none.
    by_header : whether headers say when a message was taken; else, or where camera_info has none, the recorder does.
    rectified : whether the images are (see ``intrinsics_of``).
    needed : whether a camera_info that cannot be used is an error; else it is no camera.

    Attributes
    ----------
    remarks : what was odd about the camera_info as a whole, one line each.
    """

    def __init__(self, bag: Bag, topic: str, by_header: bool, rectified: bool, needed: bool) -> None:
        self._rectified, self._needed = rectified, needed
        self._oddities: Counter[str] = Counter()
        rows: list[tuple[int, int, Any]] = []  # stamp, time of recording, message; one for each change
        last = None
        for recorded, data in bag.serialized(topic) if topic else ():
            info = bag.message(topic, data)
            if (told := content(info)) != last:
                rows.append((bag.stamp(data), recorded, info))
                last = told
        self._by_header = by_header and all(stamp > 0 for stamp, _, _ in rows)
        self._rows = sorted(((row[0 if self._by_header else 1], row[2]) for row in rows), key=lambda row: row[0])
        self.remarks: list[str] = []
        if rectified and any(any(info.d) for _, info in self._rows):
            self.remarks.append("the images are taken for rectified: camera_info's P is used, without distortion")

    def at(self, stamp: int, recorded: int, height: int, width: int) -> Intrinsics | None:
        """The camera of a ``height`` x ``width`` picture of this stamp and time of recording, in nanoseconds.

        It is the one last told before, or at the same time; before the first one the first. Where that one is for
        another size and the next one for this size, it is the next one, which came a moment late.

        Raises ``ValueError`` for one that is needed and cannot be used.
        """
        if not self._rows:
            return None
        time = stamp if self._by_header else recorded
        position = max(bisect_right(self._rows, time, key=lambda row: row[0]) - 1, 0)
        try:
            return self._camera([info for _, info in self._rows[position : position + 2]], height, width)
        except ValueError as error:
            if self._needed:
                raise
            self._oddities[f"no depth in metres: {error}"] += 1
            return None

    def found(self) -> list[str]:
        """What was odd about the cameras asked for, with the number of pictures."""
        return [f"{words} ({count} pictures)" for words, count in self._oddities.items()]

    def _camera(self, infos: list[Any], height: int, width: int) -> Intrinsics:
        fitting = (info for info in infos if image_size(info) == (width, height))
        info = next(fitting, infos[0])
        camera = intrinsics_of(info, width, height, self._rectified)
        if words := contradiction(info, self._rectified):
            self._oddities[words] += 1
        return camera
