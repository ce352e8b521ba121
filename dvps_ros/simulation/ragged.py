"""Trees and bushes with irregular outlines: bare or leafy branches, leaves as small cards."""

from __future__ import annotations

import numpy as np

from dvps_ros.simulation.plants import Tree
from dvps_ros.simulation.shapes import Mesh, Paint, blob, merge

#: Corners of a branch's triangular cross-section.
_AROUND = np.array([[1.0, 0.0], [-0.5, 0.866], [-0.5, -0.866]])


def ragged_tree(rng: np.random.Generator, bark: Paint) -> Tree:
    """A tree of branches, every third one bare; ``bark`` is the wood's palette point."""
    height = rng.uniform(5.0, 12.0)
    spread = rng.uniform(0.35, 0.9)
    starts, ends, radii = _branches(rng, height, spread)
    wood = branches(starts, ends, radii, bark)
    tips = ends[len(ends) // 3 :]
    radius = float(np.linalg.norm(tips[:, :2], axis=1).max()) + 0.3
    if rng.uniform() < 0.33:
        return Tree(None, wood, radius)
    count = int(rng.integers(180, 420))
    size = rng.uniform(0.35, 0.8)
    middles = tips[rng.integers(len(tips), size=count)] + rng.normal(0, 0.45, (count, 3))
    crown = tips.mean(0)
    parts = [cards(rng, middles, size, crown)]
    for tip in tips[rng.integers(len(tips), size=int(rng.integers(0, 7)))]:  # fill the crown
        r = rng.uniform(0.5, 1.1)
        parts.append(blob(tip + (crown - tip) * 0.4, (r, r, 0.8 * r), rng, 0.35, 0.5))
    return Tree(merge(parts), wood, radius)


def ragged_bush(rng: np.random.Generator) -> Mesh:
    """A bush of leaves, standing on the ground."""
    radius, height = rng.uniform(0.4, 1.1), rng.uniform(0.6, 1.8)
    count = int(rng.integers(50, 120))
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    middles = direction * rng.uniform(0.5, 1.0, (count, 1)) * [radius, radius, height / 2] + [0, 0, height * 0.52]
    core = blob((0, 0, height * 0.45), (0.7 * radius, 0.7 * radius, 0.42 * height), rng, 0.3, 0.6)
    return merge([core, cards(rng, middles, rng.uniform(0.2, 0.45), np.array([0, 0, height / 2]))])


def cards(rng: np.random.Generator, middles: np.ndarray, size: float, center: np.ndarray) -> Mesh:
    """Leaves: two-sided triangles and squares of about ``size`` metres around ``middles`` (N, 3), lit from outside."""
    count = len(middles)
    first, second = rng.normal(size=(2, count, 3))
    second -= first * (first * second).sum(1, keepdims=True) / (first * first).sum(1, keepdims=True)
    first, second = (
        part / np.linalg.norm(part, axis=1, keepdims=True) * size * rng.uniform(0.3, 0.7, (count, 1))
        for part in (first, second)
    )
    corners = np.stack([middles - first, middles - second * 0.7, middles + first, middles + second], 1)
    uv = np.array([[0, 0], [size, 0], [size, size], [0, size]]) * 0.5 + rng.uniform(0, 1, (count, 1, 2))
    outward = middles - center
    outward = outward / (np.linalg.norm(outward, axis=1, keepdims=True) + 1e-9) + [0, 0, 0.3]
    normals = (outward / np.linalg.norm(outward, axis=1, keepdims=True))[:, None].repeat(4, 1)
    base = np.arange(count)[:, None, None] * 4
    faces = base + np.array([[0, 1, 2], [0, 2, 3], [0, 2, 1], [0, 3, 2]])
    return Mesh(corners.reshape(-1, 3), normals.reshape(-1, 3), uv.reshape(-1, 2), faces.reshape(-1, 3))


def branches(starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, paint: Paint) -> Mesh:
    """Three-sided cones of one color from ``starts`` to ``ends`` (N, 3), with ``radii`` (N, 2) at both ends."""
    axis = ends - starts
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    aside = np.cross(axis, np.where(np.abs(axis[:, :1]) < 0.7, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    frame = np.stack([aside, np.cross(axis, aside)], 1)  # (N, 2, 3)
    around = _AROUND @ frame  # (N, 3, 3)
    rings = [point[:, None] + around * radii[:, k, None, None] for k, point in enumerate((starts, ends))]
    vertices = np.concatenate(rings, 1)  # (N, 6, 3)
    i, j = np.arange(3), np.array([1, 2, 0])
    hull = np.concatenate([np.stack([i, j, j + 3], 1), np.stack([i, j + 3, i + 3], 1)])
    faces = np.arange(len(starts))[:, None, None] * 6 + hull
    normals = np.concatenate([around, around], 1)
    uv = np.broadcast_to(np.asarray(paint, float), (len(starts) * 6, 2))
    return Mesh(vertices.reshape(-1, 3), normals.reshape(-1, 3), uv, faces.reshape(-1, 3))


def _branches(rng: np.random.Generator, height: float, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends (N, 3) and radii (N, 2) of a trunk, its boughs, their branches and twigs, in this order."""
    trunk = height * rng.uniform(0.22, 0.4)
    thick = 0.09 + 0.014 * height
    starts, ends = [np.array([0, 0, -0.1])], [np.array([*rng.normal(0, 0.05, 2), trunk])]
    radii = [(1.25 * thick, 0.75 * thick)]
    level = [(ends[0], np.array([0, 0, 1.0]), 0.75 * thick)]
    length = (height - trunk) * 0.5
    for children in (5, 3, 3):
        following = []
        for point, direction, radius in level:
            for _ in range(children):
                turn = direction + rng.normal(0, spread, 3) + [0, 0, 0.25]
                turn /= np.linalg.norm(turn)
                start = point - direction * length * rng.uniform(0, 0.3) if len(starts) > 1 else point
                end = start + turn * length * rng.uniform(0.7, 1.2)
                starts.append(start)
                ends.append(end)
                radii.append((radius * 0.62, radius * 0.32))
                following.append((end, turn, radius * 0.45))
        level, length = following, length * 0.62
    return np.array(starts), np.array(ends), np.array(radii)
