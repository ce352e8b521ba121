"""A camera, and a picture that it took."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with optional lens distortion.

    Attributes
    ----------
    fx, fy, cx, cy : focal lengths and principal point in pixels of a ``width`` x ``height`` image.
    distortion_model : ``""`` (none) or the names of sensor_msgs/CameraInfo: ``plumb_bob``, ``rational_polynomial``,
        ``equidistant``.
    distortion : the model's coefficients in CameraInfo's order, empty when undistorted.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion_model: str = ""
    distortion: tuple[float, ...] = ()

    @property
    def valid(self) -> bool:
        """False for an uncalibrated camera (CameraInfo says so by K[0] == 0) or a NaN anywhere."""
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        return bool(np.isfinite(values).all()) and self.fx > 0 and self.fy > 0

    @property
    def distorted(self) -> bool:
        """Whether the lens has distortion: a coefficient is not 0, or the model is a fisheye's, whatever they are."""
        return self.distortion_model == "equidistant" or any(self.distortion)

    def resized(self, width: int, height: int) -> Intrinsics:
        """The same camera after its image was resized to ``width`` x ``height`` pixels."""
        return self.scaled(width / self.width, height / self.height, width, height)

    def scaled(self, scale_x: float, scale_y: float, width: int, height: int) -> Intrinsics:
        """The same camera after its image was resized by these factors; ``width`` x ``height`` pixels of it are whole.

        Fractions of a pixel at the right and bottom are left out.
        """
        return replace(
            self,
            fx=self.fx * scale_x,
            fy=self.fy * scale_y,
            cx=(self.cx + 0.5) * scale_x - 0.5,
            cy=(self.cy + 0.5) * scale_y - 0.5,
            width=width,
            height=height,
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """The same camera after a crop whose top left pixel was (``left``, ``top``)."""
        return replace(self, cx=self.cx - left, cy=self.cy - top, width=width, height=height)

    def flipped(self) -> Intrinsics:
        """The camera that would have taken the left-right mirrored image."""
        distortion = list(self.distortion)
        if self.distortion_model in ("plumb_bob", "rational_polynomial") and len(distortion) > 3:
            distortion[3] = -distortion[3]  # p2, the only coefficient that is odd in x
        return replace(self, cx=self.width - 1 - self.cx, distortion=tuple(distortion))


@dataclass(frozen=True)
class CameraFrame:
    """One camera image with its intrinsics.

    Attributes
    ----------
    image : (H, W, 3) uint8 RGB.
    intrinsics : the camera, or None when unknown.
    stamp : acquisition time in nanoseconds.
    frame_id : name of the optical frame (REP 103).
    """

    image: np.ndarray
    intrinsics: Intrinsics | None = None
    stamp: int = 0
    frame_id: str = ""
