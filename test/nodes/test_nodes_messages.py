"""Images and cameras: messages to arrays, and the one line that every fault becomes."""

import array

import cv2
import numpy as np
import pytest
from malformed_messages import claiming
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from dvps_ros.nodes.messages import image_to_rgb, info_of, intrinsics_of
from dvps_ros.structures import Intrinsics

BRIDGE, LIMIT = None, 1 << 24
RED, GREEN, BLUE = (200, 30, 60), (40, 180, 20), (10, 70, 220)


def message(values, encoding, padding=0, big=False):
    """An Image of an array, each row followed by ``padding`` bytes of rubbish."""
    values = np.ascontiguousarray(values)
    height, width = values.shape[:2]
    rows = values.astype(values.dtype.newbyteorder(">" if big else "<")).view(np.uint8).reshape(height, -1)
    rows = np.concatenate([rows, np.full((height, padding), 0xA5, np.uint8)], 1)
    result = Image(height=height, width=width, encoding=encoding, step=rows.shape[1], is_bigendian=int(big))
    result.data = array.array("B", rows.tobytes())
    return result


def picture(height=6, width=8):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(("encoding", "order"), [("rgb8", (0, 1, 2)), ("bgr8", (2, 1, 0))])
def test_three_channels(encoding, order, padding):
    rgb = picture()
    assert np.array_equal(image_to_rgb(message(rgb[..., order], encoding, padding), BRIDGE, LIMIT), rgb)


@pytest.mark.parametrize(("encoding", "order"), [("rgba8", (0, 1, 2)), ("bgra8", (2, 1, 0))])
def test_alpha_is_dropped(encoding, order):
    rgb = picture()
    values = np.concatenate([rgb[..., order], np.full((6, 8, 1), 7, np.uint8)], -1)
    assert np.array_equal(image_to_rgb(message(values, encoding, 3), BRIDGE, LIMIT), rgb)


def test_gray_becomes_three_equal_channels():
    gray = picture()[..., 0]
    assert np.array_equal(image_to_rgb(message(gray, "mono8", 1), BRIDGE, LIMIT), np.stack([gray] * 3, -1))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_sixteen_bits_in_both_byte_orders(big, padding):
    gray = np.array([[0, 257, 65535], [256, 128 * 257, 65279]], np.uint16)
    rgb = image_to_rgb(message(gray, "mono16", padding, big), BRIDGE, LIMIT)
    assert np.array_equal(rgb[..., 0], np.array([[0, 1, 255], [1, 128, 254]], np.uint8))
    assert np.array_equal(rgb[..., 0], rgb[..., 2])


PATTERNS = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_bayer_mosaic_of_one_color_gives_that_color(pattern, bits):
    color = dict(zip("RGB", RED, strict=True))
    cell = np.array([color[c] for c in PATTERNS[pattern]]).reshape(2, 2)
    mosaic = np.tile(cell, (4, 5)).astype(np.uint8)
    values = mosaic if bits == 8 else mosaic.astype(np.uint16) * 257
    rgb = image_to_rgb(message(values, f"bayer_{pattern}{bits}"), BRIDGE, LIMIT)
    assert rgb.shape == (8, 10, 3)
    assert np.array_equal(rgb[2:-2, 2:-2], np.broadcast_to(RED, (4, 6, 3)))


@pytest.mark.parametrize("color", [RED, GREEN, BLUE, (128, 128, 128)])
@pytest.mark.parametrize(("encoding", "order"), [("yuv422", "UYVY"), ("uyvy", "UYVY"), ("yuv422_yuy2", "YUYV")])
def test_yuv_of_one_color_gives_that_color(encoding, order, color):
    red, green, blue = color  # BT.601, video range
    y = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    u, v = 128 - 0.148 * red - 0.291 * green + 0.439 * blue, 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    quartet = [{"Y": y, "U": u, "V": v}[c] for c in order]
    values = np.tile(np.round(quartet).astype(np.uint8).reshape(2, 2), (4, 3, 1)).reshape(4, 6, 2)
    rgb = image_to_rgb(message(values, encoding, 4), BRIDGE, LIMIT)
    assert np.abs(rgb.astype(int) - color).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed(suffix):
    rgb = np.full((16, 24, 3), RED, np.uint8)
    data = cv2.imencode(suffix, rgb[..., ::-1])[1]
    compressed = CompressedImage(format=suffix[1:], data=array.array("B", data.tobytes()))
    assert np.abs(image_to_rgb(compressed, BRIDGE, LIMIT).astype(int) - rgb).max() <= 3


@pytest.mark.parametrize("data", [b"", b"not a picture", bytes(100), cv2.imencode(".png", picture())[1].tobytes()[:40]])
def test_broken_compressed_image_is_one_line(data):
    with pytest.raises(ValueError, match=r"^compressed image[^\n]*cannot be decoded[^\n]*$"):
        image_to_rgb(CompressedImage(format="png", data=array.array("B", data)), BRIDGE, LIMIT)


def gray_in_sixteen_bits():
    return np.full((16, 24), 40000, np.uint16)


@pytest.mark.parametrize(
    ("data", "color"),
    [
        (cv2.imencode(".png", gray_in_sixteen_bits())[1].tobytes(), (156, 156, 156)),
        (cv2.imencode(".jpg", np.full((16, 24), 77, np.uint8))[1].tobytes(), (77, 77, 77)),
        (cv2.imencode(".png", np.full((16, 24, 4), (*RED[::-1], 9), np.uint8))[1].tobytes(), RED),
        (cv2.imencode(".jpg", np.full((16, 24, 3), RED[::-1], np.uint8))[1].tobytes() + bytes(70), RED),
    ],
    ids=["16 bit", "gray jpeg", "alpha", "padded jpeg"],
)
@pytest.mark.parametrize("format", ["jpeg", "png", "nonsense", "bgr8; jpeg compressed bgr8"])
def test_compressed_of_any_depth_whatever_its_format_says(data, color, format):
    rgb = image_to_rgb(CompressedImage(format=format, data=array.array("B", data)), BRIDGE, LIMIT)
    assert rgb.shape == (16, 24, 3)
    assert np.abs(rgb.astype(int) - color).max() <= 3


def test_an_orientation_in_the_picture_does_not_turn_it_away_from_its_camera_info():
    jpeg = cv2.imencode(".jpg", np.zeros((16, 24, 3), np.uint8))[1].tobytes()
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (24, 16, 3)
    assert image_to_rgb(CompressedImage(data=array.array("B", turned)), BRIDGE, LIMIT).shape == (16, 24, 3)


def bomb():
    """A sound PNG of 40 kB that decodes to 144 MB."""
    return cv2.imencode(".png", np.zeros((12000, 12000), np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


@pytest.mark.parametrize(
    "data",
    [
        claiming(cv2.imencode(".png", picture())[1].tobytes(), 60000, 60000),
        claiming(cv2.imencode(".png", picture())[1].tobytes(), 30000, 30000),  # less than OpenCV's own limit
        claiming(cv2.imencode(".jpg", picture())[1].tobytes(), 65535, 65535),
        bomb(),
    ],
    ids=["png 60000", "png 30000", "jpeg", "sound png"],
)
def test_a_bomb_is_refused_before_it_is_decoded(data, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"^compressed image [^\n]* has more than max_pixels = \d+ pixels$"):
        image_to_rgb(CompressedImage(format="png", data=array.array("B", data)), BRIDGE, LIMIT)


def test_a_flipped_bit_in_a_png_s_chunk_length_allocates_nothing(monkeypatch):
    data = bytearray(cv2.imencode(".png", picture())[1].tobytes())
    data[data.index(b"IDAT") - 4] ^= 0x40  # the chunk is a gigabyte longer now
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="truncated"):
        image_to_rgb(CompressedImage(format="png", data=array.array("B", data)), BRIDGE, LIMIT)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_torn_compressed_image_is_never_half_a_picture(suffix):
    data = cv2.imencode(suffix, picture(64, 64))[1].tobytes()
    for length in range(0, len(data), 7):
        with pytest.raises(ValueError, match=r"no data|neither JPEG nor PNG|truncated"):
            image_to_rgb(CompressedImage(format="png", data=array.array("B", data[:length])), BRIDGE, LIMIT)


def changed(**fields):
    result = message(picture(), "rgb8")
    for name, value in fields.items():
        setattr(result, name, value)
    return result


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoding": "rgb9"}, "encoding 'rgb9'"),
        ({"encoding": ""}, "encoding ''"),
        ({"width": 0}, "empty"),
        ({"height": 0}, "empty"),
        ({"step": 23}, "step 23 is shorter"),
        ({"data": array.array("B")}, "0 bytes of data, not 144"),
        ({"data": array.array("B", bytes(143))}, "143 bytes of data"),
        ({"data": array.array("B", bytes(145))}, "145 bytes of data"),
        ({"width": 2**31, "height": 2**31, "step": 2**32 - 1}, "max_pixels"),
        ({"encoding": "bayer_rggb8", "width": 7}, "pairs"),
        ({"encoding": "yuv422", "width": 7}, "pairs"),
    ],
)
def test_malformed_image_is_one_line(fields, words):
    with pytest.raises(ValueError, match=words) as caught:
        image_to_rgb(changed(**fields), BRIDGE, LIMIT)
    assert "\n" not in str(caught.value)


# --- cameras ---------------------------------------------------------------------------------------------------------


def camera_info(**fields):
    result = info_of(Intrinsics(500.0, 510.0, 319.5, 239.5, 640, 480))
    for name, value in fields.items():
        setattr(result, name, value)
    return result


def test_round_trip():
    camera = Intrinsics(500.0, 510.0, 310.0, 230.0, 640, 480, "plumb_bob", (-0.2, 0.05, 0.001, 0.002, 0.0))
    assert intrinsics_of(info_of(camera), 640, 480) == camera


def test_undistorted_is_read_through_p_and_distorted_through_k():
    p = [400.0, 0.0, 300.0, 0.0, 0.0, 410.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    straight = intrinsics_of(camera_info(p=p), 640, 480)
    assert (straight.fx, straight.fy, straight.cx, straight.cy) == (400.0, 410.0, 300.0, 200.0)
    bent = camera_info(p=p, d=[-0.1, 0.0, 0.0, 0.0, 0.0])
    assert intrinsics_of(bent, 640, 480).fx == 500.0
    assert intrinsics_of(bent, 640, 480).distortion_model == "plumb_bob"
    said = intrinsics_of(bent, 640, 480, rectified=True)
    assert (said.fx, said.distortion_model, said.distortion) == (400.0, "", ())


def test_k_where_p_is_empty():
    assert intrinsics_of(camera_info(p=[0.0] * 12), 640, 480).fy == 510.0


def test_region_of_interest_and_binning():
    info = camera_info()
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 400, 200
    info.binning_x, info.binning_y = 2, 2
    camera = intrinsics_of(info, 200, 100)
    assert (camera.width, camera.height, camera.fx, camera.fy) == (200, 100, 250.0, 255.0)
    # the sensor's column 319.5 is the window's 219.5, the border between two binned columns' halves
    assert (camera.cx, camera.cy) == pytest.approx(((219.5 + 0.5) / 2 - 0.5, (199.5 + 0.5) / 2 - 0.5))


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (CameraInfo(width=640, height=480), "uncalibrated"),
        (camera_info(k=[0.0] * 9), "uncalibrated"),  # though P is filled in
        (camera_info(k=[float("nan")] * 9, p=[0.0] * 12), "not valid"),
        (camera_info(d=[0.1] * 5, distortion_model="fisheye62"), "fisheye62"),
        (camera_info(d=[0.1, 0.2], distortion_model="plumb_bob"), "2 distortion coefficients"),
        (camera_info(d=[0.1] * 9, distortion_model="plumb_bob"), "9 distortion coefficients"),
        (camera_info(width=320, height=240), "320x240, the image is 640x480"),
        (camera_info(p=[1e300, *[0.0] * 4, 1e300, *[0.0] * 6]), "not valid: fx 1e\\+300"),
        (camera_info(k=[0.4, 0.0, 0.5, 0.0, 0.4, 0.5, 0.0, 0.0, 1.0], p=[0.0] * 12), "not valid: fx 0.4"),
        (
            camera_info(roi=RegionOfInterest(x_offset=1, width=640, height=480)),
            r"640x480 at \(1, 0\), leaves its 640x480",
        ),
    ],
)
def test_unusable_camera_is_one_line(info, words):
    with pytest.raises(ValueError, match=words) as caught:
        intrinsics_of(info, 640, 480)
    assert "\n" not in str(caught.value)
