"""The camera_info messages of a topic over time: the last one, and whether it can replace one that is late."""

from __future__ import annotations

import math
from collections.abc import Hashable

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dvps_ros.camera.calibration import content, image_size

#: Publishers of camera_info disagree when their messages take turns within this many seconds.
TAKING_TURNS = 2.0


class CameraInfos:
    """The messages of one camera_info topic.

    Attributes
    ----------
    latest : the last message; None before the first.
    received : when it came, in seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self.latest: CameraInfo | None = None
        self.received: float | None = None
        self._turns = Turns()
        self._repeats = 0  # how many of the last messages in a row are equal
        self._changed = False

    def add(self, message: CameraInfo, moment: float) -> None:
        """Take a message that came in at ``moment``."""
        current, before = content(message), None if self.latest is None else content(self.latest)
        self._changed |= self.latest is not None and current != before
        self._repeats = self._repeats + 1 if current == before else 1
        self.latest, self.received = message, moment
        self._turns.add(current, moment)

    def taking_turns(self, moment: float) -> bool:
        """Whether two different messages alternate at ``moment``, as those of two publishers do."""
        return self._turns.taken(moment)

    def stand_in(self, image: Image | CompressedImage) -> CameraInfo | None:
        """The last message if it can replace the one that an image still lacks; else None.

        It must have the image's frame and size (the size of a compressed image is not known here). The calibration must
        be stable: it never changed, or the last two messages are equal.
        """
        info = self.latest
        if info is None or (self._changed and self._repeats < 2) or info.header.frame_id != image.header.frame_id:
            return None
        return info if isinstance(image, CompressedImage) or _is_for(info, image) else None


def _is_for(info: CameraInfo, image: Image) -> bool:
    try:
        return image_size(info) == (image.width, image.height)
    except ValueError:  # its region of interest leaves the sensor
        return False


class Turns:
    """Detects that two values alternate: A, B, A. A lasting change from A to B does not count."""

    def __init__(self) -> None:
        self._now: Hashable = None
        self._before: Hashable = None
        self._changed = self._turned = -math.inf

    def add(self, content: Hashable, moment: float) -> None:
        """Take what came in at ``moment``, in seconds."""
        if content == self._now:
            return
        if content == self._before and moment - self._changed < TAKING_TURNS:
            self._turned = moment
        self._before, self._now, self._changed = self._now, content, moment

    def taken(self, moment: float) -> bool:
        """Whether the values alternated within ``TAKING_TURNS`` seconds before ``moment``."""
        return moment - self._turned < TAKING_TURNS
