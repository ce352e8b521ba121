"""A cloud seen from above, (H, W, 3) uint8 RGB in host memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from dvps_ros.drawing.colors import color_of, darkened, instance_color, to_host
from dvps_ros.drawing.text import Rect, tag
from dvps_ros.labels import DIVISOR, LabelSet
from dvps_ros.scene.boxes import InstanceBox, instances
from dvps_ros.structures import SegmentCloud

_BACKGROUND = (16, 18, 24)
_RING = (64, 70, 84)
_PALE = (206, 212, 222)
#: Boxes of a bird's-eye view leave out this percentage of the points at either end.
_BOX_PERCENTILE = 4.0
#: Gaps up to distance² / this, in metres, lie between two image rows on flat ground and are filled.
_GROUND_GAP = 250.0


def birds_eye(
    cloud: SegmentCloud,
    labels: LabelSet,
    *,
    size: tuple[int, int] = (512, 512),
    reach: float = 40.0,
    boxes: Sequence[InstanceBox] | None = None,
) -> np.ndarray:
    """A cloud seen from above, with the camera at the bottom center looking up, and range rings.

    Stuff has the color of its class, shaded by the image. Things have colors of their own, a box and a name.

    Parameters
    ----------
    cloud : points in the optical frame; non-finite ones are ignored.
    size : (H, W) of the picture in pixels.
    reach : metres from the camera to the upper edge.
    boxes : boxes of the things; None: computed from the cloud.
    """
    height, width = size
    origin, per_meter = (width / 2, height * 0.955), height * 0.93 / reach
    picture = np.full((height, width, 3), _BACKGROUND, np.uint8)
    _draw_points(picture, cloud, labels, origin, per_meter)
    radii = _draw_rings(picture, origin, per_meter, reach)
    boxes = instances(cloud, _BOX_PERCENTILE)[1] if boxes is None else boxes
    taken = _draw_boxes(picture, boxes, labels, origin, per_meter)
    _name_rings(picture, radii, origin, per_meter, taken)
    _draw_camera(picture, origin, height)
    return picture


def _draw_points(
    picture: np.ndarray, cloud: SegmentCloud, labels: LabelSet, origin: tuple[float, float], per_meter: float
) -> None:
    height, width = picture.shape[:2]
    xyz = to_host(cloud.xyz)
    column, row = origin[0] + xyz[:, 0] * per_meter, origin[1] - xyz[:, 2] * per_meter
    with np.errstate(invalid="ignore"):
        inside = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
    inside = inside[np.argsort(-xyz[inside, 1], kind="stable")]  # y points down: the highest point is drawn last
    at = row[inside].astype(int), column[inside].astype(int)
    layer, identity = np.zeros_like(picture), np.full((height, width), -1)
    layer[at] = _point_colors(cloud, labels, inside)
    identity[at] = (to_host(cloud.label).astype(np.int64) * DIVISOR + to_host(cloud.instance))[inside]
    _close_gaps(layer.transpose(1, 0, 2), identity.T, np.full((width, 1), 3))
    meters = ((origin[1] - np.arange(height)) / per_meter).clip(0)
    _close_gaps(layer, identity, 3 + per_meter * meters[:, None] ** 2 / _GROUND_GAP)
    for _ in range(max(1, round(height / 300))):
        grown, filled = cv2.dilate(layer, np.ones((3, 3), np.uint8)), identity >= 0
        gaps = (cv2.dilate(filled.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~filled
        layer[gaps], identity[gaps] = grown[gaps], 0
    picture[identity >= 0] = layer[identity >= 0]


def _close_gaps(layer: np.ndarray, identity: np.ndarray, limit: np.ndarray) -> None:
    """Fill gaps of at most ``limit`` (rows, 1) pixels between two points of one segment in a column.

    Image rows on flat ground lie further apart at larger distances.
    """
    rows = np.arange(len(identity))[:, None]
    above = np.maximum.accumulate(np.where(identity >= 0, rows, -1))
    below = np.minimum.accumulate(np.where(identity >= 0, rows, len(rows))[::-1])[::-1]
    columns = np.arange(identity.shape[1])[None]
    start, stop = above.clip(0), below.clip(max=len(rows) - 1)
    same = identity[start, columns] == identity[stop, columns]
    fill = (identity < 0) & (above >= 0) & (below < len(rows)) & same & (below - above <= limit)
    nearest = np.where(rows - above < below - rows, start, stop)
    at_row, at_column = np.nonzero(fill)
    source = nearest[at_row, at_column]
    layer[at_row, at_column], identity[at_row, at_column] = layer[source, at_column], identity[source, at_column]


def _point_colors(cloud: SegmentCloud, labels: LabelSet, rows: np.ndarray) -> np.ndarray:
    label, instance, rgb = (to_host(x)[rows] for x in (cloud.label, cloud.instance, cloud.rgb))
    ids, index = np.unique(label.astype(np.int64) * DIVISOR + instance, return_inverse=True)
    base = np.array([color_of(i, labels) for i in ids], np.float32).reshape(-1, 3)[index]
    brightness = rgb.astype(np.float32).mean(1, keepdims=True) / 255
    return np.clip(base * (0.62 + 0.55 * brightness), 24, 255).astype(np.uint8)


def _draw_rings(picture: np.ndarray, origin: tuple[float, float], per_meter: float, reach: float) -> list[float]:
    """Draw range rings; returns their radii in metres."""
    center = (round(origin[0] * 16), round(origin[1] * 16))
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, math.inf) if reach / s <= 5)
    radii = [step * i for i in range(1, 6) if step * i <= reach]
    lines = picture.copy()
    for radius in radii:
        cv2.circle(lines, center, round(radius * per_meter * 16), (150, 156, 170), 1, cv2.LINE_AA, 4)
    cv2.addWeighted(lines, 0.55, picture, 0.45, 0, picture)
    return radii


def _name_rings(
    picture: np.ndarray, radii: list[float], origin: tuple[float, float], per_meter: float, taken: list[Rect]
) -> None:
    """Write each ring's radius at its right side, at 40 degrees or where the ring leaves the picture."""
    height, width = picture.shape[:2]
    text = max(9, round(height / 46))
    for radius in radii:
        angle = min(math.radians(40), math.asin(min(1.0, (width / 2 - 3.2 * text) / (radius * per_meter))))
        at = (origin[0] + radius * per_meter * math.sin(angle), origin[1] - radius * per_meter * math.cos(angle))
        tag(picture, f"{radius:g} m", at, text, _PALE, _BACKGROUND, taken)


def _draw_boxes(
    picture: np.ndarray,
    boxes: Sequence[InstanceBox],
    labels: LabelSet,
    origin: tuple[float, float],
    per_meter: float,
) -> list[Rect]:
    """Draw the boxes inside the picture and their names, nearest first; returns the occupied rectangles."""
    height, width = picture.shape[:2]
    text, line = max(9, round(height / 50)), max(1, round(height / 400))
    taken: list[Rect] = []
    names = []
    for box in sorted(boxes, key=lambda b: b.center[2]):
        x, z = box.center[0], box.center[2]
        left, right = (origin[0] + (x + side * box.size[0] / 2) * per_meter for side in (-1, 1))
        top, bottom = (origin[1] - (z + side * box.size[2] / 2) * per_meter for side in (1, -1))
        if not (0 <= (left + right) / 2 < width and 0 <= (top + bottom) / 2 < height):
            continue
        color = instance_color(box.instance)
        inner = picture[max(round(top), 0) : round(bottom) + 1, max(round(left), 0) : round(right) + 1]
        inner[:] = (0.6 * inner + 0.4 * np.array(color)).astype(np.uint8)
        first, last = ((round(a * 16), round(b * 16)) for a, b in ((left - 2, top - 2), (right + 2, bottom + 2)))
        cv2.rectangle(picture, first, last, (0, 0, 0), line + 2, cv2.LINE_AA, 4)
        cv2.rectangle(picture, first, last, (255, 255, 255), line, cv2.LINE_AA, 4)
        taken.append((round(left), round(top), round(right), round(bottom)))
        names.append((f"{labels.names[box.class_id]} {box.instance}", ((left + right) / 2, top - text), color))
    for name, at, color in names:
        tag(picture, name, at, text, (255, 255, 255), darkened(color), taken)
    return taken


def _draw_camera(picture: np.ndarray, origin: tuple[float, float], height: int) -> None:
    unit = max(4.0, height / 60)
    shape = np.array([(0, -1.1), (0.8, 0.9), (0, 0.45), (-0.8, 0.9)]) * unit + origin
    cv2.fillPoly(picture, [(shape * 16).round().astype(np.int32)], (255, 255, 255), cv2.LINE_AA, 4)
