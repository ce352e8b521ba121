"""When the messages of a recorded topic were taken: by their headers, or by the recorder where those say nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

#: Headers are not used where more than this share of the steps from stamp to stamp is none forward.
MOST_FAULTS = 1 / 3


@dataclass(frozen=True)
class Times:
    """Of the messages of one topic, in the order of recording.

    Attributes
    ----------
    stamps : (N,) int64 nanoseconds, or numbers of the messages in steps of a second where ``timed`` is false.
    kept : (N,) bool, false for one that only repeats the one before it.
    by_header : whether the stamps are the headers'.
    timed : whether the stamps are times.
    remarks : what had to be decided, one line each.
    """

    stamps: np.ndarray
    kept: np.ndarray
    by_header: bool
    timed: bool
    remarks: tuple[str, ...]


def read_times(rows: Iterable[tuple[int, int, bytes]]) -> Times:
    """The times of messages, each given as its header's stamp (ns, -1 for none), time of recording (ns), and bytes.

    A header's stamp is used wherever it goes forward. A few that are zero or stand still advance with the recorder's
    clock, a few that go back are a new start. Where they do so all the time they are no times, and the recorder's are
    taken; where those do not go forward either, there is no time.
    """
    headers: list[int] = []
    recorded: list[int] = []
    kept: list[bool] = []
    last = b""
    for header, received, data in rows:
        repeats = bool(headers) and header > 0 and header == headers[-1] and data == last
        kept.append(not repeats)
        headers.append(header)
        recorded.append(received)
        last = data
    return _decide(np.array(headers, np.int64), np.array(recorded, np.int64), np.array(kept, bool))


def _decide(headers: np.ndarray, recorded: np.ndarray, kept: np.ndarray) -> Times:
    remarks = []
    if repeated := int((~kept).sum()):
        remarks.append(f"{repeated} of {len(kept)} messages repeat the one before them and are left out")
    faults = _faults(headers[kept])
    if _share(faults, kept) <= MOST_FAULTS:
        few = {name: count for name, count in faults.items() if name != "earlier than the one before"}
        if any(few.values()):
            remarks.append(f"header stamps that are {_words(few)}: the time since the last one is the recorder's")
        return Times(_filled(headers, recorded, kept), kept, True, True, tuple(remarks))
    problem = f"header stamps cannot be used ({_words(faults)} of {int(kept.sum())} messages)"
    if _share(_faults(recorded[kept]), kept) <= MOST_FAULTS:
        remarks.append(f"{problem}: the times of recording are taken instead")
        return Times(_filled(recorded, recorded, kept), kept, False, True, tuple(remarks))
    remarks.append(f"{problem}, nor can the times of recording: all pictures are taken, in the order of the file")
    return Times(np.cumsum(kept) * 10**9, kept, False, False, tuple(remarks))


def _faults(stamps: np.ndarray) -> dict[str, int]:
    """How many stamps are no time, or do not go forward."""
    steps = np.diff(stamps)
    usable = (stamps[1:] > 0) & (stamps[:-1] > 0)
    return {
        "zero or no time": int((stamps <= 0).sum()),
        "equal to the one before": int((usable & (steps == 0)).sum()),
        "earlier than the one before": int((usable & (steps < 0)).sum()),
    }


def _share(faults: dict[str, int], kept: np.ndarray) -> float:
    return sum(faults.values()) / max(int(kept.sum()) - 1, 1)


def _words(faults: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in faults.items() if count)


def _filled(stamps: np.ndarray, recorded: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The stamps, with those that are no time or stand still moved on by as much as the recorder's clock.

    None is moved beyond the next usable one, and those before the first usable one lie as far before it as recorded.
    """
    result, rows = stamps.copy(), np.flatnonzero(kept)
    values = stamps[rows]
    usable = (values > 0) & np.append(True, values[1:] != values[:-1])
    good = rows[usable]
    if not len(good):
        return recorded.copy()
    for row in rows[~usable]:
        position = int(np.searchsorted(good, row))
        if position == 0:
            result[row] = stamps[good[0]] - max(recorded[good[0]] - recorded[row], 0)
            continue
        before = good[position - 1]
        result[row] = stamps[before] + max(recorded[row] - recorded[before], 0)
        if position < len(good) and stamps[good[position]] > stamps[before]:
            result[row] = min(result[row], stamps[good[position]])
    return result
