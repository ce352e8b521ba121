"""Procedural textures: (H, W, 3) uint8 pictures drawn from a random generator, tileable where they repeat."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

Color = Sequence[float] | np.ndarray


def noise(rng: np.random.Generator, size: int, cells: int, octaves: int = 4) -> np.ndarray:
    """(size, size) float32 tileable value noise in about -1..1; ``cells`` lattice cells in the first octave."""
    out = np.zeros((size, size), np.float32)
    weight = 1.0
    for octave in range(octaves):
        n = min(cells << octave, size)
        lattice = np.pad(rng.uniform(-1, 1, (n, n)).astype(np.float32), 2, mode="wrap")
        scale = size // n
        big = cv2.resize(lattice, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        big = big[2 * scale : 2 * scale + size, 2 * scale : 2 * scale + size]
        out += weight * big if big.shape == out.shape else weight * cv2.resize(big, (size, size))
        weight *= 0.55
    return out


def _picture(color: Color, shade: np.ndarray) -> np.ndarray:
    """A color in 0..1 lightened and darkened by ``shade`` (H, W), as float32 (H, W, 3)."""
    return np.asarray(color, np.float32) * (1 + shade)[..., None]


def _finish(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))


def asphalt(rng: np.random.Generator, color: Color) -> np.ndarray:
    """Worn asphalt, (512, 512, 3) for 10 m: grain, stains, repaired patches and a few cracks."""
    size = 512
    shade = 0.10 * noise(rng, size, 4, 3) + 0.10 * noise(rng, size, 128, 3)
    picture = _picture(color, shade)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.integers(0, size - 180, 2)
        w, h = rng.integers(50, 180, 2)
        picture[y : y + h, x : x + w] *= rng.uniform(0.78, 1.15)
    cracks = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 6)):
        points = np.cumsum(rng.normal(0, 14, (24, 2)) + rng.normal(0, 6, 2), 0) + rng.uniform(80, 430, 2)
        cv2.polylines(cracks, [points.astype(np.int32)], False, 1.0, 1, cv2.LINE_AA)
    return _finish(picture * (1 - 0.45 * cracks[..., None]))


def cobbles(rng: np.random.Generator, color: Color, rows: int = 32, bond: bool = True) -> np.ndarray:
    """Paving stones, (512, 512, 3): ``rows`` courses of stones, every other one shifted with ``bond``."""
    size = 512
    columns = rows // 2 if bond else rows
    tone = rng.uniform(-0.16, 0.16, (rows, columns))
    y, x = np.mgrid[0:size, 0:size]
    row = y * rows // size
    shift = (row % 2) * (size // columns // 2) if bond else 0
    column = ((x + shift) % size) * columns // size
    joint = ((y * rows % size) < 1.3 * rows) | ((((x + shift) % size) * columns % size) < 1.3 * columns)
    shade = tone[row, column] + 0.08 * noise(rng, size, 64, 3) + 0.06 * noise(rng, size, 4, 2)
    return _finish(_picture(color, shade) * np.where(joint, 0.62, 1.0)[..., None])


def bricks(rng: np.random.Generator, color: Color, mortar: float = 0.75) -> np.ndarray:
    """A brick wall, (256, 256, 3) for 2 m."""
    return _brick_wall(rng, color, mortar, 256, 24)


def _brick_wall(rng: np.random.Generator, color: Color, mortar: float, size: int, rows: int) -> np.ndarray:
    columns = rows // 3
    tone = rng.uniform(-0.22, 0.22, (rows, columns))
    y, x = np.mgrid[0:size, 0:size]
    row = y * rows // size
    offset = (x + (row % 2) * (size // columns // 2)) % size
    joint = ((y * rows % size) < 1.6 * rows) | ((offset * columns % size) < 1.6 * columns)
    shade = tone[row, offset * columns // size] + 0.08 * noise(rng, size, 16, 3)
    picture = _picture(color, shade)
    return _finish(np.where(joint[..., None], np.float32(mortar) * np.array([0.8, 0.78, 0.74], np.float32), picture))


def plaster(rng: np.random.Generator, color: Color) -> np.ndarray:
    """Rendered or concrete surface, (256, 256, 3) for 4 m, with stains."""
    return _finish(_picture(color, 0.07 * noise(rng, 256, 4, 3) + 0.04 * noise(rng, 256, 128, 1)))


def grass(rng: np.random.Generator, color: Color) -> np.ndarray:
    """Lawn, (512, 512, 3) for 6 m."""
    size = 512
    shade = 0.18 * noise(rng, size, 8, 3) + 0.22 * noise(rng, size, 128, 2)
    picture = _picture(color, shade)
    dry = np.clip(noise(rng, size, 4, 4) - 0.25, 0, 0.6)[..., None]
    return _finish(picture * (1 - dry) + dry * np.array([0.55, 0.50, 0.30], np.float32))


def soil(rng: np.random.Generator, color: Color) -> np.ndarray:
    """Gravel or earth, (512, 512, 3) for 6 m."""
    return _finish(_picture(color, 0.15 * noise(rng, 512, 8, 3) + 0.22 * noise(rng, 512, 128, 2)))


def leaves(rng: np.random.Generator, color: Color) -> np.ndarray:
    """Foliage, (256, 256, 3) for 2 m: thousands of small leaves over dark gaps."""
    size = 256
    picture = (np.asarray(color, np.float32) * np.float32(0.42)) * np.ones((size, size, 3), np.float32)
    count = 1500
    centers = rng.integers(0, size, (count, 2))
    axes = rng.integers(3, 8, count)
    angles = rng.uniform(0, 180, count)
    tones = np.linspace(0.55, 1.3, count) + rng.uniform(-0.12, 0.12, count)
    tints = rng.uniform(-0.04, 0.05, (count, 3)) * [1.0, 0.6, 0.4]
    for center, axis, angle, tone, tint in zip(centers, axes, angles, tones, tints, strict=True):
        rgb = tuple(float(c) for c in (np.asarray(color) + tint) * tone)
        for dx in (0, -size) if center[0] > size - 9 else (0,):
            for dy in (0, -size) if center[1] > size - 9 else (0,):
                at = (int(center[0] + dx), int(center[1] + dy))
                cv2.ellipse(picture, at, (int(axis), max(1, int(axis) // 2)), angle, 0, 360, rgb, -1)
    return _finish(picture)


def planks(rng: np.random.Generator, color: Color) -> np.ndarray:
    """Upright wooden boards, (256, 256, 3) for 2 m."""
    size, boards = 256, 14
    tone = rng.uniform(-0.18, 0.18, boards)
    x = np.arange(size) * boards // size
    shade = np.broadcast_to(tone[x], (size, size)) + 0.10 * cv2.resize(noise(rng, 256, 64, 2)[:24], (size, size))
    gap = (np.arange(size) * boards % size) < 1.7 * boards
    return _finish(_picture(color, shade) * np.where(gap, 0.35, 1.0)[None, :, None])


def roof_tiles(rng: np.random.Generator, color: Color) -> np.ndarray:
    """Roof tiles, (256, 256, 3) for 4 m."""
    size, rows = 256, 16
    tone = rng.uniform(-0.12, 0.12, (rows, 24))
    y, x = np.mgrid[0:size, 0:size]
    row = y * rows // size
    shade = tone[row, x * 24 // size] + 0.28 * ((y * rows % size) / size - 0.5)
    return _finish(_picture(color, shade))


def _rectangle(picture: np.ndarray, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
    picture[round(y0) : round(y1), round(x0) : round(x1)] = np.asarray(color, np.float32)


def _glass(rng: np.random.Generator, picture: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> None:
    """A pane: dark room below, a slanting reflection of the sky above; sometimes a curtain, blinds or a lamp."""
    x0, y0, x1, y1 = round(x0), round(y0), round(x1), round(y1)
    h, w = y1 - y0, x1 - x0
    if h < 2 or w < 2:
        return
    y, x = np.mgrid[0:h, 0:w] / h
    reflection = np.clip(1.1 - y * rng.uniform(1.0, 1.8) - 0.3 * x, 0, 1)[..., None] * rng.uniform(0.25, 0.6)
    dark = np.array([0.10, 0.12, 0.15], np.float32) * rng.uniform(0.6, 1.6)
    pane = dark * (1 - reflection) + np.array([0.55, 0.65, 0.75], np.float32) * reflection
    kind = rng.uniform()
    if kind < 0.25:
        curtain = np.array([0.75, 0.72, 0.66], np.float32) * rng.uniform(0.7, 1.1)
        pane[:, : round(w * 0.3)] = pane[:, round(w * 0.7) :] = curtain
    elif kind < 0.4:
        pane[: round(h * rng.uniform(0.2, 0.8))] = np.array([0.7, 0.7, 0.68], np.float32) * rng.uniform(0.7, 1.1)
    elif kind < 0.46:
        pane = pane * 0.4 + np.array([0.9, 0.75, 0.45], np.float32) * 0.6
    picture[y0:y1, x0:x1] = pane


def facade(rng: np.random.Generator, color: Color, brick: bool, style: str) -> np.ndarray:
    """Four bays by four floors, (512, 512, 3); ``style`` is ``window``, ``tall``, ``ribbon`` or ``glass``."""
    size, bay = 512, 128
    if brick:
        base = _brick_wall(rng, color, 0.7, size, 128).astype(np.float32) / 255
    else:
        base = _picture(color, 0.06 * noise(rng, size, 4, 3) + 0.03 * noise(rng, size, 128, 2)).astype(np.float32)
    trim: np.ndarray = np.array([0.86, 0.85, 0.82], np.float32)
    if rng.uniform() < 0.4:
        trim = np.asarray(color) * rng.uniform(0.7, 0.9)
    frame = [(0.88, 0.88, 0.86), (0.25, 0.22, 0.2), (0.4, 0.28, 0.18), (0.2, 0.27, 0.25)][rng.integers(4)]
    width, height = {"window": (0.46, 0.52), "tall": (0.38, 0.68), "ribbon": (1.0, 0.5), "glass": (1.0, 1.0)}[style]
    width, height = width * rng.uniform(0.9, 1.15), height * rng.uniform(0.92, 1.1)
    shutters = style in ("window", "tall") and rng.uniform() < 0.25
    shutter = [(0.25, 0.36, 0.28), (0.35, 0.22, 0.16), (0.3, 0.36, 0.45)][rng.integers(3)]
    bands = rng.uniform() < 0.5
    for row in range(4):
        if bands and style != "glass":
            _rectangle(base, 0, row * bay + 118, size, row * bay + 124, trim)
        for column in range(4):
            w, h = min(width, 1.0) * bay / 2, min(height, 1.0) * bay / 2
            cx, cy = column * bay + 64, row * bay + 62
            x0, y0, x1, y1 = cx - w, max(cy - h, row * bay), cx + w, min(cy + h, row * bay + bay)
            if style in ("window", "tall"):
                _rectangle(base, x0 - 5, y0 - 5, x1 + 5, y1 + 4, trim)
                _rectangle(base, x0 - 8, y1 + 4, x1 + 8, y1 + 9, np.asarray(trim) * 0.85)
                if shutters:
                    _rectangle(base, x0 - 26, y0, x0 - 3, y1, shutter)
                    _rectangle(base, x1 + 3, y0, x1 + 26, y1, shutter)
            _rectangle(base, x0, y0, x1, y1, frame)
            panes = 2 if style != "ribbon" else 3
            edges = np.linspace(x0 + 3, x1, panes + 1)
            for left, right in pairwise(edges):
                _glass(rng, base, left, y0 + 4, right - 4, y1 - 4)
    return _finish(base)


def ground_floor(rng: np.random.Generator, color: Color) -> np.ndarray:
    """Eight bays of a ground floor, (128, 1024, 3): shops, doors, gates and windows."""
    bay = 128
    picture = _picture(np.asarray(color) * 0.85, 0.05 * noise(rng, 128, 8, 3))
    picture = np.tile(picture, (1, 8, 1)).astype(np.float32)
    for column in range(8):
        x = column * bay
        kind = rng.choice(["shop", "shop", "door", "window", "gate"])
        if kind == "shop":
            board = rng.uniform(0.1, 0.85, 3)
            _rectangle(picture, x + 4, 8, x + 124, 30, board)
            for k in range(rng.integers(3, 8)):  # strokes instead of lettering
                left = x + 16 + k * 13
                _rectangle(picture, left, 14, left + int(rng.integers(5, 11)), 24, 1 - 0.8 * board)
            _rectangle(picture, x + 6, 32, x + 122, 122, (0.2, 0.2, 0.21))
            _glass(rng, picture, x + 10, 36, x + 62, 116)
            _glass(rng, picture, x + 66, 36, x + 118, 116)
            if rng.uniform() < 0.4:  # striped awning
                stripes = rng.uniform(0.2, 0.9, 3)
                for k in range(10):
                    stripe = stripes if k % 2 else (0.92, 0.9, 0.86)
                    _rectangle(picture, x + 4 + k * 12, 28, x + 16 + k * 12, 48, stripe)
        elif kind == "door":
            _rectangle(picture, x + 36, 26, x + 92, 128, np.asarray(color) * 0.55)
            _rectangle(picture, x + 41, 32, x + 87, 128, rng.uniform(0.12, 0.5, 3))
            _glass(rng, picture, x + 48, 40, x + 80, 70)
            _rectangle(picture, x + 80, 86, x + 84, 90, (0.8, 0.75, 0.5))
        elif kind == "window":
            _rectangle(picture, x + 26, 30, x + 102, 96, (0.85, 0.84, 0.8))
            _glass(rng, picture, x + 31, 35, x + 62, 90)
            _glass(rng, picture, x + 66, 35, x + 97, 90)
        else:
            tone = float(rng.uniform(0.25, 0.6))
            for k in range(12):
                _rectangle(picture, x + 14, 26 + k * 9, x + 114, 34 + k * 9, (tone, tone, tone * 1.03))
    picture[118:] *= 0.7
    return _finish(picture)
