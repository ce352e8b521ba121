"""Throttling of a stream of images to a rate, for the node and for recordings."""

from __future__ import annotations

#: An image may arrive early by this share of the interval.
_JITTER = 0.05


class Beat:
    """Selects the images of a stream so that one is taken per interval.

    The next image is due one interval after the due time of the last one, not after its arrival, so that jitter does
    not lower the rate. After an interval without images the schedule starts again.
    """

    def __init__(self) -> None:
        self._due: float | None = None

    def takes(self, seconds: float, every: float, restart: bool = False) -> bool:
        """Whether the image of the time ``seconds`` is taken.

        Parameters
        ----------
        seconds : time of the image, by any monotonic clock.
        every : the interval in seconds, which may change between calls; 0 takes all.
        restart : the stream was interrupted: take this image, and restart the schedule with it.
        """
        if restart or self._due is None:
            self._due = seconds + every
            return True
        self._due = min(self._due, seconds + every)  # the interval may have become shorter
        late = seconds - self._due + _JITTER * every
        if late < 0:
            return False
        self._due = seconds + every if late >= every else self._due + every
        return True
