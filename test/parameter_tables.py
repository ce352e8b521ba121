"""Tables of the configuration dataclasses in docs/parameters.md and configuration.md. As a script, it renews them."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any, Literal

from dvps_ros import config

DOCS = Path(__file__).resolve().parents[1] / "docs"
PARAMETERS, CONFIGURATION = DOCS / "parameters.md", DOCS / "configuration.md"
_BLOCK = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)


def table(cls: type) -> str:
    """Markdown table of one configuration dataclass. A dot marks what can change while a node runs, if anything can."""
    rows = config.describe(cls)
    live = any(row["runtime"] for row in rows)
    lines = (
        ["| parameter | default | live | |", "|---|---|---|---|"] if live else ["| key | default | |", "|---|---|---|"]
    )
    for row in rows:
        mark = f" {'•' if row['runtime'] else ''} |" if live else ""
        lines.append(f"| `{row['path']}` | {_default(row)} |{mark} {row['description']}{_range(row)} |")
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """``text`` with a new table between each pair of markers."""
    return _BLOCK.sub(lambda m: f"{m[1]}{table(getattr(config, m[2]))}{m[4]}", text)


def _default(row: dict[str, Any]) -> str:
    value = row["default"]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _range(row: dict[str, Any]) -> str:
    if typing.get_origin(row["type"]) is Literal:
        return f" One of {', '.join(typing.get_args(row['type']))}."
    low, high = row["low"], row["high"]
    if low is None and high is None:
        return ""
    return f" {low:g} to {high:g}." if low is not None and high is not None else f" From {low:g}."


if __name__ == "__main__":
    for page in (PARAMETERS, CONFIGURATION):
        page.write_text(renewed(page.read_text()))
