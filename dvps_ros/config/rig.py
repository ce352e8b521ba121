"""Mounting, lane and lens of the simulated camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class RigConfig:
    """Ranges of the camera's properties, drawn once per street; equal minimum and maximum fix a property."""

    min_height: float = option(1.2, "Smallest height above the ground in metres.", low=0.1, high=5.0)
    max_height: float = option(2.0, "Largest height above the ground in metres.", low=0.1, high=5.0)
    min_pitch: float = option(-2.0, "Smallest pitch in degrees; positive looks down.", low=-45.0, high=45.0)
    max_pitch: float = option(6.0, "Largest pitch in degrees; positive looks down.", low=-45.0, high=45.0)
    min_roll: float = option(0.0, "Smallest roll in degrees; positive leans to the right.", low=-45.0, high=45.0)
    max_roll: float = option(0.0, "Largest roll in degrees; positive leans to the right.", low=-45.0, high=45.0)
    min_focal: float = option(0.55, "Shortest focal length, in image widths.", low=0.1)
    max_focal: float = option(0.95, "Longest focal length, in image widths.", low=0.1)
    lane: float = option(1.0, "Weight of streets on which the camera drives in a traffic lane.", low=0.0)
    cycle_lane: float = option(0.0, "Weight of streets on which it drives in a cycle lane.", low=0.0)
    pavement: float = option(0.0, "Weight of streets on which it drives on the pavement, as a delivery robot.", low=0.0)
    distortion_model: Literal["none", "plumb_bob", "equidistant"] = option(
        "none", "Distortion model of the lens, as in sensor_msgs/CameraInfo; none: a pinhole."
    )
    distortion: tuple[float, ...] = option(
        (0.0, 0.0, 0.0, 0.0), "Coefficients: k1 k2 p1 p2 and optionally k3 for plumb_bob, k1 k2 k3 k4 for equidistant."
    )
    distorted: float = option(
        1.0, "Share of streets whose camera has this lens; others have a pinhole.", low=0.0, high=1.0
    )
    min_distortion: float = option(
        1.0, "The coefficients are multiplied by a random factor from this to 1 per street.", low=0.0, high=1.0
    )


def check_rig(config: RigConfig) -> None:
    """Raise ``ValueError`` if options contradict each other.

    The message names an empty range, weights that are all zero, or a wrong number of coefficients.
    """
    for name in ("height", "pitch", "roll", "focal"):
        low, high = getattr(config, f"min_{name}"), getattr(config, f"max_{name}")
        if low > high:
            raise ValueError(f"min_{name} is {low}, must not exceed max_{name}, which is {high}")
    if config.lane + config.cycle_lane + config.pavement <= 0:
        raise ValueError("lane, cycle_lane and pavement are all 0; at least one must be above 0")
    lengths = {"none": range(9), "plumb_bob": (4, 5), "equidistant": (4,)}[config.distortion_model]
    if len(config.distortion) not in lengths:
        wanted, count = " or ".join(map(str, lengths)), len(config.distortion)
        raise ValueError(f"distortion has {count} coefficients, {config.distortion_model} takes {wanted}")
