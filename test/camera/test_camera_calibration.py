"""A camera_info as a camera: K or P, rotation, names of rectified topics, and what contradicts itself."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from dvps_ros.camera.calibration import content, contradiction, image_size, intrinsics_of, is_rectified

IDENTITY = np.eye(3).reshape(-1)
TURNED = np.array([0.9998, 0.0, 0.02, 0.0, 1.0, 0.0, -0.02, 0.0, 0.9998])


def info(
    k=(500, 500, 319.5, 239.5), p=None, d=(0.0,) * 5, r=IDENTITY, model="plumb_bob", size=(640, 480), roi=(0,) * 4
):
    """A camera_info whose P is K unless given; roi is x, y, width, height."""
    p = k if p is None else p
    return SimpleNamespace(
        width=size[0],
        height=size[1],
        distortion_model=model,
        d=np.array(d, float),
        k=np.array([k[0], 0, k[2], 0, k[1], k[3], 0, 0, 1.0]),
        r=np.array(r, float),
        p=np.array([p[0], 0, p[2], 0, 0, p[1], p[3], 0, 0, 0, 1.0, 0]),
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3], do_rectify=False),
    )


OTHER, LENS = (400, 410, 300, 200), (-0.3, 0.1, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("message", "rectified", "fx", "distorted"),
    [
        (info(p=OTHER), False, 400, False),  # interface: D zero, R the identity: P
        (info(p=OTHER, d=()), False, 400, False),
        (info(p=OTHER, r=np.zeros(9)), False, 400, False),  # R not filled in
        (info(p=OTHER, r=TURNED), False, 500, False),  # the picture is not turned by R: K
        (info(p=OTHER, r=TURNED), True, 400, False),
        (info(p=OTHER, d=LENS), False, 500, True),
        (info(p=OTHER, d=LENS), True, 400, False),
        (info(p=(0, 0, 0, 0), d=LENS), True, 500, False),
        (info(p=(0, 0, 0, 0)), False, 500, False),
    ],
)
def test_k_or_p(message, rectified, fx, distorted):
    camera = intrinsics_of(message, 640, 480, rectified)
    assert camera.fx == fx
    assert bool(camera.distortion_model) == distorted


def test_do_rectify_does_not_mean_that_the_picture_is_rectified():
    message = info(p=OTHER, d=LENS, roi=(10, 20, 320, 240))
    message.roi.do_rectify = True
    camera = intrinsics_of(message, 320, 240)
    assert (camera.fx, camera.cx, camera.cy, camera.distortion) == (500, 309.5, 219.5, LENS)


def test_a_rectified_window_lies_in_p():
    camera = intrinsics_of(info(p=OTHER, d=LENS, roi=(10, 20, 320, 240)), 320, 240, rectified=True)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (400, 410, 290, 180)


@pytest.mark.parametrize(("roi", "binning"), [((10, 20, 203, 79), 4), ((0,) * 4, 3)])
def test_binning_divides_by_its_number_whatever_is_left_over(roi, binning):
    """The pixels at the right and bottom that fill no bin are left out; those that are there do not become wider."""
    message = info(roi=roi)
    message.binning_x, message.binning_y = binning, 1
    camera = intrinsics_of(message, (roi[2] or 640) // binning, roi[3] or 480)
    assert (camera.fx, camera.fy) == (pytest.approx(500 / binning), 500)
    assert camera.cx == pytest.approx((319.5 - roi[0] + 0.5) / binning - 0.5)


def test_image_size_is_the_window_after_binning():
    message = info(roi=(100, 40, 401, 200))
    assert image_size(message) == (401, 200)
    message.binning_x = message.binning_y = 2
    assert image_size(message) == (200, 100)
    assert image_size(info()) == (640, 480)


@pytest.mark.parametrize(
    "topic",
    [
        *(
            "/cam/image_rect",
            "/cam/image_rect_color",
            "/cam/image_rect/compressed",
            "image_rect",
            "/left/image_rect_raw",
        ),
        *("/zed/rgb/color/rect/image", "/cam/rgb_rectified", "/cam/rectified/image", "/CAM/Image_Rect"),
    ],
)
def test_topics_of_rectified_images(topic):
    assert is_rectified(topic)


@pytest.mark.parametrize(
    "topic",
    [
        *(
            "/cam/image_raw",
            "/cam/image",
            "image",
            "/cam/image_color/compressed",
            "/rectangle/image",
            "/cam/unrect/image",
        ),
        *("/rectify_node/image", "/rect/image_raw", "/cam/directory/image", "/cam/image_corrected"),
    ],
)
def test_topics_of_other_images(topic):
    assert not is_rectified(topic)


@pytest.mark.parametrize(
    ("message", "rectified"),
    [
        (info(), False),
        (info(p=(504, 496, 322, 237)), False),  # within one percent
        (info(p=(0, 0, 0, 0)), False),
        (info(p=(300, 300, 250, 200), d=LENS), False),  # undistorting changes P
        (info(p=(300, 300, 250, 200), d=LENS), True),
        (info(p=(700, 700, 400, 240), r=TURNED), False),  # a stereo camera's
        (info(p=(150, 150, 320, 240), d=(0.1, 0.01, 0, 0), model="equidistant"), False),
    ],
)
def test_cameras_that_do_not_contradict_themselves(message, rectified):
    intrinsics_of(message, 640, 480, rectified)
    assert contradiction(message, rectified) == ""


@pytest.mark.parametrize(
    ("message", "rectified", "words"),
    [
        (
            info(p=(400, 400, 319.5, 239.5)),
            False,
            "without any distortion (fx 500 and 400, fy 500 and 400, .*): P is used",
        ),
        (info(p=(500, 500, 300, 239.5)), False, "cx 319.5 and 300"),
        # one of both was not scaled with the picture
        (
            info(k=(250, 250, 160, 120), p=(500, 500, 320, 240), size=(320, 240), d=LENS),
            False,
            "one camera and size .* K is used",
        ),
        (info(k=(500, 500, 320, 240), p=(250, 250, 160, 120), size=(640, 480), d=LENS), False, "one camera and size"),
        (info(p=(100, 100, 320, 240), d=LENS), True, "one camera and size .* P is used"),
        (info(p=(500, 500, 700, 240), r=TURNED), False, "one camera and size"),
        (info(p=(0, 0, 0, 0), d=LENS), True, "no P, which rectified images need: K is used"),
        (info(d=(0.0,) * 4, model="equidistant"), False, "equidistant with D all zero"),
        (info(k=(500, 0, 320, 240), p=(500, 500, 320, 240)), False, "fy 0 and 500"),
    ],
)
def test_cameras_that_contradict_themselves(message, rectified, words):
    intrinsics_of(message, *image_size(message), rectified)
    line = contradiction(message, rectified)
    assert re.search(words.replace("(", r"\(").replace(")", r"\)"), line), line
    assert "\n" not in line


def test_content_tells_every_change():
    nan = info(d=(float("nan"),) * 5)
    assert content(nan) == content(info(d=(float("nan"),) * 5))
    changes = [info(roi=(1, 0, 320, 240)), info(p=OTHER), info(r=TURNED), info(d=LENS), info(size=(640, 481))]
    changes.append(info())
    changes[-1].binning_y = 2
    changes.append(info())
    changes[-1].roi.do_rectify = True
    assert len({content(message) for message in (info(), *changes)}) == len(changes) + 1


@pytest.mark.parametrize("k", [(500, 40, 319.5, 239.5), (100, 500, 319.5, 239.5)])
def test_focal_lengths_that_differ_more_than_fourfold_are_a_mistake(k):
    with pytest.raises(ValueError, match="camera_info is not valid: fx"):
        intrinsics_of(info(k=k), 640, 480)
    assert intrinsics_of(info(k=(500, 200, 319.5, 239.5)), 640, 480).fy == 200
