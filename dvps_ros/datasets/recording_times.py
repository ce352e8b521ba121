"""Times of the messages of a recorded topic: their header stamps, or the times of recording if stamps are unusable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

#: Header stamps are not used if more than this share of the steps between them does not go forward.
MOST_FAULTS = 1 / 3


@dataclass(frozen=True)
class Times:
    """Times of the messages of one topic, in the order of recording.

    Attributes
    ----------
    stamps : (N,) int64 nanoseconds. If ``timed`` is false, a count of the messages, one per second.
    kept : (N,) bool, false for a message that repeats the one before it.
    by_header : whether the stamps are those of the headers.
    timed : whether the stamps are times.
    remarks : corrections and replacements that were made, one line each.
    """

    stamps: np.ndarray
    kept: np.ndarray
    by_header: bool
    timed: bool
    remarks: tuple[str, ...]


def read_times(rows: Iterable[tuple[int, int, bytes]]) -> Times:
    """The times of messages, each given as header stamp (ns, -1 for none), time of recording (ns) and bytes.

    Header stamps are used if nearly all of them go forward (``MOST_FAULTS``). Stamps that are zero or stand still then
    advance with the recorder's clock, and a stamp that goes back begins a new run. Otherwise the times of recording are
    used. If those do not go forward either, the messages have no times.
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
    if _faulty_share(faults, kept) <= MOST_FAULTS:
        few = {name: count for name, count in faults.items() if name != "earlier than the one before"}
        if any(few.values()):
            remarks.append(f"header stamps replaced by the last one plus the recorder's time since ({_listed(few)})")
        return Times(_filled(headers, recorded, kept), kept, True, True, tuple(remarks))
    problem = f"header stamps cannot be used ({_listed(faults)} of {int(kept.sum())} messages)"
    if _faulty_share(_faults(recorded[kept]), kept) <= MOST_FAULTS:
        remarks.append(f"{problem}: the times of recording are used instead")
        return Times(_filled(recorded, recorded, kept), kept, False, True, tuple(remarks))
    remarks.append(f"{problem}, nor can the times of recording: all pictures are used, in the order of the file")
    return Times(np.cumsum(kept) * 10**9, kept, False, False, tuple(remarks))


def _faults(stamps: np.ndarray) -> dict[str, int]:
    """Number of stamps that are not a valid time, or do not go forward."""
    steps = np.diff(stamps)
    usable = (stamps[1:] > 0) & (stamps[:-1] > 0)
    return {
        "zero or not a valid time": int((stamps <= 0).sum()),
        "equal to the one before": int((usable & (steps == 0)).sum()),
        "earlier than the one before": int((usable & (steps < 0)).sum()),
    }


def _faulty_share(faults: dict[str, int], kept: np.ndarray) -> float:
    return sum(faults.values()) / max(int(kept.sum()) - 1, 1)


def _listed(faults: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in faults.items() if count)


def _filled(stamps: np.ndarray, recorded: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The stamps, where invalid and repeated ones are replaced by the last usable one plus the recorder's time since.

    None exceeds the next usable stamp. Those before the first usable stamp precede it by the recorder's interval.
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
