"""Hypothesis strategies for image and camera_info messages as no driver should send them, small and quick to draw."""

import array
import base64
import struct
import zlib

import cv2
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from dvps_ros.camera.pixel_formats import FORMATS

#: Most bytes of a raw image's data; sizes may claim any number.
MOST_BYTES = 4096
NOISE = np.random.default_rng(5).integers(0, 256, MOST_BYTES, np.uint8).tobytes()

NO_ENCODINGS = [
    *("", " ", "rgb", "RGB8", "rgb8 ", "rgb8\n", "rgb16", "8UC3", "32FC1", "mono", "nv21", "jpeg", "bayer_rggb"),
    *("%s%n%d", "../../etc/passwd", "a\nb\r\nc", "x" * 5000, "\x1b[31m", "\x00", "rgb8\x00", "\u202e", "图像😀"),
]
SIDES = [0, 1, 2, 3, 4, 6, 8, 9, 16, 31, 64, 255, 4096, 2**16, 2**31 - 1, 2**31, 2**32 - 1]
LIKELY_SIDES = [1, 2, 4, 6, 8, 9, 16, 31]


def many(count):
    """Settings for ``count`` examples, the same ones every time."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink)
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )


def raw_image(encoding, size, steps, amount, big):
    """An Image that claims ``size``; its step and amount of data are what they should be, or changed."""
    height, width = size
    layout = FORMATS.get(encoding)
    pixel = layout.channels * layout.bytes if layout else 3
    step = _changed(width * pixel, steps) & 0xFFFFFFFF
    data = NOISE[: min(max(_changed(step * height, amount), 0), MOST_BYTES)]
    message = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=big)
    message.data = array.array("B", data)
    return message


def _changed(value, change):
    kind, number = change
    return {"as it should be": value, "off by": value + number, "instead": number, "times": value * number}[kind]


_CHANGES = st.one_of(
    st.just(("as it should be", 0)),
    st.tuples(st.just("off by"), st.integers(-9, 40)),
    st.tuples(st.just("instead"), st.sampled_from([0, 1, 7, 100, 65535, 2**31, 2**32 - 1]) | st.integers(0, 300)),
    st.tuples(st.just("times"), st.integers(0, 3)),
)
_FITTING = st.just(("as it should be", 0))

#: Raw images, about a third of which are sound.
raw_images = st.builds(
    raw_image,
    st.sampled_from(list(FORMATS)) | st.sampled_from([*FORMATS, *NO_ENCODINGS]),
    st.one_of(
        st.tuples(st.sampled_from(LIKELY_SIDES), st.sampled_from(LIKELY_SIDES)),
        st.tuples(st.sampled_from(SIDES), st.sampled_from(SIDES)),
    ),
    _FITTING | _CHANGES,
    _FITTING | _CHANGES,
    st.integers(0, 255),
)


def _pictures():
    rgb = np.random.default_rng(6).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    gray16 = rgb[..., 0].astype(np.uint16) * 257
    alpha = np.concatenate([rgb, rgb[..., :1]], -1)
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    sources = [
        *((".jpg", rgb, []), (".jpg", rgb[..., 0], []), (".jpg", rgb, progressive)),
        *((".png", rgb, []), (".png", rgb[..., 0], []), (".png", gray16, []), (".png", alpha, [])),
    ]
    cmyk = base64.b64decode(
        "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAQCwwODAoQDg0OEhEQExgoGhgWFhgxIyUdKDozPTw5Mzg3QEhcTkBEV0U3OFBtUVdfYmdoZz5NcXlw"
        "ZHhcZWdj/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAAG/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAA4EQwBN"
        "AFkASwAAPwC7TSxXoA//2Q=="
    )
    return [*(cv2.imencode(suffix, values, options)[1].tobytes() for suffix, values, options in sources), cmyk]


PICTURES = _pictures()
#: What is in the messages of compressedDepth, and other files that a decoder would open.
NO_PICTURES = [
    *(b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"not a picture", bytes(100), NOISE[:200]),
    *(bytes(12) + PICTURES[3], b"GIF89a" + bytes(50), b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(30)),
    *(cv2.imencode(suffix, np.zeros((8, 8, 3), np.uint8))[1].tobytes() for suffix in (".bmp", ".tiff", ".ppm")),
]


def claiming(data, width, height):
    """The bytes of a PNG or JPEG whose header claims another size."""
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + data[at + 9 :]


def compressed_image(format, data):
    """A CompressedImage of some bytes."""
    message = CompressedImage(format=format)
    message.data = array.array("B", data)
    return message


def _flipped(data, where, bits):
    position = where % len(data)
    return data[:position] + bytes([data[position] ^ bits]) + data[position + 1 :]


_whole = st.sampled_from(PICTURES)
_BOMBS = st.sampled_from([1, 9, 4096, 30000, 60000, 65535, 2**31 - 1, 2**32 - 1, 0])
#: Formats that turn away pictures which other formats let in.
ODD_FORMATS = ["16UC1; compressedDepth", "gif\n", "bayer_rggb8; jpeg compressed "]
_FORMATS = st.sampled_from(["jpeg", "png", "", "rgb8; jpeg compressed bgr8", "😀" * 30, *ODD_FORMATS])

#: Compressed images, about a third of which are sound.
compressed_images = st.builds(
    compressed_image,
    _FORMATS,
    st.one_of(
        _whole,
        st.builds(lambda data, zeros: data + bytes(zeros), _whole, st.integers(0, 50)),
        st.sampled_from(NO_PICTURES),
        st.builds(lambda data, where: data[: where % len(data)], _whole, st.integers(0, 2000)),
        st.builds(_flipped, _whole, st.integers(0, 2000), st.integers(1, 255)),
        st.builds(claiming, _whole, _BOMBS, _BOMBS),
        st.builds(lambda start, end: NOISE[start : start + end], st.integers(0, 3000), st.integers(0, 900)),
    ),
)

_NUMBERS = st.sampled_from([0.0, -1.0, 1e-300, 1.0, 400.0, -400.0, 1e5, 1e7, 1e300, float("inf"), float("nan")])
_COUNTS = st.sampled_from([0, 1, 2, 3, 8, 16, 17, 2**31, 2**32 - 1])


def _info(size, models, k, p, roi, binning):
    message = CameraInfo(width=size[0], height=size[1], distortion_model=models[0], d=models[1])
    message.k = [k[0], 0.0, k[2], 0.0, k[1], k[3], 0.0, 0.0, 1.0]
    message.p = [p[0], 0.0, p[2], 0.0, 0.0, p[1], p[3], 0.0, 0.0, 0.0, 1.0, 0.0]
    message.roi = RegionOfInterest(x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3])
    message.binning_x, message.binning_y = binning
    return message


_likely_numbers = st.just(12.5) | _NUMBERS
_camera = st.tuples(_likely_numbers, _likely_numbers, _likely_numbers, _likely_numbers)

#: camera_info messages for an image of 16 x 8 pixels, some of which are sound.
camera_infos = st.builds(
    _info,
    st.one_of(st.just((16, 8)), st.sampled_from([(0, 0), (8, 16), (32, 16), (2**32 - 1, 2**32 - 1)])),
    st.tuples(
        st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant", "", "fisheye62", "\n", "x" * 3000]),
        st.one_of(
            st.sampled_from([[], [0.0] * 4, [0.0] * 5, [0.0] * 14, [-0.2, 0.05, 0.0, 0.001], [0.1] * 5, [0.01] * 8]),
            st.lists(_NUMBERS, max_size=9),
        ),
    ),
    st.just((12.5, 12.5, 8.0, 4.0)) | _camera,
    st.just((0.0, 0.0, 0.0, 0.0)) | st.just((12.5, 12.5, 8.0, 4.0)) | _camera,
    st.one_of(st.just((0, 0, 0, 0)), st.just((8, 4, 16, 8)), st.tuples(_COUNTS, _COUNTS, _COUNTS, _COUNTS)),
    st.one_of(st.just((0, 0)), st.just((1, 1)), st.tuples(_COUNTS, _COUNTS)),
)
