"""Cameras from the camera_info of a recording, by time."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Any

from dvps_ros.camera.calibration import content, contradiction, image_size, intrinsics_of
from dvps_ros.datasets.bags import Bag
from dvps_ros.structures import Intrinsics


class Cameras:
    """Finds the camera of an image.

    Parameters
    ----------
    bag : the open recording.
    topic : the camera_info topic; empty if there is none.
    by_header : match by header stamps; otherwise, or if a camera_info has none, by times of recording.
    rectified : whether the images are rectified (see ``intrinsics_of``).
    needed : raise an error for a camera_info that cannot be used; otherwise the image has no camera.

    Attributes
    ----------
    remarks : warnings about the camera_info as a whole, one line each.
    """

    def __init__(self, bag: Bag, topic: str, by_header: bool, rectified: bool, needed: bool) -> None:
        self._rectified, self._needed = rectified, needed
        self._warnings: Counter[str] = Counter()
        rows: list[tuple[int, int, Any]] = []  # stamp, time of recording, message; one for each change
        last = None
        for recorded, data in bag.serialized(topic) if topic else ():
            info = bag.message(topic, data)
            if (calibration := content(info)) != last:
                rows.append((bag.stamp(data), recorded, info))
                last = calibration
        self._by_header = by_header and all(stamp > 0 for stamp, _, _ in rows)
        self._rows = sorted(((row[0 if self._by_header else 1], row[2]) for row in rows), key=lambda row: row[0])
        self.remarks: list[str] = []
        if rectified and any(any(info.d) for _, info in self._rows):
            self.remarks.append("the images are assumed to be rectified: camera_info's P is used, without distortion")

    def at(self, stamp: int, recorded: int, height: int, width: int) -> Intrinsics | None:
        """The camera of a ``height`` x ``width`` image with this stamp and time of recording, in nanoseconds.

        It is the last camera_info up to that time, or the first one for earlier images. If that one has another size
        and the next one has the image's size, the next one is used: it was published a moment late.

        Raises ``ValueError`` if a camera is needed and its camera_info cannot be used.
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
            self._warnings[f"no depth in metres: {error}"] += 1
            return None

    def image_remarks(self) -> list[str]:
        """Warnings about the cameras returned by ``at``, each with its number of images."""
        return [f"{warning} ({count} pictures)" for warning, count in self._warnings.items()]

    def _camera(self, infos: list[Any], height: int, width: int) -> Intrinsics:
        fitting = (info for info in infos if image_size(info) == (width, height))
        info = next(fitting, infos[0])
        camera = intrinsics_of(info, width, height, self._rectified)
        if warning := contradiction(info, self._rectified):
            self._warnings[warning] += 1
        return camera
