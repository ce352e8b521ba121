"""The ``format`` of sensor_msgs/CompressedImage, which describes the compressed image.

The definition of the message (sensor_msgs, CompressedImage.msg) gives the pattern of compressed_image_transport,
``ORIG_PIXFMT; CODEC compressed [COMPRESSED_PIXFMT]``. Other formats mean a color or gray JPEG, by its number of
channels. COMPRESSED_PIXFMT is the order of the channels that the encoder received: after ``rgb8``, red and blue are
swapped in the file. Without it the pixels are those of the camera, so a Bayer mosaic is still a mosaic. Publishers
since 2021 write ``mono8`` there for a Bayer camera, whose colors are then lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from dvps_ros.camera.pixel_formats import FORMATS, Pixels, check_pairs

_PATTERN = re.compile(r"\s*(?P<pixels>[^;\s]+)\s*;\s*(?P<codec>\S+)\s+compressed\b\s*(?P<target>.*)", re.IGNORECASE)
_TARGETS = ("", "rgb8", "bgr8", "rgb16", "bgr16", "mono8", "mono16")
#: Codecs of other transports and drivers, which are not supported.
_FOREIGN = frozenset(
    [
        *("tiff", "tif", "webp", "bmp", "gif", "jp2", "jpeg2000", "jxl", "avif", "heic", "zstd", "rvl", "draco"),
        *("h264", "h265", "hevc", "x264", "x265", "avc", "av1", "vp8", "vp9", "theora", "ffmpeg", "mpeg4"),
    ]
)
_ENCODINGS = {name.lower(): name for name in FORMATS}


@dataclass(frozen=True)
class Payload:
    """The content of a CompressedImage by its ``format``.

    Attributes
    ----------
    encoding : the camera's pixel format, a key of ``FORMATS``; empty if unknown.
    target : the pixel format that the encoder received, e.g. ``bgr8``; empty if unknown.
    """

    encoding: str = ""
    target: str = ""

    def pixels(self, values: np.ndarray) -> Pixels:
        """The pixels of a decoded image, (H, W) or (H, W, C) uint8 or uint16 in OpenCV's order (blue first).

        Raises ``ValueError`` if the image contradicts its format.
        """
        channels = 1 if values.ndim == 2 else values.shape[2]
        if values.dtype not in (np.uint8, np.uint16) or channels not in (1, 3, 4):
            raise ValueError(f"pixels of {channels} values of type {values.dtype} are not supported")
        bits = 8 * values.dtype.itemsize
        mosaic = self.encoding.startswith("bayer") and self.target.rstrip("0123456789") != "mono"
        if mosaic and (channels == 1) == self.target.startswith(("rgb", "bgr")):
            raise ValueError(f"the format says {self.encoding}, the picture has {channels} channels")
        if mosaic and channels == 1:
            encoding = f"{self.encoding.rstrip('0123456789')}{bits}"
            check_pairs(encoding, values.shape[1], values.shape[0])
        elif channels == 1:
            encoding = f"mono{bits}"
        else:
            order = "rgb" if self.target.startswith("rgb") else "bgr"
            encoding = f"{order}{'a' * (channels == 4)}{bits}"
        narrowed = bits == 8 and self.encoding in FORMATS and FORMATS[self.encoding].bytes == 2
        return Pixels(values, encoding, narrowed, self._colorless(channels))

    def _colorless(self, channels: int) -> str:
        has_colors = self.encoding.startswith(("bayer", "rgb", "bgr", "yuv", "uyvy", "yuyv"))
        if channels > 1 or not has_colors or not self.target.startswith("mono"):
            return ""
        return f"the publisher converts {self.encoding} to gray before compression"


def read_format(text: str) -> Payload:
    """The content that the ``format`` of a CompressedImage describes; case is ignored.

    Raises ``ValueError`` naming a codec or pixel format that is not supported.
    """
    words = re.split(r"[;,\s]+", text.strip().lower())
    if any(word.startswith("compresseddepth") for word in words):
        raise ValueError("compressedDepth is a depth map, not a picture")
    found = _PATTERN.fullmatch(text)
    codecs = [found["codec"].lower()] if found else words
    if foreign := next((word for word in codecs if word.strip(".") in _FOREIGN), ""):
        raise ValueError(f"the codec {foreign[:40]} is not supported, only jpeg and png")
    if found is None:
        # the pattern does not match; a Bayer mosaic is recognized nevertheless
        named = next((word for word in words if word.startswith("bayer")), "")
        return Payload(_known(named) if named else "")
    target = found["target"].strip().lower()
    if target not in _TARGETS:
        raise ValueError(f"the pixel format {target[:40]!r} after 'compressed' is not one of {', '.join(_TARGETS[1:])}")
    # if the encoder's order is known, the camera's format may be unknown
    return Payload(_ENCODINGS.get(found["pixels"].lower(), "") if target else _known(found["pixels"]), target)


def _known(name: str) -> str:
    encoding = _ENCODINGS.get(name.lower(), "")
    if not encoding:
        raise ValueError(f"the pixel format {name[:40]!r} is not one of {', '.join(FORMATS)}")
    return encoding
