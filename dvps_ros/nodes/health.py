"""The node's health: faults of frames are counted, logged at a limited rate, and summed up as the diagnostic status."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Protocol

from diagnostic_msgs.msg import DiagnosticStatus

from dvps_ros.nodes.diagnostics import Statistics

#: The same kind of fault is logged at most once in this many seconds.
LOG_EVERY = 5.0
#: Faults that are usual with some cameras and lose nothing are logged once.
LOGGED_ONCE = frozenset({"camera_info late"})
#: Diagnostics warn when images come in but none was answered for this many seconds.
STALLED = 5.0
#: Causes of unanswered frames that are intended, and their status message.
INTENDED = {
    "no subscribers": "active, nobody subscribes",
    "disabled": "active, ignoring frames (service enable)",
    "max_rate": "active",
}


class Logger(Protocol):
    """The part of a node's logger that is used."""

    def warning(self, message: str) -> object:
        """Log what a user should look at."""
        ...

    def error(self, message: str) -> object:
        """Log what the node cannot do."""
        ...


class Health:
    """Counts and logs what happens to frames, and sums it up as a status; called from several threads.

    Parameters
    ----------
    logger : the node's.

    Attributes
    ----------
    statistics : counts and latencies since the start.
    camera : ``"ok"``, or why there is no depth in metres.
    anchor : how the scale is anchored (``diagnostics.anchor_facts``).
    tracking : objects and the camera's motion (``diagnostics.tracking_facts``).
    failed_in_a_row : number of frames that failed since the last answered one.
    """

    def __init__(self, logger: Logger) -> None:
        self.statistics = Statistics(time.monotonic())
        self.camera = ""
        self.anchor: dict[str, str] = {}
        self.tracking: dict[str, str] = {}
        self.failed_in_a_row = 0
        self._logger = logger
        self._failure = ""
        self._logged: dict[str, float] = {}
        self._answered = 0.0
        self._unanswered = ("", "")  # cause and sentence of the last frame that was not answered
        self.begin()

    def begin(self) -> None:
        """Reset the state when the node is activated; counts are kept."""
        self.camera, self.failed_in_a_row, self._failure = "no camera_info yet", 0, ""
        self.anchor, self.tracking = {}, {}
        self._answered, self._unanswered = time.monotonic(), ("", "")

    def node_failed(self, sentence: str) -> None:
        """Report that a transition failed or the node gave up, until ``forget_failure`` or ``begin``."""
        self._failure = sentence
        self._logger.error(sentence)

    def forget_failure(self) -> None:
        """End the report of ``node_failed``."""
        self._failure = ""

    def fault(self, cause: str, sentence: str, lost: bool) -> None:
        """Count a fault, and log it unless the same cause was logged recently; ``lost`` if the frame is lost."""
        if lost:
            self.unanswered(cause, sentence)
        else:
            self.statistics.warned(cause)
        now = time.monotonic()
        every = math.inf if cause in LOGGED_ONCE else LOG_EVERY
        if cause not in self._logged or now - self._logged[cause] >= every:
            self._logged[cause] = now
            self._logger.warning(sentence)

    def frame_failed(self, cause: str, sentence: str) -> None:
        """Count and log a frame that was lost to an error in the network or after it."""
        self.fault(cause, sentence, lost=True)
        self.failed_in_a_row += 1

    def unanswered(self, cause: str, sentence: str = "") -> None:
        """Count a frame that is not answered, without logging it."""
        self.statistics.dropped(cause)
        if cause != "max_rate" or self._unanswered[0] in ("", *INTENDED):  # what befell the frames between says more
            self._unanswered = (cause, sentence or cause)

    def answered(self, seconds: Mapping[str, float]) -> None:
        """Count a frame whose results were published; ``seconds`` by stage."""
        self._answered, self.failed_in_a_row, self._unanswered = time.monotonic(), 0, ("", "")
        self.statistics.published()
        self.statistics.add_latencies(**seconds)

    def status(self, state: str, silence: str) -> tuple[bytes, str]:
        """Level and message of the node's status.

        Parameters
        ----------
        state : the lifecycle's.
        silence : why no image comes in; empty while they come in.
        """
        if self._failure:
            return DiagnosticStatus.ERROR, self._failure
        if state != "active":
            return DiagnosticStatus.OK, state
        if self.failed_in_a_row:
            return DiagnosticStatus.WARN, f"the last {self.failed_in_a_row} frames failed"
        if silence:
            return DiagnosticStatus.WARN, silence
        cause, sentence = self._unanswered
        since = time.monotonic() - self._answered
        if since > STALLED and cause in INTENDED:
            return DiagnosticStatus.OK, INTENDED[cause]
        if since > STALLED:
            reason = f"; the last: {sentence}" if sentence else ""
            return DiagnosticStatus.WARN, f"no frame answered for {since:.0f} s{reason}"
        if self.camera != "ok":
            return DiagnosticStatus.WARN, f"no depth in metres and no clouds: {self.camera}"
        return DiagnosticStatus.OK, "active"
