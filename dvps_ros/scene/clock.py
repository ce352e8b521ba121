"""Time of the frames of one stream, from stamps that may be missing."""

from __future__ import annotations


class FrameClock:
    """The time of each frame: its stamp, or ``period`` after the last frame if it has none.

    Attributes
    ----------
    now : seconds, the time of the last frame; None before the first one.
    period : seconds that pass up to a frame without a stamp; who knows them better sets them before each such frame.
    """

    def __init__(self, period: float) -> None:
        self.period = period
        self.reset()

    def reset(self) -> None:
        """Start again with the next frame."""
        self.now: float | None = None
        self._given: float | None = None  # the last stamp

    def advance(self, stamp: float | None) -> float:
        """Advance to the next frame, whose ``stamp`` is in seconds; returns the seconds since the last one.

        0 for the first frame, negative if stamps jump back. Frames without a stamp may have come sooner than every
        ``period``: a stamp that is not earlier than the last one is no jump, and 0 seconds have passed.
        """
        before, given = self.now, self._given
        if stamp is None:
            self.now = 0.0 if before is None else before + self.period
        else:
            self.now = self._given = stamp
        if before is None:
            return 0.0
        seconds = self.now - before
        return 0.0 if stamp is not None and given is not None and given <= stamp < before else seconds
