"""Overlays and depth maps in the camera's view, (H, W, 3) uint8 RGB in host memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from dvps_ros.drawing.colors import Array, color_of, darkened, instance_color, to_host
from dvps_ros.drawing.text import tag, text_width
from dvps_ros.labels import DIVISOR, VOID, VOID_CLASS, LabelSet
from dvps_ros.structures import Scene, Segment

_STUFF_OPACITY, _THING_OPACITY = 0.42, 0.5
_INVALID = (44, 44, 48)


def overlay(image: Array, scene: Scene, labels: LabelSet, *, scale: int = 1, names: bool = True) -> np.ndarray:
    """The image with class colors, outlines of things, and names where there is space.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB of the scene's size.
    scene : its label map and segments are drawn.
    labels : the class table.
    scale : factor on the size of the result; lines and names are drawn at that size.
    names : whether to write class names, for things with their number.

    Raises ``ValueError`` if the sizes differ.
    """
    image, panoptic = to_host(image), to_host(scene.panoptic)
    if image.shape != (*panoptic.shape, 3):
        raise ValueError(f"the image has shape {image.shape}, but the scene {panoptic.shape}")
    if scale > 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        panoptic = _smoothly_enlarged(panoptic, scale)
    ids, index = _unique(panoptic)
    colors = np.array([color_of(i, labels) for i in ids], np.float32)
    opacity = np.array([_opacity(i, labels) for i in ids], np.float32)[:, None]
    picture = (image * (1 - opacity)[index] + (colors * opacity)[index]).round().astype(np.uint8, order="C")
    things = [s for s in scene.segments if labels.is_thing[s.class_id]]
    for segment in sorted(things, key=_far_first):
        _outline(picture, panoptic == segment.id, instance_color(segment.instance))
    if names:
        _write_names(picture, panoptic, scene.segments, labels)
    return picture


def colorize_depth(depth: Array, *, near: float = 2.0, far: float = 80.0) -> np.ndarray:
    """Depth (H, W) in metres on a logarithmic scale from ``near`` (yellow, warm) to ``far`` (deep blue).

    The color map is the perceptually uniform plasma. Depth that is not positive and finite is dark grey.
    """
    depth = to_host(depth).astype(np.float32)
    valid = np.isfinite(depth) & (depth > 0)
    position = np.log(np.where(valid, depth, far) / near) / math.log(far / near)
    level = ((1 - np.clip(position, 0, 1)) * 255).round().astype(np.uint8)
    picture = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_PLASMA), cv2.COLOR_BGR2RGB)
    picture[~valid] = _INVALID
    return picture


def _far_first(segment: Segment) -> float:
    return segment.area if math.isnan(segment.median_depth) else -segment.median_depth


def _opacity(identity: int, labels: LabelSet) -> float:
    class_id = int(identity) // DIVISOR
    if class_id >= len(labels):
        return 0.25
    return _THING_OPACITY if labels.is_thing[class_id] else _STUFF_OPACITY


def _outline(picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]) -> None:
    """Draw a bright line inside a mask's border; in larger pictures also a dark line around it."""
    height = min(picture.shape[:2])
    line = max(1, round(height / 300))
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if height >= 400:
        cv2.drawContours(picture, contours, -1, (12, 12, 12), line + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, color, line, cv2.LINE_AA)


def _write_names(picture: np.ndarray, panoptic: np.ndarray, segments: Sequence[Segment], labels: LabelSet) -> None:
    height = panoptic.shape[0]
    text = max(8, round(height / 34))
    taken: list[Any] = []
    step = max(1, height // 128)
    coarse = np.ascontiguousarray(panoptic[::step, ::step])
    for segment in sorted(segments, key=lambda s: -s.area):
        thing = labels.is_thing[segment.class_id]
        name = labels.names[segment.class_id] + (f" {segment.instance}" if thing else "")
        room = _roomiest(coarse == segment.id, step)
        if room is None:
            continue
        column, row, radius = room
        if thing and radius >= 0.5 * text:
            mask = panoptic == segment.id
            top = np.flatnonzero(mask.any(1))[0]
            at = (float(np.flatnonzero(mask[top]).mean()), max(top - 0.9 * text, text))
            tag(picture, name, at, text, (255, 255, 255), darkened(instance_color(segment.instance)), taken)
        elif not thing and radius >= 1.4 * text and radius * 2.6 >= text_width(name, text) / 2:
            tag(picture, name, (column, row), text, (255, 255, 255), None, taken)


def _roomiest(mask: np.ndarray, step: int) -> tuple[float, float, float] | None:
    """Column, row and radius of the largest circle inside a mask, in pixels of a picture ``step`` times its size."""
    small = np.pad(mask.astype(np.uint8), 1)
    if not small.any():
        return None
    distance = cv2.distanceTransform(small, cv2.DIST_L2, 3)
    _, radius, _, (column, row) = cv2.minMaxLoc(distance)
    return (column - 1) * step, (row - 1) * step, radius * step


def _unique(panoptic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values and their indices (H, W), as ``np.unique`` gives them, but by a table instead of sorting."""
    present = np.zeros(DIVISOR * (VOID_CLASS + 1), bool)
    present[panoptic] = True
    ids = np.flatnonzero(present)
    table = np.zeros(len(present), np.int32)
    table[ids] = np.arange(len(ids))
    return ids, table[panoptic]


def _smoothly_enlarged(panoptic: np.ndarray, scale: int) -> np.ndarray:
    """A label map, enlarged with smooth borders: each label's mask is interpolated, and the largest value wins."""
    height, width = (side * scale for side in panoptic.shape)
    best, result = np.zeros((height, width), np.float32), np.full((height, width), VOID, np.int32)
    for identity in np.unique(panoptic):
        share = cv2.resize((panoptic == identity).astype(np.float32), (width, height))
        result[share > best] = identity
        np.maximum(best, share, out=best)
    return result
