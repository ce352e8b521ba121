"""The lens against the package's own camera model (dvps_ros.scene.rays) and against geometry worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from yard import ROAD, Yard, truth

from dvps_ros.config import StreetConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.scene.rays import project, rays, unproject
from dvps_ros.simulation.camera import StreetCamera
from dvps_ros.simulation.lens import Lens, LensMap
from dvps_ros.structures import Intrinsics

LENSES = {
    "barrel": (Lens("plumb_bob", (-0.28, 0.09, 0.001, -0.002)), 0.55),
    "pincushion": (Lens("plumb_bob", (0.15, 0.05, 0.0, 0.001, 0.01)), 0.7),
    "fisheye": (Lens("equidistant", (0.02, -0.01, 0.002, 0.0)), 0.42),
    "very wide": (Lens("equidistant", (0.0, 0.0, 0.0, 0.0)), 0.3),
}
WIDTH, HEIGHT = 256, 128


def camera_of(lens, focal):
    f = focal * WIDTH
    return Intrinsics(f, f, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT, lens.model, lens.coefficients)


@pytest.mark.parametrize("name", LENSES)
def test_directions_are_those_of_the_camera_model(name):
    lens, focal = LENSES[name]
    camera = camera_of(lens, focal)
    ours, model = lens.directions(camera), rays(camera).numpy()[..., :2]
    seen = ~np.isnan(ours[..., 0])
    assert seen.mean() > (0.6 if name == "very wide" else 0.97)
    radius = np.hypot(*np.moveaxis(model, -1, 0))
    assert (seen == (radius < 5)).mean() > 0.999
    assert np.abs((ours - model)[seen]).max() * camera.fx < 0.01 * (
        1 + radius[seen].max() ** 2
    )  # pixels of the pinhole
    points = torch.from_numpy(np.concatenate([ours, np.ones((HEIGHT, WIDTH, 1))], -1))[torch.from_numpy(seen)]
    v, u = np.nonzero(seen)
    assert np.abs(project(points, camera).numpy() - np.stack([u, v], -1)).max() < 0.01


def test_beyond_the_fold_the_lens_shows_nothing():
    lens = Lens(
        "plumb_bob", (-0.6, 0.0, 0.0, 0.0)
    )  # r - 0.6 r^3 turns back at r = 0.745, where the image ends at 0.497
    camera = replace(camera_of(lens, 0.5), distortion=lens.coefficients)
    seen = ~np.isnan(lens.directions(camera)[..., 0])
    u, v = np.meshgrid(np.arange(WIDTH) - camera.cx, np.arange(HEIGHT) - camera.cy)
    radius = np.hypot(u, v) / camera.fx
    assert seen[radius < 0.49].all()
    assert not seen[radius > 0.4975].any()


@pytest.fixture(scope="module", params=LENSES)
def view(request):
    """A frame of the yard through a lens, and what geometry says of each pixel that the lens shows."""
    lens, focal = LENSES[request.param]
    config = StreetConfig(width=WIDTH, height=HEIGHT)
    yard = Yard(config=config, rig=replace(Yard().rig, focal=focal, lens=lens, roll=np.radians(3.0)))
    with StreetCamera(yard) as camera:
        frame, k = camera.render(2.0), camera.intrinsics
    return yard, frame, k, *truth(yard, 2.0, rays(k).numpy()[..., :2].astype(float))


def test_the_frame_tells_its_lens(view):
    yard, frame, k, *_ = view
    assert frame.intrinsics == k
    assert (k.distortion_model, k.distortion) == (yard.rig.lens.model, yard.rig.lens.coefficients)
    assert (frame.rgb.shape, frame.depth.shape, frame.panoptic.shape) == ((128, 256, 3), (128, 256), (128, 256))
    assert (frame.rgb.dtype, frame.depth.dtype, frame.panoptic.dtype) == (np.uint8, np.float32, np.int32)


def test_labels_and_depth_agree_with_planes_and_boxes(view):
    yard, frame, *_, depth, labels = view
    seen = ~frame.blind
    same = frame.panoptic == labels
    assert same[seen].mean() > 0.99  # the nearest of the pinhole's pixels: half a pixel off at edges
    near = seen & same & (depth < yard.config.max_depth) & (frame.depth > 0)
    assert near.sum() > 0.35 * depth.size
    error = np.abs(frame.depth[near] / depth[near] - 1)
    assert np.median(error) < 0.0005
    assert np.quantile(error, 0.95) < 0.003
    # next to edges the nearest pixel stands in, up to half a diagonal away: 1 / depth of the ground differs by at most
    # 1 / (height * focal length) from one pixel to the next
    ground = near & (labels == ROAD)
    shift = np.abs(1 / frame.depth[ground] - 1 / depth[ground]) * frame.height * frame.intrinsics.fx
    assert shift.max() < 0.75


def test_unproject_then_project_returns_the_pixel(view):
    _, frame, k, *_ = view
    depth = torch.from_numpy(frame.depth)
    pixels = project(unproject(depth, k), k)
    v, u = torch.meshgrid(torch.arange(k.height), torch.arange(k.width), indexing="ij")
    known = depth > 0
    assert (pixels[known] - torch.stack([u, v], -1)[known]).abs().max() < 0.01


def test_ground_lies_at_the_cameras_height(view):
    _, frame, k, *_, labels = view
    road = (frame.panoptic == ROAD) & (labels == ROAD) & (frame.depth > 0) & (frame.depth < 20)
    below = -(unproject(torch.from_numpy(frame.depth), k).numpy()[road] @ frame.up)
    assert np.quantile(np.abs(below / frame.height - 1), 0.99) < 0.01


def test_where_the_lens_shows_nothing(view):
    _, frame, k, *_ = view
    blind = frame.blind
    assert (blind == ~(np.hypot(*np.moveaxis(rays(k).numpy()[..., :2], -1, 0)) < 5)).mean() > 0.999
    assert (frame.rgb[blind] == 0).all()
    assert (frame.depth[blind] == 0).all()
    assert (frame.panoptic[blind] == VOID).all()
    assert (np.isnan(frame.ranges) == blind).all()
    sky = ~blind & (frame.panoptic == CITYSCAPES.index("sky") * 1000)
    assert sky.any()
    assert np.isposinf(frame.ranges[sky]).all()


def test_straight_lines_bend_as_the_lens_says():
    """A picture of a ramp along x becomes the x of each pixel's direction."""
    lens, focal = LENSES["barrel"]
    camera = camera_of(lens, focal)
    warp = LensMap(lens, camera)
    x = (np.arange(warp.pinhole.width) - warp.pinhole.cx) / warp.pinhole.fx
    ramp = np.broadcast_to((128 + 100 * x)[None, :, None], (warp.pinhole.height, warp.pinhole.width, 3))
    picture = warp.picture(np.rint(ramp).astype(np.uint8))
    inside = ~warp.blind
    expected = 128 + 100 * lens.directions(camera)[..., 0]
    assert np.abs(picture[..., 0][inside] - expected[inside]).max() < 1.6


def test_a_lens_that_shows_no_pixel_is_refused():
    with pytest.raises(ValueError, match="shows no pixel"):
        LensMap(Lens("plumb_bob", (-1e6, 0.0, 0.0, 0.0)), replace(camera_of(LENSES["barrel"][0], 0.5), cx=-0.5))


def test_a_lens_without_coefficients_is_a_pinhole():
    config = StreetConfig(distortion_model="plumb_bob")
    assert Lens.of(config, 1.0) == Lens()
    scaled = Lens.of(replace(config, distortion=(-0.2, 0.1, 0.0, 0.0)), 0.5)
    assert scaled == Lens("plumb_bob", (-0.1, 0.05, 0.0, 0.0))
    assert Lens.of(replace(config, distortion_model="equidistant"), 0.5).model == "equidistant"
