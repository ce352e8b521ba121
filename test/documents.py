"""The documents of the repository, and what stands in them: links, headings, code spans, command lines."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Every document that is written by hand, relative to ``ROOT``.
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "models/*/*.md", "config/**/*.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


def prose(text: str) -> str:
    """``text`` without its fenced blocks."""
    return _FENCE.sub("", text)


def code_spans(text: str) -> list[str]:
    """What stands between single backticks, fenced blocks aside."""
    return _SPAN.findall(prose(text))


def links(text: str) -> list[str]:
    """Targets of Markdown links and pictures, code aside."""
    return re.findall(r"\]\(([^)\s]+)\)", _SPAN.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """Anchors of a Markdown file's headings, in the form that GitHub gives them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        taken, number = slug, 0
        while taken in found:
            number += 1
            taken = f"{slug}-{number}"
        found.add(taken)
    return found


def command_lines(text: str) -> list[str]:
    """Command lines of the fenced shell blocks (``bash`` and ``sh``); a quote or a backslash may span several lines."""
    lines: list[str] = []
    for body in (body for language, body in _FENCE.findall(text) if language in ("bash", "sh")):
        open_line = ""
        for line in body.replace("\\\n", " ").splitlines():
            open_line += line
            try:
                words = shlex.split(open_line, comments=True)
            except ValueError:  # a quote that a later line closes
                open_line += "\n"
                continue
            lines += [open_line.strip()] if words else []
            open_line = ""
        assert not open_line, f"a quote is never closed: {open_line}"
    return lines
