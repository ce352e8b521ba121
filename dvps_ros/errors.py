"""Errors of libraries as one line for a user."""

from __future__ import annotations


def joined(error: BaseException) -> str:
    """An error's text with its lines joined to one, or the name of its type if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its type if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
