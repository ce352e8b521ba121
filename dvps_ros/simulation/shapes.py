"""Triangle meshes built from a few primitives, each with normals and texture coordinates.

Axes of the world and of every object: x forward, y left, z up, in metres (REP 103). Faces do not share vertices across
edges, so a box stays sharp; round shapes share smooth normals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

#: Texture coordinates of a face: one point (a color of the palette), or texture repeats per metre.
Paint = tuple[float, float]
#: x, y, z.
Vector = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Mesh:
    """Vertices (V,3), normals (V,3), texture coordinates (V,2) as float64, and faces (F,3) as int64."""

    vertices: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    faces: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
        """The mesh scaled, then turned by ``yaw`` (radians, about z), then shifted."""
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return Mesh(self.vertices @ turn.T * scale + (x, y, z), self.normals @ turn.T, self.uv, self.faces)

    def turned(self, axis: int, angle: float) -> Mesh:
        """The mesh turned by ``angle`` (radians) about coordinate axis 0, 1 or 2 through the origin."""
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        return Mesh(self.vertices @ turn.T, self.normals @ turn.T, self.uv, self.faces)

    def mirrored(self) -> Mesh:
        """The mesh mirrored left to right (y negated)."""
        flip = np.array([1.0, -1.0, 1.0])
        return Mesh(self.vertices * flip, self.normals * flip, self.uv, self.faces[:, ::-1])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.cross of (..., 3) arrays, without its overhead, which dominates for small meshes."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh holding all of ``meshes`` (at least one)."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.faces + offset for m, offset in zip(meshes, offsets, strict=True)]),
    )


def quads(corners: np.ndarray, uv: np.ndarray | Paint) -> Mesh:
    """Flat quadrilaterals: corners (N,4,3) counter-clockwise seen from outside, uv (N,4,2) or one palette point."""
    corners = np.asarray(corners, float).reshape(-1, 4, 3)
    n = len(corners)
    normal = _cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    base = np.arange(n)[:, None] * 4
    faces = np.stack([base + np.array([0, 1, 2]), base + np.array([0, 2, 3])], 1).reshape(-1, 3)
    return Mesh(
        corners.reshape(-1, 3),
        np.repeat(normal, 4, axis=0),
        np.broadcast_to(np.asarray(uv, float), (n, 4, 2)).reshape(-1, 2),
        faces,
    )


_BOX = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_BOX_FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def box(center: Vector, size: Vector, paint: Paint, taper: float = 1.0) -> Mesh:
    """A box of one color around ``center``; its top is ``taper`` times as large as its bottom."""
    corners = _BOX * np.asarray(size, float)
    corners[_BOX[:, 2] > 0, :2] *= taper
    return quads((corners + np.asarray(center, float))[_BOX_FACES], paint)


def prism(outline: np.ndarray, half_width: np.ndarray | float, paint: Paint) -> Mesh:
    """A side outline (N,2) of (x, z), in either orientation, extruded to a half width in y (one, or one per point).

    The outline must be star-shaped about its mean point, because the caps are fans around it.
    """
    outline = np.asarray(outline, float)
    width = np.broadcast_to(np.asarray(half_width, float), (len(outline),))
    following = np.roll(outline, -1, axis=0)
    if (outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum() < 0:
        outline, width = outline[::-1], width[::-1]
    left = np.stack([outline[:, 0], width, outline[:, 1]], 1)
    right = left * [1, -1, 1]
    following = np.roll(np.arange(len(outline)), -1)
    hull = quads(np.stack([left, left[following], right[following], right], 1), paint)
    caps = []
    for side in (left, right):
        middle = np.broadcast_to(side.mean(0), side.shape)
        fan = np.stack([middle, side[following], side, middle], 1)
        cap = quads(fan if side is left else fan[:, [0, 2, 1, 3]], paint)
        normal = _cross(fan[:, 1] - fan[:, 0], fan[:, 2] - fan[:, 0]) * (1 if side is left else -1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        caps.append(Mesh(cap.vertices, np.repeat(normal, 4, 0), cap.uv, cap.faces[::2]))
    return merge([hull, *caps])


def tube(start: Vector, end: Vector, radius: float, paint: Paint, end_radius=None, sides=8) -> Mesh:
    """A closed cylinder (or cone) of one color from ``start`` to ``end``."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    end_radius = radius if end_radius is None else end_radius
    axis = (last - first) / np.linalg.norm(last - first)
    side = _cross(axis, np.array([1.0, 0, 0] if abs(axis[0]) < 0.7 else [0, 1.0, 0]))
    side /= np.linalg.norm(side)
    wheel, faces = _tube_template(sides)
    around = wheel @ np.stack([side, _cross(axis, side)])
    low, high = first + around * radius, last + around * end_radius
    ends = np.broadcast_to(axis, around.shape)
    uv = np.broadcast_to(np.asarray(paint, float), (4 * sides, 2))
    return Mesh(np.concatenate([low, high, low, high]), np.concatenate([around, around, -ends, ends]), uv, faces)


@lru_cache(maxsize=32)
def _tube_template(sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit circle (sides, 2), and the faces of a tube whose vertices are: low, high, low again, high again."""
    angle = np.arange(sides) / sides * 2 * np.pi
    i, j = np.arange(sides), np.roll(np.arange(sides), -1)
    hull = np.concatenate([np.stack([i, j, j + sides], 1), np.stack([i, j + sides, i + sides], 1)])
    fan = np.stack([np.zeros(sides - 2, int), np.arange(1, sides - 1), np.arange(2, sides)], 1)
    faces = np.concatenate([hull, fan[:, ::-1] + 2 * sides, fan + 3 * sides])
    return np.stack([np.cos(angle), np.sin(angle)], 1), faces


def ring(center: Vector, radius: float, thickness: float, paint: Paint, segments: int = 16) -> Mesh:
    """A torus in the x-z plane (a bicycle's tyre)."""
    a = np.arange(segments) / segments * 2 * np.pi
    b = np.arange(4) / 4 * 2 * np.pi
    out = np.stack([np.cos(a), np.zeros_like(a), np.sin(a)], 1)
    normal = np.cos(b)[None, :, None] * out[:, None] + np.sin(b)[None, :, None] * np.array([0, 1.0, 0])
    vertices = out[:, None] * radius + normal * thickness + np.asarray(center, float)
    return _grid(vertices, normal, paint, wrap=(True, True))


@lru_cache(maxsize=8)
def _icosphere(level: int) -> tuple[np.ndarray, np.ndarray]:
    g = (1 + 5**0.5) / 2
    v: list[tuple[float, float, float]] = [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g)]
    v += [(0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]
    f = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6)]
    f += [(7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10)]
    f += [(8, 6, 7), (9, 8, 1)]
    vertices, faces = [np.array(p) / np.linalg.norm(p) for p in v], f
    for _ in range(level):
        middles: dict[tuple[int, int], int] = {}
        finer: list[tuple[int, int, int]] = []
        for a, b, c in faces:
            m = []
            for p, q in ((a, b), (b, c), (c, a)):
                key = (min(p, q), max(p, q))
                if key not in middles:
                    middles[key] = len(vertices)
                    point = vertices[p] + vertices[q]
                    vertices.append(point / np.linalg.norm(point))
                m.append(middles[key])
            finer += [(a, m[0], m[2]), (b, m[1], m[0]), (c, m[2], m[1]), (m[0], m[1], m[2])]
        faces = finer
    return np.array(vertices), np.array(faces)


def ellipsoid(center: Vector, radii: Vector, paint: Paint, level: int = 1) -> Mesh:
    """A smooth ellipsoid of one color; ``level`` 0, 1, 2 gives 20, 80, 320 faces."""
    sphere, faces = _icosphere(level)
    half_axes = np.asarray(radii, float)
    normals = sphere / half_axes
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    uv = np.broadcast_to(np.asarray(paint, float), (len(sphere), 2))
    return Mesh(sphere * half_axes + np.asarray(center, float), normals, uv, faces)


def blob(center: Vector, radii: Vector, rng: np.random.Generator, roughness: float, repeat: float) -> Mesh:
    """A bumpy ellipsoid (a clump of leaves), its texture repeating every ``1 / repeat`` metres.

    Normals lean outward and up, which shades foliage softly.
    """
    sphere, faces = _icosphere(1)
    bumps = 1 + roughness * rng.uniform(-1, 1, len(sphere))
    offset = sphere * np.asarray(radii, float) * bumps[:, None]
    normals = sphere * (0.7 + 0.6 * bumps[:, None]) + [0, 0, 0.15]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    corner, corner_normal = offset[faces], normals[faces]
    # each triangle projects its texture along its main axis, so there is no pole where the texture is distorted
    flat = np.abs(_cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])).argmax(1)
    keep = np.array([[1, 2], [0, 2], [0, 1]])[flat]
    uv = np.take_along_axis(corner, keep[:, None, :].repeat(3, 1), 2) * repeat + rng.uniform(0, 1, 2)
    return Mesh(
        corner.reshape(-1, 3) + np.asarray(center, float),
        corner_normal.reshape(-1, 3),
        uv.reshape(-1, 2),
        np.arange(len(faces) * 3).reshape(-1, 3),
    )


def loft(
    place: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    stations: np.ndarray,
    profile: np.ndarray,
    repeats: Paint,
    along: float = 0.0,
    caps: bool = False,
) -> Mesh:
    """A cross-section extruded along a path: roads, kerbs, walls, hedges.

    Parameters
    ----------
    place : maps (s, lateral, height) arrays to points (..., 3).
    stations : (S,) values of s, ascending.
    profile : (P,2) of (lateral, height), counter-clockwise seen along the path for an outward surface (that is, from
        the right over the top to the left, lateral growing to the left).
    repeats : texture repeats per metre along the path and along the profile; ``(0, 0)`` with ``along`` unused.
    along : texture offset along the path.
    caps : close both ends (the profile's fan must be star-shaped).
    """
    stations, profile = np.asarray(stations, float), np.asarray(profile, float)
    s = stations[:, None]
    points = place(s, profile[None, :, 0], profile[None, :, 1])
    corners = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], 2).reshape(-1, 4, 3)
    length = np.concatenate([[0], np.linalg.norm(np.diff(profile, axis=0), axis=1).cumsum()])
    u = np.broadcast_to((s + along) * repeats[0], points.shape[:2])
    v = np.broadcast_to(length[None] * repeats[1], points.shape[:2])
    uv = np.stack([u, v], -1)
    uv = np.stack([uv[:-1, :-1], uv[1:, :-1], uv[1:, 1:], uv[:-1, 1:]], 2).reshape(-1, 4, 2)
    parts = [quads(corners, uv)]
    if caps:
        for end, order in ((0, slice(None)), (-1, slice(None, None, -1))):
            rim = np.concatenate([points[end][order], points[end][order][:1]])
            middle = np.broadcast_to(rim.mean(0), (len(rim) - 1, 3))
            fan = np.stack([middle, rim[:-1], rim[1:], middle], 1)
            flat = np.concatenate([profile[order], profile[order][:1]]) * repeats
            center = np.broadcast_to(flat.mean(0), (len(rim) - 1, 2))
            parts.append(_fans(fan, np.stack([center, flat[:-1], flat[1:], center], 1)))
    return merge(parts)


def _fans(corners: np.ndarray, uv: np.ndarray) -> Mesh:
    normal = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    faces = np.arange(len(corners))[:, None] * 4 + [0, 1, 2]
    return Mesh(corners.reshape(-1, 3), np.repeat(normal, 4, 0), uv.reshape(-1, 2), faces)


def _grid(vertices: np.ndarray, normals: np.ndarray, paint: Paint, wrap: tuple[bool, bool]) -> Mesh:
    rows, columns = vertices.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    if wrap[0]:
        index = np.concatenate([index, index[:1]], 0)
    if wrap[1]:
        index = np.concatenate([index, index[:, :1]], 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    uv = np.broadcast_to(np.asarray(paint, float), (rows * columns, 2))
    return Mesh(vertices.reshape(-1, 3), normals.reshape(-1, 3), uv, faces)
