"""message_filters, or a replacement where it is not installed; it is not among the ROS wheels.

The replacement has the same classes and calls, as far as the node uses them. ``DESCRIPTION`` says which one is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class SimpleFilterStandIn:
    """Passes messages that are signalled on to the registered callbacks."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable, tuple]] = {}

    def registerCallback(self, cb: Callable, *args: Any) -> int:  # noqa: N802 - message_filters' name
        """Call ``cb(*messages, *args)`` for each output; returns a number for the connection."""
        self.callbacks[len(self.callbacks)] = (cb, args)
        return len(self.callbacks) - 1

    def signalMessage(self, *msg: Any) -> None:  # noqa: N802 - message_filters' name
        """Pass messages on to every callback."""
        for cb, args in tuple(self.callbacks.values()):
            cb(*msg, *args)


class ApproximateTimeSynchronizerStandIn(SimpleFilterStandIn):
    """Signals one message of each input whose stamps lie within ``slop`` seconds, each message at most once.

    Parameters
    ----------
    fs : the input filters; their messages have a header.
    queue_size : messages kept for each input; the oldest stamp is dropped first.
    slop : largest difference of stamps in seconds.
    """

    def __init__(self, fs: Sequence[SimpleFilterStandIn], queue_size: int, slop: float) -> None:
        super().__init__()
        self.queue_size = queue_size
        self._slop = round(slop * 1e9)
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        for index, source in enumerate(fs):
            source.registerCallback(self.add, index)

    def add(self, msg: Any, index: int) -> None:
        """Take a message of input ``index`` and signal the set that it completes, if any."""
        stamp = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
        queue = self.queues[index]
        queue[stamp] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]
        if not all(self.queues):
            return
        chosen = [min(queue, key=lambda other: abs(other - stamp)) for queue in self.queues]
        if max(chosen) - min(chosen) > self._slop or chosen[index] != stamp:
            return
        messages = [queue.pop(key) for queue, key in zip(self.queues, chosen, strict=True)]
        self.signalMessage(*messages)


class TimeSynchronizerStandIn(ApproximateTimeSynchronizerStandIn):
    """Signals one message of each input, all with the same stamp."""

    def __init__(self, fs: Sequence[SimpleFilterStandIn], queue_size: int) -> None:
        super().__init__(fs, queue_size, 0.0)


try:
    from message_filters import ApproximateTimeSynchronizer, SimpleFilter, TimeSynchronizer

    DESCRIPTION = "synchronizer: message_filters"
except ImportError:
    ApproximateTimeSynchronizer = ApproximateTimeSynchronizerStandIn
    SimpleFilter = SimpleFilterStandIn
    TimeSynchronizer = TimeSynchronizerStandIn
    DESCRIPTION = "synchronizer: built in (message_filters is not installed)"
