"""Depth edges: no point floats between two surfaces, however a network smears them; surfaces stay whole."""

import math

import pytest
import torch
from torch.nn import functional as F

from dvps_ros.config import StreetConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.clouds import scene_cloud
from dvps_ros.scene.edges import SMEAR, depth_edges
from dvps_ros.simulation import Street, StreetCamera
from dvps_ros.structures import Intrinsics, Scene

CAMERA = Intrinsics(100.0, 100.0, 63.5, 31.5, 128, 64)
WALL, BOX = 20.0, 5.0


def box_before_a_wall():
    depth = torch.full((64, 128), WALL)
    depth[20:44, 40:80] = BOX
    return depth


def smeared(depth, pixels, of_reciprocal=True):
    """The map as a network with ``pixels`` wide edges would see it."""
    values = 1 / depth if of_reciprocal else depth
    before, after = (pixels - 1) // 2, pixels // 2
    values = F.pad(values[None, None], (before, after, before, after), mode="replicate")
    values = F.avg_pool2d(values, pixels, 1)[0, 0]
    return 1 / values if of_reciprocal else values


@pytest.mark.parametrize("of_reciprocal", [True, False], ids=["in 1/depth", "in depth"])
@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 6])
def test_no_point_lies_in_the_gap_between_a_box_and_the_wall_behind_it(pixels, of_reciprocal):
    depth = smeared(box_before_a_wall(), pixels, of_reciprocal)
    scene = Scene(torch.zeros(64, 128, dtype=torch.int32), depth, torch.ones(64, 128))
    image = torch.zeros(64, 128, 3, dtype=torch.uint8)
    cloud = scene_cloud(scene, image, CAMERA, CITYSCAPES, edge_threshold=0.1)
    z = cloud.xyz[:, 2]
    between = (z > 1.1 * BOX) & (z < 0.9 * WALL)
    assert not between.any()
    # both surfaces stay, but for a border as wide as the smear
    border = pixels + 3
    assert (z < 1.1 * BOX).sum() >= (24 - border) * (40 - border)
    assert (z > 0.9 * WALL).sum() >= 64 * 128 - (24 + border) * (40 + border)
    everything = scene_cloud(scene, image, CAMERA, CITYSCAPES).xyz[:, 2]
    assert pixels == 1 or ((everything > 1.1 * BOX) & (everything < 0.9 * WALL)).any()


def test_planes_are_spared_however_steep():
    v, u = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    ground = 1.5 * 100 / (v + 2)  # 75 m to 2.4 m, up to 30 % from row to row
    assert not depth_edges(ground, 0.05).any()
    house_front = 1.0 / (0.02 + 0.004 * u)  # 50 m to 3 m, seen at a grazing angle
    assert not depth_edges(house_front, 0.05).any()


def test_a_jump_is_marked_and_its_surroundings_are_not():
    v, u = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    ground = 1.5 * 100 / (v + 2)
    stepped = torch.where(u < 30, ground, ground / 3)
    stepped[:, 30] = stepped[:, 29:32:2].mean(1)  # a blurred pixel, floating between the two
    edges = depth_edges(stepped, 0.05)
    assert edges[1:-1, 30].all()
    assert not edges[:, :28].any()
    assert not edges[:, 33:].any()


def test_a_thin_pole_keeps_its_middle():
    depth = torch.full((40, 40), 20.0)
    depth[:, 18:23] = 5.0
    edges = depth_edges(depth, 0.1)
    assert edges[:, [17, 18, 22, 23]].all()
    assert not edges[:, 19:22].any()


def test_small_maps_and_pixels_without_depth_make_no_edges():
    for shape in ((1, 1), (1, 2), (2, 5), (3, 3)):
        assert not depth_edges(torch.full(shape, 7.0), 0.1).any()
    depth = torch.full((20, 20), 10.0)
    depth[5, 5], depth[9, 9], depth[12, 3] = 0.0, math.nan, -1.0
    assert not depth_edges(depth, 0.1).any()


@pytest.fixture(scope="module")
def street():
    """The true depth of a simulated street, (H, W), 80 m beyond range."""
    camera = StreetCamera(Street(3, StreetConfig()))
    depth = torch.as_tensor(camera.render(0.0).depth).float()
    camera.close()
    return depth.where((depth > 0) & (depth < 80), 80.0)


@pytest.mark.parametrize("pixels", [3, 5])
def test_few_floating_points_are_left_of_a_smeared_street(street, pixels):
    depth = smeared(street, pixels)
    window = 2 * (pixels // 2) + 1
    around = F.pad(street[None, None], (window // 2,) * 4, mode="replicate").unfold(2, window, 1).unfold(3, window, 1)
    distance = ((around[0, 0].flatten(2) - depth[..., None]).abs() / depth[..., None]).amin(-1)
    seen = depth < 79
    floating, sound = seen & (distance > 0.1), seen & (distance < 0.03)
    edges = depth_edges(depth, 0.1)
    assert floating.sum() > 2000
    assert edges[floating].float().mean() > 0.9
    assert edges[sound].float().mean() < 0.06


def test_the_widest_ramp_is_what_it_says():
    """A ramp as wide as SMEAR is removed in its middle; one twice as wide is taken for a surface."""
    for width, gone in ((SMEAR, True), (4 * SMEAR, False)):
        ramp = torch.linspace(1 / BOX, 1 / WALL, width + 1)
        inverse = torch.cat([ramp[:1].expand(40), ramp, ramp[-1:].expand(40)])
        edges = depth_edges((1 / inverse).expand(30, -1), 0.1)
        assert edges[:, 40 + width // 2].all() == gone


def plain_edges(depth, threshold):
    """``depth_edges`` with every comparison made at every pixel."""
    inverse = (1 / depth).where(depth > 0, math.nan)
    edge = torch.zeros_like(depth, dtype=torch.bool)
    for values, marks in ((inverse, edge), (inverse.T, edge.T)):
        for row in range(1, len(values) - 1):
            before, after = values[row] - values[row - 1], values[row + 1] - values[row]
            limit = values[row] * threshold
            steep = (torch.minimum(before, after) > limit / 3) | (torch.maximum(before, after) < -limit / 3)
            for reach in (SMEAR, -SMEAR):
                if 0 <= row + reach < len(values):
                    bend = (values[row] + values[row + reach] - 2 * values[row + reach // 2]).abs()
                    steep &= ~(bend <= threshold / 2 * values[row])
            marks[row] |= ((after - before).abs() > limit) | steep
    return edge


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("shape", [(40, 50), (2, 30), (9, 2), (3, 3), (1, 1)])
def test_edges_are_those_of_the_plain_form(shape, threshold):
    generator = torch.Generator().manual_seed(2)
    rough = torch.rand(shape, generator=generator) * 10 - 0.5
    smooth = F.interpolate(torch.rand(1, 1, 4, 5, generator=generator), shape, mode="bicubic")[0, 0] * 20
    for depth in (rough, smooth, 1 / smooth, F.interpolate(rough[None, None], shape)[0, 0].T.contiguous()):
        assert torch.equal(depth_edges(depth, threshold), plain_edges(depth, threshold))
