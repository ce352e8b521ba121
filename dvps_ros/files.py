"""Files that appear whole or not at all, and that every user may read whom the umask lets; objects in JSON files."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name in its folder, then rename it: readers see all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        open_to_others(Path(temporary))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def open_to_others(path: Path) -> None:
    """Give a file or folder the permissions that the umask asks for; ``tempfile`` makes both private to their owner."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ``FileNotFoundError`` or ``ValueError`` in one line where there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:  # UnicodeDecodeError is one too
        raise ValueError(f"{path} is no valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no JSON object")
    return content
