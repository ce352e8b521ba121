"""What the ``format`` of sensor_msgs/CompressedImage says of the picture inside.

The message's own definition (sensor_msgs, CompressedImage.msg) gives the pattern of compressed_image_transport,
``ORIG_PIXFMT; CODEC compressed [COMPRESSED_PIXFMT]``; what does not follow it is a color or gray JPEG, by its number of
channels. COMPRESSED_PIXFMT is the order in which the channels were handed to the encoder: after ``rgb8`` red and blue
have changed places in the file. Without it the pixels are the camera's own, so that a Bayer mosaic still is one;
publishers since 2021 write ``mono8`` there for a Bayer camera, whose colors are lost then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from dvps_ros.camera.pixel_formats import FORMATS, Pixels, check_pairs

_PATTERN = re.compile(r"\s*(?P<pixels>[^;\s]+)\s*;\s*(?P<codec>\S+)\s+compressed\b\s*(?P<target>.*)", re.IGNORECASE)
_TARGETS = ("", "rgb8", "bgr8", "rgb16", "bgr16", "mono8", "mono16")
#: Codecs that other transports and drivers write here, none of which is read.
_FOREIGN = frozenset(
    [
        *("tiff", "tif", "webp", "bmp", "gif", "jp2", "jpeg2000", "jxl", "avif", "heic", "zstd", "rvl", "draco"),
        *("h264", "h265", "hevc", "x264", "x265", "avc", "av1", "vp8", "vp9", "theora", "ffmpeg", "mpeg4"),
    ]
)
_ENCODINGS = {name.lower(): name for name in FORMATS}


@dataclass(frozen=True)
class Payload:
    """What a picture inside a CompressedImage is said to be.

    Attributes
    ----------
    encoding : the camera's pixel format, a key of ``FORMATS``; empty where it is not said.
    target : the pixel format that was handed to the encoder, e.g. ``bgr8``; empty where it is not said.
    """

    encoding: str = ""
    target: str = ""

    def pixels(self, values: np.ndarray) -> Pixels:
        """A decoded picture, (H, W) or (H, W, C) uint8 or uint16 in the order of OpenCV (blue first), as pixels.

        Raises ``ValueError`` where the picture contradicts what is said of it.
        """
        channels = 1 if values.ndim == 2 else values.shape[2]
        if values.dtype not in (np.uint8, np.uint16) or channels not in (1, 3, 4):
            raise ValueError(f"pixels of {channels} values of type {values.dtype} are no picture")
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
        return f"the publisher has made gray pictures of {self.encoding} before compressing them"


def read_format(text: str) -> Payload:
    """What the ``format`` of a CompressedImage says; upper and lower case are the same.

    Raises ``ValueError`` naming a codec or pixel format that cannot be read.
    """
    words = re.split(r"[;,\s]+", text.strip().lower())
    if any(word.startswith("compresseddepth") for word in words):
        raise ValueError("a depth map (compressedDepth) is no picture")
    found = _PATTERN.fullmatch(text)
    codecs = [found["codec"].lower()] if found else words
    if foreign := next((word for word in codecs if word.strip(".") in _FOREIGN), ""):
        raise ValueError(f"the codec {foreign[:40]} is not read, only jpeg and png")
    if found is None:
        # the definition's "does not correspond to the above pattern"; but a mosaic is one wherever it is named
        named = next((word for word in words if word.startswith("bayer")), "")
        return Payload(_known(named) if named else "")
    target = found["target"].strip().lower()
    if target not in _TARGETS:
        raise ValueError(f"the pixel format {target[:40]!r} after 'compressed' is not one of {', '.join(_TARGETS[1:])}")
    # where the encoder's order is told, the camera's own format need not be known
    return Payload(_ENCODINGS.get(found["pixels"].lower(), "") if target else _known(found["pixels"]), target)


def _known(name: str) -> str:
    encoding = _ENCODINGS.get(name.lower(), "")
    if not encoding:
        raise ValueError(f"the pixel format {name[:40]!r} is not one of {', '.join(FORMATS)}")
    return encoding
