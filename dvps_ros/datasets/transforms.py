"""Augmentation of labelled frames: geometry (resize, crop, mirror) that keeps depth and camera true, and color."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from dvps_ros.camera.resizing import PADDING, Resizing, resize, to_budget
from dvps_ros.config import DataConfig
from dvps_ros.datasets.class_labels import UNKNOWN
from dvps_ros.datasets.frames import LabelledFrame
from dvps_ros.labels import VOID
from dvps_ros.structures import Intrinsics


@dataclass(frozen=True)
class Window:
    """The part of a frame that becomes the new frame.

    First the frame is resized by ``scale_x`` and ``scale_y``. Then the window with the top left pixel (``left``,
    ``top``) and the size ``height`` x ``width`` is cut out; it may reach beyond the frame. With ``flip`` it is mirrored
    last.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int
    height: int
    width: int
    flip: bool = False


def as_at_run_time(frame: LabelledFrame, pixels: int) -> Resizing:
    """The resizing of the whole frame to ``pixels`` (``input.pixels``), as at run time."""
    return to_budget(frame.image.shape[:2], pixels, _camera_of(frame))


def random_window(seen: Resizing, crop: tuple[int, int], config: DataConfig, rng: np.random.Generator) -> Window:
    """A random training window: scale, place and mirroring drawn from ``rng``.

    Parameters
    ----------
    seen : resizing of the whole frame at run time; the scale drawn is a factor on it.
    crop : (h, w) in pixels. A smaller frame is padded at the right and bottom, as at run time.
    """
    scale = rng.uniform(config.min_scale, config.max_scale)
    left, top = (int(rng.integers(0, max(round(seen.extent[axis] * scale) - crop[axis], 0) + 1)) for axis in (1, 0))
    return Window(seen.scale_x * scale, seen.scale_y * scale, left, top, *crop, bool(rng.random() < config.flip))


def whole_window(seen: Resizing) -> Window:
    """The whole frame, resized."""
    return Window(seen.scale_x, seen.scale_y, 0, 0, *seen.size)


def apply_window(frame: LabelledFrame, window: Window) -> LabelledFrame:
    """The frame within ``window``, with its camera. Images are sampled linearly, labels by nearest neighbour.

    Pixels outside the frame have no label. Depth values do not change: a resized image equals the image of a camera
    with another focal length at the same place.
    """
    rows = _source(window.height, window.top, window.scale_y)
    columns = _source(window.width, window.left, window.scale_x)
    if window.flip:
        columns = columns[::-1]
    return replace(
        frame,
        image=_sample_linear(frame.image, rows, columns),
        panoptic=_sample_nearest(frame.panoptic, rows, columns, VOID),
        depth=_sample_nearest(frame.depth, rows, columns, 0),
        semantic=_sample_nearest(frame.semantic, rows, columns, UNKNOWN),
        intrinsics=_seen_by(_camera_of(frame), window),
    )


def restore_padding(image: np.ndarray, size: tuple[int, int], window: Window) -> np.ndarray:
    """The image (H, W, 3) uint8 of a ``window`` with ``PADDING`` outside the frame, which had ``size`` (H, W).

    At run time padding is always that color, so what varies colors must not change it.
    """
    rows = _inside(_source(window.height, window.top, window.scale_y), size[0])
    columns = _inside(_source(window.width, window.left, window.scale_x), size[1])
    if rows.all() and columns.all():
        return image
    columns = columns[::-1] if window.flip else columns
    return np.where((rows[:, None] & columns)[..., None], image, np.array(PADDING, np.uint8))


def jitter_color(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary brightness, contrast, saturation and hue, each with probability 0.5 (Liu et al., SSD, ECCV 2016).

    ``image`` is (H, W, 3) uint8 RGB; so is the result. Ranges are SSD's: brightness ±32, contrast and saturation
    0.5-1.5, hue ±18°; contrast comes before or after saturation and hue with equal odds.
    """
    brightness = rng.uniform(-32, 32) if rng.random() < 0.5 else 0.0
    contrast = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    saturation = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    hue = rng.uniform(-18, 18) if rng.random() < 0.5 else 0.0
    contrast_first = rng.random() < 0.5

    levels = np.clip(np.arange(256) + brightness, 0, 255)
    if contrast_first:
        levels *= contrast
    image = cv2.LUT(image, to_bytes(levels))
    if saturation != 1.0 or hue != 0.0:
        image = _shift_hsv(image, saturation, hue)
    return image if contrast_first else cv2.LUT(image, to_bytes(np.arange(256) * contrast))


def _source(size: int, start: int, scale: float) -> np.ndarray:
    """(size,) source coordinates of output pixels; pixel centers have integer coordinates."""
    return (np.arange(start, start + size) + 0.5) / scale - 0.5


def _camera_of(frame: LabelledFrame) -> Intrinsics:
    """The frame's camera at its image's size."""
    height, width = frame.image.shape[:2]
    camera = frame.intrinsics
    return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)


def _seen_by(camera: Intrinsics, window: Window) -> Intrinsics:
    size = window.height, window.width
    camera = camera.scaled(window.scale_x, window.scale_y, *size[::-1]).cropped(window.left, window.top, *size[::-1])
    return camera.flipped() if window.flip else camera


def _sample_linear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    inside_y, inside_x = _inside(rows, image.shape[0]), _inside(columns, image.shape[1])
    image, rows, columns = _reduced(image, rows, columns)
    step_x, step_y = _step(columns), _step(rows)
    matrix = np.array([[step_x, 0.0, columns[0]], [0.0, step_y, rows[0]]])
    size = (columns.size, rows.size)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # the border is repeated while sampling, so that the frame's edge is not blended with the padding
    sampled = cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if not inside_y.all():
        sampled[~inside_y] = PADDING
    if not inside_x.all():
        sampled[:, ~inside_x] = PADDING
    return sampled


def _reduced(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image (H, W, 3) with pixels not much smaller than those to be sampled, and the places to sample it at.

    Linear sampling alone reads only the nearest four pixels. At run time each pixel is a mean of all that it covers.
    """
    steps = [max(1.0, abs(_step(at))) for at in (rows, columns)]
    if steps == [1.0, 1.0]:
        return image, rows, columns
    size = math.ceil(image.shape[0] / steps[0] - 1e-6), math.ceil(image.shape[1] / steps[1] - 1e-6)
    factors = [1 / step for step in steps]  # exact, or a second interpolation would follow, which blurs
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    how = Resizing(factors[1], factors[0], size, extent=size, canvas=size)
    reduced = resize(pixels, how)[0].permute(1, 2, 0)
    rows, columns = ((at + 0.5) * factor - 0.5 for at, factor in zip((rows, columns), factors, strict=True))
    return np.ascontiguousarray(reduced.numpy()), rows, columns


def _step(at: np.ndarray) -> float:
    return float(at[1] - at[0]) if at.size > 1 else 1.0


def _sample_nearest(
    values: np.ndarray | None, rows: np.ndarray, columns: np.ndarray, outside: float
) -> np.ndarray | None:
    if values is None:
        return None
    inside_y, inside_x = _inside(rows, values.shape[0]), _inside(columns, values.shape[1])
    # .5 rounds up, so that pixels are half-open intervals; np.rint would round to even
    y = np.clip(np.floor(rows + 0.5).astype(np.intp), 0, values.shape[0] - 1)
    x = np.clip(np.floor(columns + 0.5).astype(np.intp), 0, values.shape[1] - 1)
    sampled = values.take(y, axis=0).take(x, axis=1)
    if not inside_y.all():
        sampled[~inside_y] = outside
    if not inside_x.all():
        sampled[:, ~inside_x] = outside
    return sampled


def _inside(coordinates: np.ndarray, size: int) -> np.ndarray:
    """True where a source coordinate lies on one of ``size`` pixels (each reaches half a pixel around its center)."""
    return (coordinates >= -0.5) & (coordinates < size - 0.5)


def _shift_hsv(image: np.ndarray, saturation: float, hue: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # hue in 2 degree steps, 0..179
    tables = np.stack(
        [
            (np.arange(256) + round(hue / 2)) % 180,
            to_bytes(np.arange(256) * saturation),
            np.arange(256),
        ],
        axis=-1,
    ).astype(np.uint8)
    return cv2.cvtColor(cv2.LUT(hsv, tables[None]), cv2.COLOR_HSV2RGB)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """``values`` of any shape and dtype as uint8: rounded, and clipped to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
