"""The order of files: numbers in their names count as numbers, so that frame 10 comes after frame 9."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

_NUMBER, _DECIMAL = re.compile(r"(\d+)"), re.compile(r"\d+\.\d+")


def natural(paths: Iterable[Path]) -> list[Path]:
    """Paths of one folder by name, in natural order; names that differ only in padding are ordered by length."""
    return sorted(paths, key=natural_key)


def natural_key(path: Path) -> tuple:
    """Sort key: the name without its suffix, with digits by their value; then the name as it is.

    A name that is a decimal number is a time: 1.75 comes before 1.8.
    """
    parts = ["", path.stem, ""] if _DECIMAL.fullmatch(path.stem) else _NUMBER.split(path.stem)
    # parts alternate between text and number, so parts at one position have the same type
    key = tuple(Decimal(part) if place % 2 else part for place, part in enumerate(parts))
    return key, len(path.stem), path.name


def numbered(folder: Path, names: Iterable[str], pattern: re.Pattern[str], ending: str) -> list[re.Match[str]]:
    """The matches of ``pattern``, which has the groups ``sequence`` and ``frame``, by those two numbers.

    Raises ``ValueError`` naming a file with this ``ending`` that does not match, or two files with the same numbers:
    no file is left out silently.
    """
    found: dict[tuple[int, int], re.Match[str]] = {}
    for name in sorted(name for name in names if name.endswith(ending)):
        match = pattern.fullmatch(name)
        if match is None:
            raise ValueError(f"{folder / name}: the name must begin with the numbers SEQUENCE_FRAME_")
        place = int(match["sequence"]), int(match["frame"])
        if place in found:
            raise ValueError(f"{folder / found[place].string} and {folder / name} are the same frame")
        found[place] = match
    return [found[place] for place in sorted(found)]
