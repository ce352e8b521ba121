"""Thinning a stream of pictures to a rate: one rule for the node and for recordings."""

from __future__ import annotations

#: A picture may come this share of the interval before its time.
_JITTER = 0.05


class Beat:
    """Tells which pictures of a stream to take, so that one is taken every so many seconds.

    Each picture that is taken sets the time of the next one from its own due time, not from its arrival: irregular
    arrivals do not lower the rate. After an interval without pictures the beat begins anew.
    """

    def __init__(self) -> None:
        self._due: float | None = None

    def takes(self, seconds: float, every: float, anew: bool = False) -> bool:
        """Whether the picture of the time ``seconds`` is taken.

        Parameters
        ----------
        seconds : time of the picture, by any clock that goes forward.
        every : the interval in seconds, which may change from call to call; 0 takes all.
        anew : the stream was interrupted: this picture is taken and begins the beat anew.
        """
        if anew or self._due is None:
            self._due = seconds + every
            return True
        late = seconds - self._due + _JITTER * every
        if late < 0:
            return False
        self._due = seconds + every if late >= every else self._due + every
        return True
