"""Errors of libraries as one line for a user."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its kind where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
