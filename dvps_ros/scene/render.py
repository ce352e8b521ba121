"""Pictures for people: overlays, label maps, depth maps and bird's-eye views, all (H, W, 3) uint8 RGB in host memory.

A thing has one colour in all of them, made from its instance number, so that the same object is found again.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from dvps_ros.labels import DIVISOR, VOID, VOID_CLASS, LabelSet
from dvps_ros.scene.unproject import InstanceBox, instances
from dvps_ros.structures import Scene, Segment, SegmentCloud

Array = np.ndarray | Tensor
Rect = tuple[int, int, int, int]  # left, top, right, bottom in pixels

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BACKGROUND = (16, 18, 24)
_INVALID = (44, 44, 48)
_RING = (64, 70, 84)
_PALE = (206, 212, 222)
_STUFF_OPACITY, _THING_OPACITY = 0.42, 0.5
#: A box of a bird's-eye view leaves out this many percent of the points at either end.
_BOX_PERCENTILE = 4.0
#: Gaps in a bird's-eye view up to distance squared / this, in metres, are the camera's rows on flat ground.
_GROUND_GAP = 250.0

# --- in the camera's view --------------------------------------------------------------------------------------------


def overlay(image: Array, scene: Scene, labels: LabelSet, *, scale: int = 1, names: bool = True) -> np.ndarray:
    """The camera's picture with class colours over it, things outlined, and names where there is room.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB of the scene's size.
    scene : its labels.
    scale : the result is this many times larger, with lines and names drawn at that size.
    names : whether to write class names (things also with their number).

    Raises ``ValueError`` when the sizes differ.
    """
    image, panoptic = _host(image), _host(scene.panoptic)
    if image.shape != (*panoptic.shape, 3):
        raise ValueError(f"the image has shape {image.shape}, the scene {panoptic.shape}")
    if scale > 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        panoptic = _smoothly_enlarged(panoptic, scale)
    ids, index = _unique(panoptic)
    colors = np.array([_color(i, labels) for i in ids], np.float32)
    opacity = np.array([_opacity(i, labels) for i in ids], np.float32)[:, None]
    picture = (image * (1 - opacity)[index] + (colors * opacity)[index]).round().astype(np.uint8, order="C")
    things = [s for s in scene.segments if labels.is_thing[s.class_id]]
    for segment in sorted(things, key=_far_first):
        _outline(picture, panoptic == segment.id, instance_color(segment.instance))
    if names:
        _write_names(picture, panoptic, scene.segments, labels)
    return picture


def label_picture(panoptic: Array, labels: LabelSet) -> np.ndarray:
    """Class colours of a label map (H, W) (class * 1000 + instance), things set apart by shade; black unlabelled."""
    panoptic = _host(panoptic)
    ids, index = _unique(panoptic)
    picture = np.array([_shade(i, labels) for i in ids], np.uint8)[index]
    picture[_borders(panoptic)] = 235
    return picture


def colorize_depth(depth: Array, *, near: float = 2.0, far: float = 80.0) -> np.ndarray:
    """Depth (H, W) in metres on a logarithmic scale from ``near`` (yellow, warm) to ``far`` (deep blue).

    The colour map is plasma, perceptually uniform; 0, negative, NaN and infinite depth is dark grey.
    """
    depth = _host(depth).astype(np.float32)
    valid = np.isfinite(depth) & (depth > 0)
    position = np.log(np.where(valid, depth, far) / near) / math.log(far / near)
    level = ((1 - np.clip(position, 0, 1)) * 255).round().astype(np.uint8)
    picture = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_PLASMA), cv2.COLOR_BGR2RGB)
    picture[~valid] = _INVALID
    return picture


def _far_first(segment: Segment) -> float:
    return segment.area if math.isnan(segment.median_depth) else -segment.median_depth


# --- from above ------------------------------------------------------------------------------------------------------


def birds_eye(
    cloud: SegmentCloud,
    labels: LabelSet,
    *,
    size: tuple[int, int] = (512, 512),
    reach: float = 40.0,
    boxes: Sequence[InstanceBox] | None = None,
) -> np.ndarray:
    """A cloud from above: the camera at the bottom centre looks up the picture, rings every ten metres or so.

    Stuff has its class's colour, shaded by the camera's; things have their own, a box and a name.

    Parameters
    ----------
    cloud : points in the optical frame; non-finite ones are ignored.
    size : (H, W) of the picture in pixels.
    reach : metres from the camera to the upper edge.
    boxes : boxes of the things; None: made from the cloud.
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
    xyz = _host(cloud.xyz)
    column, row = origin[0] + xyz[:, 0] * per_meter, origin[1] - xyz[:, 2] * per_meter
    with np.errstate(invalid="ignore"):
        inside = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
    inside = inside[np.argsort(-xyz[inside, 1], kind="stable")]  # y is down: the highest point is painted last
    at = row[inside].astype(int), column[inside].astype(int)
    layer, identity = np.zeros_like(picture), np.full((height, width), -1)
    layer[at] = _point_colors(cloud, labels, inside)
    identity[at] = (_host(cloud.label).astype(np.int64) * DIVISOR + _host(cloud.instance))[inside]
    _close_gaps(layer.transpose(1, 0, 2), identity.T, np.full((width, 1), 3))
    meters = ((origin[1] - np.arange(height)) / per_meter).clip(0)
    _close_gaps(layer, identity, 3 + per_meter * meters[:, None] ** 2 / _GROUND_GAP)
    for _ in range(max(1, round(height / 300))):
        grown, filled = cv2.dilate(layer, np.ones((3, 3), np.uint8)), identity >= 0
        gaps = (cv2.dilate(filled.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~filled
        layer[gaps], identity[gaps] = grown[gaps], 0
    picture[identity >= 0] = layer[identity >= 0]


def _close_gaps(layer: np.ndarray, identity: np.ndarray, limit: np.ndarray) -> None:
    """Fill, down the columns, the gaps of at most ``limit`` (rows, 1) pixels between two points of one segment.

    A camera sees flat ground in rows that lie the further apart the further away they are.
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
    label, instance, rgb = (_host(x)[rows] for x in (cloud.label, cloud.instance, cloud.rgb))
    ids, index = np.unique(label.astype(np.int64) * DIVISOR + instance, return_inverse=True)
    base = np.array([_color(i, labels) for i in ids], np.float32).reshape(-1, 3)[index]
    brightness = rgb.astype(np.float32).mean(1, keepdims=True) / 255
    return np.clip(base * (0.62 + 0.55 * brightness), 24, 255).astype(np.uint8)


def _draw_rings(picture: np.ndarray, origin: tuple[float, float], per_meter: float, reach: float) -> list[float]:
    """Draw range rings and tell their radii in metres."""
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
    """Write each ring's metres on its right hand side, 40 degrees off or where it leaves the picture."""
    height, width = picture.shape[:2]
    text = max(9, round(height / 46))
    for radius in radii:
        angle = min(math.radians(40), math.asin(min(1.0, (width / 2 - 3.2 * text) / (radius * per_meter))))
        at = (origin[0] + radius * per_meter * math.sin(angle), origin[1] - radius * per_meter * math.cos(angle))
        _tag(picture, f"{radius:g} m", at, text, _PALE, _BACKGROUND, taken)


def _draw_boxes(
    picture: np.ndarray,
    boxes: Sequence[InstanceBox],
    labels: LabelSet,
    origin: tuple[float, float],
    per_meter: float,
) -> list[Rect]:
    """Draw the boxes that lie in the picture and their names, nearest first; tells which places are taken."""
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
        corners = [(round(a * 16), round(b * 16)) for a, b in ((left - 2, top - 2), (right + 2, bottom + 2))]
        cv2.rectangle(picture, *corners, (0, 0, 0), line + 2, cv2.LINE_AA, 4)
        cv2.rectangle(picture, *corners, (255, 255, 255), line, cv2.LINE_AA, 4)
        taken.append((round(left), round(top), round(right), round(bottom)))
        names.append((f"{labels.names[box.class_id]} {box.instance}", ((left + right) / 2, top - text), color))
    for name, at, color in names:
        _tag(picture, name, at, text, (255, 255, 255), _darkened(color), taken)
    return taken


def _draw_camera(picture: np.ndarray, origin: tuple[float, float], height: int) -> None:
    unit = max(4.0, height / 60)
    shape = np.array([(0, -1.1), (0.8, 0.9), (0, 0.45), (-0.8, 0.9)]) * unit + origin
    cv2.fillPoly(picture, [(shape * 16).round().astype(np.int32)], (255, 255, 255), cv2.LINE_AA, 4)


# --- colours ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def instance_color(instance: int) -> tuple[int, int, int]:
    """The RGB colour of an instance number: bright, and far from its neighbours' (golden ratio steps of hue)."""
    hue = (0.02 + instance * 0.61803399) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.78, 0.6, 0.92)[instance % 3], 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _color(identity: int, labels: LabelSet) -> tuple[int, int, int]:
    class_id, instance = divmod(int(identity), DIVISOR)
    if class_id >= len(labels):
        return 96, 96, 104
    return instance_color(instance) if labels.is_thing[class_id] and instance else labels.colors[class_id]


def _opacity(identity: int, labels: LabelSet) -> float:
    class_id = int(identity) // DIVISOR
    if class_id >= len(labels):
        return 0.25
    return _THING_OPACITY if labels.is_thing[class_id] else _STUFF_OPACITY


def _shade(identity: int, labels: LabelSet) -> np.ndarray:
    class_id, instance = divmod(int(identity), DIVISOR)
    if class_id >= len(labels):
        return np.zeros(3)
    color = np.array(labels.colors[class_id], np.float32)
    share = ((instance * 0.61803399) % 1) * 0.45 if instance else 0.0
    return color + (255 - color) * share


def _darkened(color: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (round(0.45 * c) for c in color)
    return red, green, blue


# --- lines and words -------------------------------------------------------------------------------------------------


def _outline(picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]) -> None:
    """Draw a bright line just inside a mask's border, in larger pictures with a dark one around it."""
    height = min(picture.shape[:2])
    line = max(1, round(height / 300))
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if height >= 400:
        cv2.drawContours(picture, contours, -1, (12, 12, 12), line + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, color, line, cv2.LINE_AA)


def _borders(panoptic: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose right or lower neighbour is another instance of the same class."""
    border = np.zeros(panoptic.shape, bool)
    for a, b, marks in (
        (panoptic[:, :-1], panoptic[:, 1:], border[:, :-1]),
        (panoptic[:-1], panoptic[1:], border[:-1]),
    ):
        marks |= (a != b) & (a // DIVISOR == b // DIVISOR)
    return border


def _write_names(picture: np.ndarray, panoptic: np.ndarray, segments: Sequence[Segment], labels: LabelSet) -> None:
    height = panoptic.shape[0]
    text, taken = max(8, round(height / 34)), []
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
            _tag(picture, name, at, text, (255, 255, 255), _darkened(instance_color(segment.instance)), taken)
        elif not thing and radius >= 1.4 * text and radius * 2.6 >= _text_width(name, text) / 2:
            _tag(picture, name, (column, row), text, (255, 255, 255), None, taken)


def _roomiest(mask: np.ndarray, step: int) -> tuple[float, float, float] | None:
    """Column, row and radius of the largest circle inside a mask, in pixels of a picture ``step`` times its size."""
    small = np.pad(mask.astype(np.uint8), 1)
    if not small.any():
        return None
    distance = cv2.distanceTransform(small, cv2.DIST_L2, 3)
    _, radius, _, (column, row) = cv2.minMaxLoc(distance)
    return (column - 1) * step, (row - 1) * step, radius * step


def _text_width(text: str, height: int) -> float:
    scale, _ = _font(height)
    return cv2.getTextSize(text, _FONT, scale, 1)[0][0]


def _font(height: int) -> tuple[float, int]:
    """OpenCV's scale and thickness for capitals ``height`` * 0.72 pixels tall."""
    scale = 0.72 * height / 21  # Hershey capitals are 21 units
    return scale, max(1, round(scale * 1.7))


def _tag(
    picture: np.ndarray,
    text: str,
    center: tuple[float, float],
    height: int,
    color: tuple[int, int, int],
    background: tuple[int, int, int] | None,
    taken: list[Rect] | None = None,
) -> None:
    """Write ``text`` around ``center``, on a pill or (None) with a soft shadow, unless it would touch a taken one."""
    sharp = 4  # drawn this much larger and shrunk: OpenCV's strokes are coarse at small sizes
    scale, _ = _font(height * sharp)
    thickness = max(2, round(scale * 2.1))
    (wide, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = 0.45 * height
    box_w, box_h = math.ceil(wide / sharp + 2 * pad), math.ceil(1.45 * height)
    left = round(min(max(center[0] - box_w / 2, 1), picture.shape[1] - box_w - 1))
    top = round(min(max(center[1] - box_h / 2, 1), picture.shape[0] - box_h - 1))
    rect = (left, top, left + box_w, top + box_h)
    if left < 0 or top < 0 or (taken is not None and any(_touch(rect, other) for other in taken)):
        return
    if taken is not None:
        taken.append(rect)
    canvas = np.zeros((box_h * sharp, box_w * sharp), np.uint8)
    at = (round(pad * sharp), round((box_h / 2 + 0.36 * height) * sharp))
    strokes = cv2.putText(canvas.copy(), text, at, _FONT, scale, 255, thickness, cv2.LINE_AA)
    if background is None:
        halo = cv2.putText(canvas, text, at, _FONT, scale, 255, thickness + 3 * sharp, cv2.LINE_AA)
        back, back_color, strength = cv2.GaussianBlur(halo, (0, 0), sharp), (0, 0, 0), 0.75
    else:
        back, back_color, strength = _pill(canvas), background, 0.82
    area = picture[top : top + box_h, left : left + box_w]
    for layer, tint, share in ((back, back_color, strength), (strokes, color, 1.0)):
        alpha = cv2.resize(layer, (box_w, box_h), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
        area[:] = (area * (1 - share * alpha) + np.array(tint, np.float32) * share * alpha).round().astype(np.uint8)


def _pill(canvas: np.ndarray) -> np.ndarray:
    height, width = canvas.shape
    radius = min(height, width) // 4
    pill = canvas.copy()
    cv2.rectangle(pill, (radius, 0), (width - radius - 1, height - 1), 255, -1)
    cv2.rectangle(pill, (0, radius), (width - 1, height - radius - 1), 255, -1)
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(pill, (x, y), radius, 255, -1)
    return pill


def _touch(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _unique(panoptic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ``np.unique`` gives, the values and their indices (H, W), by a table instead of sorting the pixels."""
    present = np.zeros(DIVISOR * (VOID_CLASS + 1), bool)
    present[panoptic] = True
    ids = np.flatnonzero(present)
    table = np.zeros(len(present), np.int32)
    table[ids] = np.arange(len(ids))
    return ids, table[panoptic]


def _smoothly_enlarged(panoptic: np.ndarray, scale: int) -> np.ndarray:
    """A label map enlarged with rounded rather than stepped borders: each label's mask enlarged, the largest wins."""
    best, result = None, None
    for identity in np.unique(panoptic):
        share = cv2.resize((panoptic == identity).astype(np.float32), None, fx=scale, fy=scale)
        if best is None:
            best, result = share, np.full(share.shape, identity, np.int32)
            continue
        result[share > best] = identity
        np.maximum(best, share, out=best)
    return np.full((0, 0), VOID, np.int32) if result is None else result


def _host(values: Array) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
