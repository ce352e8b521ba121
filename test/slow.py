"""How much of the long tests runs: a part in ``make test``, all in ``make test-long``, which sets DVPS_SLOW_TESTS."""

import os

#: Whether this run takes its time.
LONG = "DVPS_SLOW_TESTS" in os.environ


def of(whole: int, part: int) -> int:
    """A count: ``whole`` in a long run, else ``part``."""
    return whole if LONG else part
