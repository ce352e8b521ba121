"""What a CompressedImage's format says, and pictures that come out in the colors that went in."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from oriented_jpeg import oriented_jpeg

from dvps_ros.camera.compressed import compressed_pixels
from dvps_ros.camera.pixel_formats import to_rgb
from dvps_ros.camera.transport import Payload, read_format

RED, H, W = (200, 60, 20), 16, 24
BAYER = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}


def encoded(values, suffix):
    options = [cv2.IMWRITE_JPEG_QUALITY, 100] if suffix == ".jpg" else []
    return cv2.imencode(suffix, values, options)[1].tobytes()


def read(format, values, suffix=".jpg", bits=0):
    """RGB at the middle of a picture whose values are handed to the encoder as they are, as image_transport does."""
    message = SimpleNamespace(format=format, data=np.frombuffer(encoded(values, suffix), np.uint8))
    pixels = compressed_pixels(message, 10**6)
    rgb = to_rgb(pixels, bits)
    assert (rgb.shape, rgb.dtype) == ((H, W, 3), np.uint8)
    return rgb[H // 2, W // 2].astype(int)


def wall(color=RED, dtype=np.uint8):
    return np.full((H, W, 3), color, dtype)


def mosaic(pattern, dtype=np.uint8, scale=1):
    """The red wall as a camera with this color filter sees it."""
    color = dict(zip("RGB", RED, strict=True))
    cell = np.array([color[letter] for letter in BAYER[pattern]], dtype).reshape(2, 2)
    return np.tile(cell, (H // 2, W // 2)) * dtype(scale)


@pytest.mark.parametrize(
    "format",
    [
        *("", "jpeg", "jpg", "JPEG", ".jpg", "image/jpeg", "png", "nonsense", "bgr8", "rgb8", "jpeg; rgb8"),
        *(
            "bgr8; jpeg compressed bgr8",
            "rgb8; jpeg compressed bgr8",
            "RGB8; JPEG compressed BGR8",
            "rgb8;jpeg compressed",
        ),
        *(
            "rgba8; png compressed bgr8",
            "yuv422; jpeg compressed bgr8",
            "8UC3; jpeg compressed bgr8",
            "nv12; jpeg compressed bgr8",
        ),
        *("bayer_rggb8; jpeg compressed bgr8", "mono8; jpeg compressed mono8"),  # whatever it was, it has colors now
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_color_picture(format, suffix):
    assert np.abs(read(format, wall(RED[::-1]), suffix) - RED).max() <= 3


@pytest.mark.parametrize(
    "format", ["rgb8; png compressed rgb8", "bgr8; jpeg compressed rgb8", "rgb16; png compressed rgb16"]
)
def test_channels_handed_over_red_first_have_changed_places_in_the_file(format):
    assert np.abs(read(format, wall(RED), ".png") - RED).max() <= 1


@pytest.mark.parametrize("pattern", BAYER)
@pytest.mark.parametrize(
    "text", ["bayer_{}8; jpeg compressed ", "bayer_{}8; png compressed", "BAYER_{}8; JPEG compressed", "bayer_{}8"]
)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_bayer_mosaic_is_demosaiced(pattern, text, suffix):
    assert np.abs(read(text.format(pattern), mosaic(pattern), suffix) - RED).max() <= 4


@pytest.mark.parametrize("pattern", BAYER)
def test_a_bayer_mosaic_of_sixteen_bits(pattern):
    assert np.abs(read(f"bayer_{pattern}16; png compressed ", mosaic(pattern, np.uint16, 257), ".png") - RED).max() <= 1
    twelve = read(f"bayer_{pattern}16; png compressed ", mosaic(pattern, np.uint16, 16), ".png", bits=12)
    assert np.abs(twelve - RED).max() <= 1  # 200 * 16 of 4095 is 199.3 of 255
    # image_transport's JPEG keeps the upper eight bits
    assert np.abs(read(f"bayer_{pattern}16; jpeg compressed ", mosaic(pattern), ".jpg") - RED).max() <= 4


def test_gray_pictures_stay_gray():
    gray = np.full((H, W), 90, np.uint8)
    for format in (
        "mono8; jpeg compressed mono8",
        "mono8; png compressed ",
        "8UC1; png compressed",
        "jpeg",
        "mono16; jpeg compressed mono8",
    ):
        assert np.abs(read(format, gray) - 90).max() <= 1
    assert np.array_equal(read("mono16; png compressed ", gray.astype(np.uint16) * 257, ".png"), (90, 90, 90))
    assert np.array_equal(read("16UC1; png compressed ", gray.astype(np.uint16) * 257, ".png"), (90, 90, 90))


def test_colors_that_the_publisher_has_thrown_away_are_told():
    data = np.frombuffer(encoded(np.full((H, W), 90, np.uint8), ".jpg"), np.uint8)
    lost = compressed_pixels(SimpleNamespace(format="bayer_rggb8; jpeg compressed mono8", data=data), 10**6)
    assert lost.encoding == "mono8"
    assert lost.colorless == "the publisher converts bayer_rggb8 to gray before compression"
    kept = compressed_pixels(SimpleNamespace(format="mono8; jpeg compressed mono8", data=data), 10**6)
    assert kept.colorless == ""


def test_twelve_bits_narrowed_to_a_jpeg_get_their_brightness_back():
    # 3000 of 4095; the publisher keeps 3000 * 255 / 65535 = 11.67 -> 12, which stands for 12 * 257 / 4095 of white
    gray = np.full((H, W), 12, np.uint8)
    assert np.abs(read("mono16; jpeg compressed mono8", gray, bits=12) - 192).max() <= 16
    assert np.abs(read("mono8; jpeg compressed mono8", gray, bits=12) - 12).max() <= 1  # 8 bits are what they are


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ("16UC1; compressedDepth png", "compressedDepth is a depth map, not a picture"),
        ("32FC1; compressedDepth rvl", "a depth map"),
        ("16UC1; compressedDepth", "a depth map"),
        ("h264", "the codec h264 is not supported"),
        ("H265", "the codec h265"),
        ("theora", "the codec theora"),
        ("bgr8; tiff compressed ", "the codec tiff"),
        ("zstd", "the codec zstd"),
        ("webp", "the codec webp"),
        ("ffmpeg; hevc", "the codec ffmpeg"),
        ("bayer_rggb12; jpeg compressed ", "the pixel format 'bayer_rggb12' is not one of"),
        ("bayer_rggb10p", "the pixel format 'bayer_rggb10p'"),
        ("8UC3; jpeg compressed ", "the pixel format '8UC3'"),
        ("32FC1; png compressed ", "the pixel format '32FC1'"),
        ("rgb8; jpeg compressed yuv444", "the pixel format 'yuv444' after 'compressed'"),
        ("bayer_rggb8; jpeg compressed ", "the format says bayer_rggb8, the picture has 3 channels"),
    ],
)
def test_what_is_not_read_is_refused_by_name(format, words):
    with pytest.raises(ValueError, match=r"^compressed image \('") as error:
        read(format, wall())
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mosaic_cannot_be_cut_apart_nor_be_the_gray_half_of_a_color_picture():
    with pytest.raises(ValueError, match="bayer_rggb8 cannot be 23x16: pixels come in pairs"):
        read_format("bayer_rggb8; jpeg compressed ").pixels(np.zeros((16, 23), np.uint8))
    with pytest.raises(ValueError, match="the picture has 1 channels"):
        read_format("bayer_rggb8; jpeg compressed bgr8").pixels(np.zeros((16, 24), np.uint8))
    with pytest.raises(ValueError, match="float32 are not supported"):
        Payload().pixels(np.zeros((16, 24), np.float32))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_an_orientation_is_ignored_for_camera_info_is_the_sensor_s(orientation):
    picture = np.full((H, W, 3), 90, np.uint8)
    picture[: H // 2] = (20, 60, 220)
    data = np.frombuffer(oriented_jpeg(picture, orientation), np.uint8)
    turned = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert turned.shape != picture.shape or np.abs(turned[2, 2] - 90).max() < 20
    rgb = to_rgb(compressed_pixels(SimpleNamespace(format="jpeg", data=data), 10**6))
    assert rgb.shape == (H, W, 3)
    assert np.abs(rgb[2, 2].astype(int) - (20, 60, 220)).max() < 20
