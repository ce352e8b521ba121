"""Raw pixels of sixteen bits: colors, gray and mosaics, at the depth that the camera has."""

from types import SimpleNamespace

import numpy as np
import pytest

from dvps_ros.camera.pixel_formats import FORMATS, MAYBE_DEPTH, raw_pixels, to_rgb

COLOR = (3200, 960, 320)  # of 4095


def message(values, encoding, big=False):
    values = np.ascontiguousarray(values)
    data = values.astype(values.dtype.newbyteorder(">" if big else "<")).view(np.uint8).reshape(-1)
    height, width = values.shape[:2]
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=int(big), step=data.size // height, data=data
    )


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16"])
def test_colors_of_sixteen_bits(encoding, big):
    order = COLOR if encoding.startswith("rgb") else COLOR[::-1]
    values = np.full((4, 6, len(encoding) - 2), 7, np.uint16)
    values[..., :3] = order
    pixels = raw_pixels(message(values, encoding, big), 1000)
    assert pixels.wide
    assert np.array_equal(to_rgb(pixels)[0, 0], np.rint(np.array(COLOR) * 255 / 65535))
    assert np.array_equal(to_rgb(pixels, 12)[0, 0], np.rint(np.array(COLOR) * 255 / 4095))
    assert np.array_equal(to_rgb(pixels, 10)[0, 0], (255, 239, 80))  # what exceeds 1023 is white


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GBRG", "GRBG"])
def test_mosaics_of_twelve_bits(pattern):
    cell = np.array([dict(zip("RGB", COLOR, strict=True))[letter] for letter in pattern], np.uint16).reshape(2, 2)
    rgb = to_rgb(raw_pixels(message(np.tile(cell, (4, 5)), f"bayer_{pattern.lower()}16"), 1000), 12)
    assert np.array_equal(rgb[4, 4], np.rint(np.array(COLOR) * 255 / 4095))


@pytest.mark.parametrize("encoding", MAYBE_DEPTH)
def test_gray_of_every_depth(encoding):
    for bits in (10, 12, 14, 16):
        white = (1 << bits) - 1
        pixels = raw_pixels(message(np.array([[0, white // 2, white]], np.uint16), encoding), 1000)
        assert np.array_equal(to_rgb(pixels, bits)[0, :, 1], (0, 127, 255))
        assert np.array_equal(to_rgb(pixels, 0), to_rgb(pixels, 16))


def test_eight_bits_are_what_they_are():
    for encoding, layout in FORMATS.items():
        if layout.bytes == 1:
            values = np.random.default_rng(0).integers(0, 256, (4, 6, layout.channels), np.uint8)
            pixels = raw_pixels(message(values, encoding), 1000)
            assert not pixels.wide
            assert np.array_equal(to_rgb(pixels, 12), to_rgb(pixels))
