"""Which modules a test file needs that are not installed, as apt's Python has not all that pip's extra test brings."""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path

HELPERS = {path.stem: path for path in Path(__file__).parent.rglob("*.py") if path.stem != "conftest"}


@functools.cache
def lacking(path: Path) -> frozenset[str]:
    """Names of the missing modules that a file imports at its top, itself or through the helpers of the tests."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in {name.partition(".")[0] for name in names}:
            if name in HELPERS:
                found |= lacking(HELPERS[name]) if HELPERS[name] != path else set()
            elif importlib.util.find_spec(name) is None:
                found.add(name)
    return frozenset(found)
