"""Pictures on their way to a network: one factor, square pixels, a camera that stays true."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvps_ros.camera.resizing import PADDING, resize, square_height, to_budget, to_canvas, to_size
from dvps_ros.structures import Intrinsics

BUDGET = 512 * 256
#: Shapes (H, W) of cameras, with fx / fy.
CAMERAS = [((480, 640), 1.0), ((375, 1242), 1.0), ((480, 480), 1.0), ((480, 640), 1.25), ((576, 720), 0.8)]


def camera(size, ratio=1.0, fx=400.0):
    height, width = size
    return Intrinsics(fx, fx / ratio, 0.47 * width, 0.55 * height, width, height)


def with_square(size, ratio=1.0):
    """A black picture with a white square of 96 x 96 mm at 1 m where fx is 1000 pixels, and its corners (u, v)."""
    height, width = size
    across, down = 96, round(96 / ratio)
    left, top = width // 3, height // 4
    image = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    image[..., top : top + down, left : left + across] = 255
    return image, (left, top, across, down)


def moments(picture):
    """Centre (u, v) and widths (x, y) of what is bright in a (H, W) picture."""
    weights = picture.double() / picture.double().sum()
    rows, columns = weights.sum(1), weights.sum(0)
    v, u = torch.arange(len(rows)).double(), torch.arange(len(columns)).double()
    center = float((columns * u).sum()), float((rows * v).sum())
    variance = float((columns * (u - center[0]) ** 2).sum()), float((rows * (v - center[1]) ** 2).sum())
    return center, tuple(math.sqrt(12 * value) for value in variance)


def test_the_models_own_size_stays_as_it_is():
    how = to_budget((256, 512), BUDGET)
    assert (how.scale_x, how.scale_y, how.size, how.extent, how.canvas) == (
        *(1.0, 1.0),
        *((256, 512), (256.0, 512.0), (256, 512)),
    )
    images = torch.randint(256, (1, 3, 256, 512), dtype=torch.uint8)
    assert resize(images, how) is images
    assert to_budget((480, 640)).size == (480, 640)  # no budget: the image's own


def test_sizes_by_hand():
    # the root of 131072 / 307200 is 0.653197: 418.046 x 313.535
    how = to_budget((480, 640), BUDGET)
    assert how.size == (313, 418)
    assert how.scale_x == how.scale_y == pytest.approx(0.6531973, abs=1e-7)
    assert how.extent == pytest.approx((313.5347, 418.0462), abs=1e-4)
    assert to_budget((375, 1242), BUDGET).size == (198, 658)
    assert to_budget((480, 480), BUDGET).size == (362, 362)
    assert to_budget((512, 1024), BUDGET).size == (256, 512)
    assert to_budget((480, 960), BUDGET).size == (256, 512)  # 960 * 8 / 15, whatever floats make of it
    assert to_budget((240, 320), BUDGET).size == (313, 418)  # small pictures grow
    # fx / fy = 1.25: 640 x 600 with square pixels, by the root of 131072 / 384000
    how = to_budget((480, 640), BUDGET, camera((480, 640), 1.25))
    assert how.scale_x == pytest.approx(0.5842374, abs=1e-7)
    assert how.scale_y == pytest.approx(0.5842374 * 1.25, abs=1e-7)
    assert how.size == (350, 373)


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), pixels=st.integers(1024, 2**21))
def test_any_picture_fits_its_budget(height, width, pixels):
    how = to_budget((height, width), pixels)
    assert how.scale_x == how.scale_y > 0
    assert min(how.size) >= 1
    assert max(how.size) <= pixels / 16 + 1  # padding to multiples of 32 does not get out of hand
    if min(how.extent) >= 1:
        assert how.size[0] * how.size[1] <= pixels * (1 + 1e-9)
        assert all(whole <= part + 1e-6 < whole + 1 for whole, part in zip(how.size, how.extent, strict=True))


@pytest.mark.parametrize(("size", "ratio"), CAMERAS)
@pytest.mark.parametrize("canvas", [None, (256, 512), (300, 200)])
def test_a_marked_square_stays_square_and_lies_where_the_camera_says(size, ratio, canvas):
    own = camera(size, ratio)
    how = to_budget(size, BUDGET, own) if canvas is None else to_canvas(size, canvas, own)
    images, (left, top, across, down) = with_square(size, ratio)
    seen = resize(images, how)
    assert tuple(seen.shape[-2:]) == how.canvas
    picture = seen[0, 0, : how.size[0], : how.size[1]]
    center, (wide, high) = moments(picture)
    assert wide == pytest.approx(across * how.scale_x, rel=0.02)
    assert wide / high == pytest.approx(across / down / ratio, rel=0.01)  # the widths of the square's two sides
    after = how.camera(own)
    assert after.fx == pytest.approx(after.fy, rel=1e-9)
    assert (after.height, after.width) == how.size
    # a 3-D point at the square's centre projects to its centre in both pictures
    ray = ((left + (across - 1) / 2 - own.cx) / own.fx, (top + (down - 1) / 2 - own.cy) / own.fy)
    assert center[0] == pytest.approx(ray[0] * after.fx + after.cx, abs=0.05)
    assert center[1] == pytest.approx(ray[1] * after.fy + after.cy, abs=0.05)


def test_a_canvas_is_filled_in_one_direction_and_padded_in_the_other():
    how = to_canvas((480, 640), (256, 512))
    assert (how.size, how.canvas) == ((256, 341), (256, 512))
    assert how.scale_x == how.scale_y == 256 / 480
    for images in (torch.full((1, 3, 480, 640), 200, dtype=torch.uint8), torch.full((1, 3, 480, 640), 200.0)):
        seen = resize(images, how)
        assert seen.dtype == images.dtype
        assert (seen[..., :341] - 200).abs().max() < 1e-3
        assert (seen[0, :, :, 341:].permute(1, 2, 0) == torch.tensor(PADDING)).all()
    assert to_canvas((375, 1242), (256, 512)).size == (154, 512)
    assert to_canvas((256, 512), (256, 512)) == to_budget((256, 512), BUDGET)


def test_a_stretched_size_has_a_factor_for_each_side():
    how = to_size((480, 640), (518, 686))
    assert (how.scale_x, how.scale_y) == (686 / 640, 518 / 480)
    assert resize(torch.zeros(1, 3, 480, 640), how).shape == (1, 3, 518, 686)


def test_calibration_scatter_is_no_other_pixel_shape():
    cityscapes = Intrinsics(2262.52, 2265.3017905988554, 1096.98, 513.137, 2048, 1024)
    assert to_budget((1024, 2048), 0, cityscapes).size == (1024, 2048)
    assert square_height(480, camera((480, 640), 1.019)) == 480
    assert square_height(480, camera((480, 640), 1.021)) == pytest.approx(490.08)
    assert square_height(480, replace(camera((480, 640)), fx=0.0)) == 480  # uncalibrated: nothing is known
    for ratio in (0.2, 5.0):
        with pytest.raises(ValueError, match="differ more than fourfold"):
            to_budget((480, 640), BUDGET, camera((480, 640), ratio))


def test_shrinking_is_antialiased_and_bytes_are_those_of_floats():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 255
    assert (resize(stripes, to_budget((64, 64), 256)).float() - 127.5).abs().max() < 30
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 48, 64), dtype=np.uint8))
    how = to_budget((48, 64), 2000)
    assert (resize(noise, how).float() - resize(noise.float(), how)).abs().max() <= 1.0


def test_exact_factors_are_those_of_a_whole_size_where_there_is_one():
    own = replace(camera((240, 320)), distortion_model="plumb_bob", distortion=(0.1, 0.0, 0.0, 0.0))
    assert own.scaled(0.4, 0.4, 128, 96) == own.resized(128, 96)
