"""Meshes are closed and face outwards: their signed volume is the solid's."""

import numpy as np
import pytest

from dvps_ros.simulation.paths import Path
from dvps_ros.simulation.shapes import blob, box, ellipsoid, loft, merge, prism, quads, ring, tube

PAINT = (0.5, 0.5)


def volume(mesh):
    """Signed volume of a closed mesh whose faces are counter-clockwise seen from outside."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return np.einsum("ij,ij->", a, np.cross(b, c)) / 6


def polygon_area(sides, radius):
    return sides / 2 * radius**2 * np.sin(2 * np.pi / sides)


def test_box_volume():
    assert volume(box((3, -2, 1), (2, 3, 4), PAINT)) == pytest.approx(24)


def test_tapered_box_volume_is_the_frustum_of_a_pyramid():
    assert volume(box((0, 0, 0), (2, 2, 3), PAINT, taper=0.5)) == pytest.approx(3 / 3 * (4 + 1 + 2))


@pytest.mark.parametrize("reverse", [False, True])
def test_prism_volume_either_way_round(reverse):
    outline = np.array([[0, 0], [4, 0], [3, 2], [1, 2]])  # a trapezium of area 6
    assert volume(prism(outline[::-1] if reverse else outline, 1.5, PAINT)) == pytest.approx(18)


def test_tube_volume_at_any_angle():
    start, end = np.array([1.0, 2, 3]), np.array([2.0, -1, 5])
    expected = polygon_area(10, 0.4) * np.linalg.norm(end - start)
    assert volume(tube(start, end, 0.4, PAINT, sides=10)) == pytest.approx(expected)


def test_round_shapes_approach_their_volumes():
    assert volume(ellipsoid((1, 1, 1), (1, 2, 3), PAINT, level=2)) == pytest.approx(4 / 3 * np.pi * 6, rel=0.05)
    torus = 2 * np.pi * 0.3 * polygon_area(4, 0.03)
    assert volume(ring((0, 0, 0), 0.3, 0.03, PAINT, segments=64)) == pytest.approx(torus, rel=0.01)
    rng = np.random.default_rng(0)
    assert volume(blob((0, 0, 0), (1, 1, 1), rng, 0.0, 1.0)) == pytest.approx(4 / 3 * np.pi, rel=0.15)


def test_capped_loft_along_a_bend_has_the_volume_of_its_section():
    bend = Path(-10, np.full(121, 1 / 60.0))
    wall = [[-0.2, 0], [-0.2, 2.5], [0.2, 2.5], [0.2, 0]]  # open below, like every wall on the ground
    mesh = loft(bend.place, bend.stations(0, 30, 0.5), wall, (1, 1), caps=True)
    assert volume(mesh) == pytest.approx(0.4 * 2.5 * 30, rel=0.01)  # the missing bottom lies in z = 0: no volume


def test_normals_agree_with_the_faces():
    rng = np.random.default_rng(1)
    solids = [
        box((1, 2, 3), (1, 2, 1), PAINT),
        tube((0, 0, 0), (0, 1, 1), 0.5, PAINT),
        ellipsoid((2, 0, 0), (1, 2, 1), PAINT),
    ]
    solids += [prism(np.array([[0, 0], [2, 0], [1, 1]]), 0.5, PAINT), blob((0, 0, 0), (1, 1, 1), rng, 0.1, 1.0)]
    for mesh in [
        *solids,
        merge(solids),
        solids[0].mirrored(),
        solids[1].moved(1, 2, 3, yaw=1.0),
        solids[0].turned(0, 0.7),
    ]:
        a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
        flat = np.cross(b - a, c - a)
        assert (np.einsum("fi,fi->f", flat, mesh.normals[mesh.faces].mean(1)) > 0).all()
        assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1)


def test_merge_keeps_each_part_in_place():
    one, two = box((0, 0, 0), (1, 1, 1), PAINT), box((5, 0, 0), (1, 2, 1), PAINT)
    both = merge([one, two])
    assert volume(both) == pytest.approx(3)
    assert both.faces.max() == len(both.vertices) - 1


def test_quads_point_where_they_are_seen_counter_clockwise():
    mesh = quads([[[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]], PAINT)
    assert np.allclose(mesh.normals, [0, 0, 1])


def test_path_straight_and_beyond_its_ends():
    path = Path(-5, np.zeros(21), origin=(1, 2), heading=np.pi / 2)
    assert np.allclose(path.place([0, 3, 40, -30], 1.0, 0.5), [[0, 2, 0.5], [0, 5, 0.5], [0, 42, 0.5], [0, -28, 0.5]])


def test_path_with_constant_curvature_is_a_circle():
    radius = 50.0
    path = Path(0, np.full(101, 1 / radius))
    s = np.linspace(0, 100, 37)
    points = path.place(s, 4.0)
    assert np.allclose(np.hypot(points[:, 0], points[:, 1] - radius), radius - 4, atol=0.02)
    assert np.allclose(path.heading(s), s / radius)
