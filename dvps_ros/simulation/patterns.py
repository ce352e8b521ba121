"""Random patterns and colors for textures (domain randomization).

A network that was trained on many kinds of asphalt relies on their common properties (Tobin et al., IROS 2017).
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from dvps_ros.simulation import textures

#: Standard deviations of the logarithmic brightness and of each channel of a randomized palette color.
_SWATCH_LIGHT, _SWATCH_TINT = 0.16, 0.06


def any_color(rng: np.random.Generator) -> np.ndarray:
    """A random color (3,) RGB in 0..1; grey colors are more frequent than bright ones, as in streets."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.beta(1.1, 3.2), 0.03 + 0.92 * rng.beta(1.4, 1.5)))


def any_pattern(rng: np.random.Generator, size: int) -> np.ndarray:
    """A tileable (size, size, 3) uint8 texture of a random kind in random colors."""
    return _KINDS[int(rng.integers(len(_KINDS)))](rng, size)


def restyled(rng: np.random.Generator, picture: np.ndarray, kind: str) -> np.ndarray:
    """A texture (H, W, 3) uint8 with other colors, contrast and pattern, within the limits of its ``kind`` of surface.

    ``wall``: no limits. ``facade``: any color, with patterns between the windows. ``paved``: patterns, and colors near
    grey. ``plant``: lighter, darker or more yellow only, because plants are recognized by their color.
    """
    height, width = picture.shape[:2]
    if kind == "wall" and rng.uniform() < 0.3:
        return cv2.resize(any_pattern(rng, 256), (width, height), interpolation=cv2.INTER_AREA)
    values = picture.astype(np.float32) / 255
    mean = values.mean((0, 1))
    values = mean + (values - mean) * rng.uniform(0.3, 1.6)
    if kind == "plant":
        values = values * (np.exp(rng.normal(0, 0.35)) * np.array([np.exp(rng.normal(0.05, 0.25)), 1, 1]))
    elif rng.uniform() < 0.75:  # another color with the brightness of the texture
        color = any_color(rng)
        if kind == "paved":
            color = color.mean() + rng.uniform(0, 0.3) * (color - color.mean())
        grey = values.mean(-1, keepdims=True)
        values = (grey + rng.uniform(0, 1) * (values - grey)) * (color / max(float(mean.mean()), 0.05))
    if rng.uniform() < 0.45:
        tile = any_pattern(rng, 256).astype(np.float32) / 255
        tile = tile if kind in ("wall", "facade") else tile.mean(-1, keepdims=True)
        tile = np.tile(tile, (-(-height // 256), -(-width // 256), 1))[:height, :width]
        values = values * (1 + rng.uniform(0.3, 1.0) * (tile - tile.mean()))
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def strayed_swatches(rng: np.random.Generator, picture: np.ndarray, side: int) -> np.ndarray:
    """A palette (H, W, 3) uint8 of square swatches ``side`` pixels wide, with a small change of each color."""
    rows, columns = picture.shape[0] // side, picture.shape[1] // side
    factor = np.exp(rng.normal(0, _SWATCH_LIGHT, (rows, columns, 1)) + rng.normal(0, _SWATCH_TINT, (rows, columns, 3)))
    factor = factor.repeat(side, 0).repeat(side, 1)
    return np.clip(picture * factor, 0, 255).astype(np.uint8)


def _two(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colors; the second one is often a shade of the first."""
    first = any_color(rng)
    return first, (np.clip(first * rng.uniform(0.4, 1.5), 0, 1) if rng.uniform() < 0.6 else any_color(rng))


def _blend(rng: np.random.Generator, share: np.ndarray) -> np.ndarray:
    """Two colors mixed by ``share`` (H, W) in 0..1, with grain."""
    a, b = _two(rng)
    picture = a + (b - a) * share[..., None]
    picture = picture + rng.normal(0, rng.uniform(0, 0.06), share.shape)[..., None]
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _plain(rng: np.random.Generator, size: int) -> np.ndarray:
    return _blend(rng, np.zeros((size, size)))


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    field = textures.noise(rng, size, int(2 ** rng.integers(1, 6)), 4)
    if rng.uniform() < 0.3:  # blotches with an edge
        return _blend(rng, (field > rng.uniform(-0.3, 0.4)).astype(np.float32))
    return _blend(rng, np.clip(field * rng.uniform(0.4, 1.5) + 0.5, 0, 1))


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    phase = np.arange(size) * int(2 ** rng.integers(1, 6)) / size % 1
    share: np.ndarray = (phase < rng.uniform(0.15, 0.85)).astype(np.float32)
    if rng.uniform() < 0.4:
        share = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    share = np.broadcast_to(share, (size, size))
    return _blend(rng, share if rng.uniform() < 0.5 else share.T)


def _checks(rng: np.random.Generator, size: int) -> np.ndarray:
    row, column = (np.arange(size) * int(2 ** rng.integers(1, 5)) // size for _ in range(2))
    if rng.uniform() < 0.5:
        return _blend(rng, ((row[:, None] + column) % 2).astype(np.float32))
    tone = rng.uniform(0, 1, (row.max() + 1, column.max() + 1))
    return _blend(rng, tone[row[:, None], column])


def _spots(rng: np.random.Generator, size: int) -> np.ndarray:
    share = np.zeros((size, size), np.float32)
    most = int(rng.integers(3, size // 8))
    for _ in range(int(rng.integers(10, 120))):
        x, y, radius = *rng.integers(0, size, 2), int(rng.integers(2, most))
        tone = rng.uniform(0.3, 1)
        for dx in (-size, 0, size):
            for dy in (-size, 0, size):
                cv2.circle(share, (int(x + dx), int(y + dy)), radius, tone, -1)
    return _blend(rng, share)


def _strokes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Lettering, cracks or scribbles."""
    share = np.zeros((size, size), np.float32)
    thick = int(rng.integers(1, 10))
    for _ in range(int(rng.integers(4, 40))):
        points = np.cumsum(rng.normal(0, size / 24, (6, 2)), 0) + rng.uniform(0, size, 2)
        cv2.polylines(share, [points.astype(np.int32)], False, rng.uniform(0.4, 1), thick, cv2.LINE_AA)
    return _blend(rng, share)


def _own(draw):
    """A function of ``textures`` with a random color."""
    return lambda rng, size: cv2.resize(draw(rng, any_color(rng)), (size, size), interpolation=cv2.INTER_AREA)


_KINDS = (
    _plain, _clouds, _clouds, _stripes, _checks, _spots, _strokes, _own(textures.asphalt), _own(textures.bricks),
    _own(textures.plaster), _own(textures.grass), _own(textures.leaves), _own(textures.planks), _own(textures.cobbles),
)  # fmt: skip
