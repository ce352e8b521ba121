"""Messages as no driver should send them, by the thousand: each is converted or refused with one line, and that is all.

Derandomized: a run that fails here fails everywhere.
"""

import resource
from collections import Counter

import numpy as np
import pytest
import slow
import torch
from hypothesis import given
from hypothesis import strategies as st
from malformed_messages import ODD_FORMATS, PICTURES, camera_infos, compressed_images, many, raw_images

from dvps_ros.nodes.messages import image_to_rgb, intrinsics_of
from dvps_ros.scene.rays import unproject

BRIDGE = None
#: More pixels than any message here holds, fewer than many of them claim.
MAX_PIXELS = 10_000
#: Bytes by which the process may grow over all examples; the headers among them claim up to gigabytes.
ROOM = 256 << 20


def peak():
    """Most bytes of memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome(convert):
    """What ``convert`` gives, or the line with which it refuses."""
    try:
        return convert(), ""
    except ValueError as error:
        line = str(error)
        assert line.isprintable(), repr(line)
        assert 0 < len(line) < 1000
        return None, line


def cause(line, causes):
    """The words of ``causes`` that a refusal holds; exactly one of them."""
    [found] = [words for words in causes if words in line]
    return found


#: Bytes per pixel, written down independently of the table under test.
PIXEL = {
    **dict.fromkeys(("rgb8", "bgr8"), 3),
    **dict.fromkeys(("rgba8", "bgra8"), 4),
    **dict.fromkeys(("mono16", "16UC1", "yuv422", "uyvy", "yuv422_yuy2", "yuyv"), 2),
    **dict.fromkeys(("rgb16", "bgr16"), 6),
    **dict.fromkeys(("rgba16", "bgra16"), 8),
    **{f"bayer_{pattern}{bits}": bits // 8 for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)},
    **dict.fromkeys(("mono8", "8UC1"), 1),
}


def is_sound(message):
    """Whether a raw image can be read, by the definition of sensor_msgs/Image."""
    pixel, height, width = PIXEL.get(message.encoding), message.height, message.width
    if pixel is None or not 0 < height * width <= MAX_PIXELS:
        return False
    in_pairs = (width % 2, height % 2 if "bayer" in message.encoding else 0)
    if message.encoding.startswith(("bayer", "yuv", "uyvy", "yuyv")) and any(in_pairs):
        return False
    return message.step >= width * pixel and len(message.data) == height * message.step


def raw_counts(examples):
    """How many raw images were converted, and refused for each cause."""
    seen = Counter()
    causes = ("image encoding", "is empty", "more than max_pixels", "is shorter than", "bytes of data", "come in pairs")

    @many(examples)
    @given(raw_images)
    def convert(message):
        rgb, line = outcome(lambda: image_to_rgb(message, BRIDGE, MAX_PIXELS))
        assert (rgb is not None) == is_sound(message)
        if rgb is None:
            seen[cause(line, causes)] += 1
            return
        seen["converted"] += 1
        assert (rgb.shape, rgb.dtype) == ((message.height, message.width, 3), np.uint8)
        assert rgb.flags.c_contiguous
        if message.encoding == "rgb8":  # no other byte than its own
            rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
            assert np.array_equal(rgb.reshape(message.height, -1), rows[:, : 3 * message.width])

    convert()
    assert set(seen) == {*causes, "converted"}
    return seen


def compressed_counts(examples):
    """How many compressed images were converted, and refused for each cause."""
    seen, whole = Counter(), set(PICTURES)
    causes = ("no data", "neither JPEG nor PNG", "truncated", "empty (", "more than max_pixels", "damaged")
    causes += ("a depth map", "the codec gif", "bayer_rggb")  # a mosaic of other channels, or of odd sides

    @many(examples)
    @given(compressed_images)
    def convert(message):
        rgb, line = outcome(lambda: image_to_rgb(message, BRIDGE, MAX_PIXELS))
        if rgb is None:
            assert message.data.tobytes() not in whole or message.format in ODD_FORMATS
            seen[cause(line.partition("cannot be decoded: ")[2], causes)] += 1
            return
        seen["converted"] += 1
        assert (rgb.ndim, rgb.shape[2], rgb.dtype) == (3, 3, np.uint8)
        assert rgb.shape[0] * rgb.shape[1] <= MAX_PIXELS

    convert()
    assert set(seen) == {*causes, "converted"}
    return seen


@pytest.mark.slow
def test_thousands_of_malformed_images_are_refused_in_one_line_each():
    before = peak()
    raw, compressed = raw_counts(slow.of(9000, 2000)), compressed_counts(slow.of(3800, 1100))
    print(raw, compressed)
    refused = raw.total() + compressed.total() - raw["converted"] - compressed["converted"]
    assert refused >= slow.of(10_000, 2_000)
    assert min([*raw.values(), *compressed.values()]) >= slow.of(50, 10)
    assert min(raw["converted"], compressed["converted"]) >= slow.of(500, 100)
    assert peak() - before < ROOM


def test_any_camera_info_gives_a_usable_camera_or_one_line():
    seen = Counter()
    causes = ("uncalibrated", "not valid", "distortion_model", "distortion coefficients", "the image is", "region of")
    depth = torch.full((8, 16), 3.0)

    @many(1500)
    @given(camera_infos, st.booleans())
    def read(info, rectified):
        camera, line = outcome(lambda: intrinsics_of(info, 16, 8, rectified))
        if camera is None:
            seen[cause(line, causes)] += 1
            return
        seen["a camera"] += 1
        assert (camera.width, camera.height) == (16, 8)
        points = unproject(depth, camera)
        seen["with points"] += bool(points.isfinite().any())
        assert torch.equal(points.isfinite().all(-1), ~points.isnan().any(-1))  # a point or a hole, nothing infinite
        assert ((points[..., 2] == 3.0) | points.isnan().any(-1)).all()

    read()
    print(seen)
    assert set(seen) == {*causes, "a camera", "with points"}
    assert seen["with points"] > 100
