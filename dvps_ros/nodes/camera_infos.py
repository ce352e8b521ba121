"""What the camera_info messages of a topic say over time: the last one, and whether it can stand in for another."""

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
        self._alike = 0  # of the last messages, so many say the same
        self._changed = False

    def add(self, message: CameraInfo, moment: float) -> None:
        """Take a message that came in at ``moment``."""
        said, before = content(message), None if self.latest is None else content(self.latest)
        self._changed |= self.latest is not None and said != before
        self._alike = self._alike + 1 if said == before else 1
        self.latest, self.received = message, moment
        self._turns.add(said, moment)

    def taking_turns(self, moment: float) -> bool:
        """Whether two different messages alternate at ``moment``, as those of two publishers do."""
        return self._turns.taken(moment)

    def stand_in(self, image: Image | CompressedImage) -> CameraInfo | None:
        """The last message, where it can serve for an image whose own has not come; else None.

        It is of the image's frame and size (a compressed image does not tell its size), and the calibration does not
        change at the moment: it never did, or two messages in a row say the same since.
        """
        info = self.latest
        if info is None or (self._changed and self._alike < 2) or info.header.frame_id != image.header.frame_id:
            return None
        return info if isinstance(image, CompressedImage) or _is_for(info, image) else None


def _is_for(info: CameraInfo, image: Image) -> bool:
    try:
        return image_size(info) == (image.width, image.height)
    except ValueError:  # its region of interest leaves the sensor
        return False


class Turns:
    """Notices when two things take turns: A, B, A. One that replaces another for good is no turn."""

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
        """Whether turns were taken within ``TAKING_TURNS`` seconds before ``moment``."""
        return moment - self._turned < TAKING_TURNS
