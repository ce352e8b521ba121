"""Keys that earlier versions had: their values are still taken, and one line says what to write instead."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

#: The sides of ``input``, of which ``input.pixels`` is the product.
OLD_INPUT = ("height", "width")


def renewed(tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A configuration's mapping with ``input.pixels`` in place of ``input.height`` and ``input.width``, and
    times of ``track`` in seconds.

    Each ``where`` is told of once, through the logger ``dvps_ros``. Raises ``ValueError`` beginning with ``where``
    where the two are no size, or ``input.pixels`` stands beside them.
    """
    tree = _track_in_seconds(tree, where)
    section = tree.get("input")
    if not isinstance(section, Mapping) or not any(key in section for key in OLD_INPUT):
        return dict(tree)
    rest = {key: value for key, value in section.items() if key not in OLD_INPUT}
    if "pixels" in rest:
        raise ValueError(f"{where}: input.pixels replaces input.height and input.width: remove these two")
    return {**tree, "input": {**rest, "pixels": input_pixels(section, where)}}


def input_pixels(section: Mapping[str, Any], where: str) -> int:
    """The product of ``height`` and ``width``, with a line that says so; ``ValueError`` where they are no size."""
    given = [section.get(key) for key in OLD_INPUT]
    sides = [side for side in given if isinstance(side, int) and not isinstance(side, bool) and side >= 0]
    if len(sides) < len(given) or (0 in sides and any(sides)):  # 0 was the image's own side
        given_keys = ", ".join(f"input.{key} {section[key]!r}" for key in OLD_INPUT if key in section)
        raise ValueError(
            f"{where}: {given_keys} alone is no size: replace input.height and input.width by input.pixels: "
            "HEIGHT * WIDTH, e.g. 131072"
        )
    pixels = sides[0] * sides[1]
    _say(
        f"{where}: replace input.height and input.width by input.pixels: {pixels} (pictures keep their proportions "
        "now, and data.min_scale and data.max_scale are factors on that size)"
    )
    return pixels


def _track_in_seconds(tree: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """``track.keep`` (seconds) in place of ``track.patience`` (frames, which were meant for ten a second)."""
    section = tree.get("track")
    if not isinstance(section, Mapping) or "patience" not in section:
        return tree
    frames = section["patience"]
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 0 or "keep" in section:
        raise ValueError(f"{where}: track.keep, in seconds, replaces track.patience: remove that")
    _say(f"{where}: replace track.patience, in frames, by track.keep, in seconds: {frames / 10}")
    rest = {key: value for key, value in section.items() if key not in ("patience", "min_proximity")}
    return {**tree, "track": {**rest, "keep": frames / 10}}


@cache
def _say(line: str) -> None:
    """Log a line, the first time: a model's configuration is read more than once."""
    logging.getLogger("dvps_ros").warning(line)
