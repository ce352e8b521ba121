"""Where the files lie that ship with the package: launch/, config/ and models/."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = "dvps_ros"


def find(path: str | Path) -> Path:
    """The existing file or folder that ``path`` means.

    A path that exists as it stands wins. A relative one is then looked up in the source checkout (an editable
    installation), in ``share/dvps_ros`` above this file (a ROS workspace) and in that of the Python environment (pip).

    Raises
    ------
    FileNotFoundError : naming ``path``, when none of these has it.
    """
    path = Path(path).expanduser()
    places = [Path()] if path.is_absolute() else [Path(), *_homes()]
    for place in places:
        if (place / path).exists():
            return place / path
    raise FileNotFoundError(f"no such file or folder: {path}")


def _homes() -> list[Path]:
    package = Path(__file__).resolve().parent
    shares = [parent / "share" / PACKAGE for parent in (*package.parents, Path(sys.prefix))]
    return [package.parent, *shares]
