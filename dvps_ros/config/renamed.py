"""Keys of earlier versions: their values are still used, and a warning names the new key."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

#: Old keys of ``input``, whose product is ``input.pixels``.
OLD_INPUT = ("height", "width")


def renewed(tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A configuration's mapping with ``input.pixels`` instead of ``input.height`` and ``input.width``, and with
    times of ``track`` in seconds.

    The logger ``dvps_ros`` gives each warning once. Raises ``ValueError`` beginning with ``where`` if the old keys are
    not a valid size, or old and new keys are mixed.
    """
    tree = _track_in_seconds(tree, where)
    section = tree.get("input")
    if not isinstance(section, Mapping) or not any(key in section for key in OLD_INPUT):
        return dict(tree)
    rest = {key: value for key, value in section.items() if key not in OLD_INPUT}
    if "pixels" in rest:
        raise ValueError(f"{where}: input.pixels replaces input.height and input.width: remove the old keys")
    return {**tree, "input": {**rest, "pixels": input_pixels(section, where)}}


def input_pixels(section: Mapping[str, Any], where: str) -> int:
    """The product of ``height`` and ``width``, with a warning. Raises ``ValueError`` if they are not a valid size."""
    given = [section.get(key) for key in OLD_INPUT]
    sides = [side for side in given if isinstance(side, int) and not isinstance(side, bool) and side >= 0]
    if len(sides) < len(given) or (0 in sides and any(sides)):  # 0 meant the side of the image
        given_keys = ", ".join(f"input.{key} {section[key]!r}" for key in OLD_INPUT if key in section)
        raise ValueError(
            f"{where}: {given_keys} is not a size: replace input.height and input.width by input.pixels: "
            "HEIGHT * WIDTH, e.g. 131072"
        )
    pixels = sides[0] * sides[1]
    _warn_once(
        f"{where}: replace input.height and input.width by input.pixels: {pixels} (pictures now keep their "
        "proportions, and data.min_scale and data.max_scale are factors on that size)"
    )
    return pixels


def _track_in_seconds(tree: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """``track.keep`` (seconds) instead of ``track.patience`` (frames at ten per second)."""
    section = tree.get("track")
    if not isinstance(section, Mapping) or "patience" not in section:
        return tree
    frames = section["patience"]
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 0 or "keep" in section:
        raise ValueError(f"{where}: track.keep, in seconds, replaces track.patience: remove the old key")
    _warn_once(f"{where}: replace track.patience, in frames, by track.keep, in seconds: {frames / 10}")
    rest = {key: value for key, value in section.items() if key not in ("patience", "min_proximity")}
    return {**tree, "track": {**rest, "keep": frames / 10}}


@cache
def _warn_once(line: str) -> None:
    """Log a warning, once per process, because a model's configuration is read several times."""
    logging.getLogger("dvps_ros").warning(line)
