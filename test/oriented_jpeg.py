"""JPEG files with an orientation in their EXIF data."""

import cv2
import numpy as np


def oriented_jpeg(rgb: np.ndarray, orientation: int) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG that says how it is to be turned (EXIF 2.3, tag 0x0112; 6: a quarter right)."""
    jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + orientation.to_bytes(2, "little") + bytes(6)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
