"""Warnings about a stream of images, each of which can be decoded."""

from __future__ import annotations

from dvps_ros.camera.pixel_formats import FULL, Pixels, white_of

#: Number of images that are examined before a warning about their bits.
FRAMES = 30
#: Usual numbers of significant bits in 16-bit values.
USUAL_BITS = (10, 12, 14)


class StreamWatch:
    """Examines the first images of a stream and gives each warning once."""

    def __init__(self) -> None:
        self._bits = 0
        self._count = self._highest = 0
        self._colorless = ""

    def add(self, pixels: Pixels, bits: int) -> list[str]:
        """Examine an image that is converted with ``bits``; returns new warnings, one line each."""
        found = []
        if pixels.colorless != self._colorless:
            self._colorless = pixels.colorless
            found += [pixels.colorless] if pixels.colorless else []
        if bits != self._bits:
            self._bits, self._count, self._highest = bits, 0, 0
        if pixels.wide and self._count < FRAMES:
            self._count += 1
            self._highest = max(self._highest, _highest(pixels))
            if self._count == FRAMES:
                found += self._on_bits()
        return found

    def end(self) -> list[str]:
        """The remaining warnings for a stream that ended before ``FRAMES`` images."""
        return self._on_bits() if 0 < self._count < FRAMES else []

    def _on_bits(self) -> list[str]:
        white, seen = white_of(self._bits), f"{self._count} pictures of 16-bit values reach {self._highest} at most"
        if self._highest > white:
            return [f"{seen}, with bits {self._bits}: what exceeds {white} is cut off"]
        guess = next((bits for bits in USUAL_BITS if self._highest <= white_of(bits)), None)
        if self._bits or guess is None:
            return []
        return [f"{seen} of {FULL}, which makes them dark: if the camera gives {guess} bits, set bits to {guess}"]


def _highest(pixels: Pixels) -> int:
    """The largest value of an image; after narrowing to 8 bits, the smallest value that it may have had."""
    highest = int(pixels.values.max())
    return max(highest * 257 - 128, 0) if pixels.narrowed else highest
