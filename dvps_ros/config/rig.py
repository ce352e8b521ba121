"""How the simulated camera is mounted, where it drives, and its lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class RigConfig:
    """Ranges that each street's camera is drawn from, to stay the same along the street; min equal to max fixes it."""

    min_height: float = option(1.2, "Lowest camera, in metres above the ground under it.", low=0.1, high=5.0)
    max_height: float = option(2.0, "Highest camera, in metres above the ground under it.", low=0.1, high=5.0)
    min_pitch: float = option(-2.0, "Least pitch in degrees; positive looks down.", low=-45.0, high=45.0)
    max_pitch: float = option(6.0, "Most pitch in degrees; positive looks down.", low=-45.0, high=45.0)
    min_roll: float = option(0.0, "Least roll in degrees; positive leans to the right.", low=-45.0, high=45.0)
    max_roll: float = option(0.0, "Most roll in degrees; positive leans to the right.", low=-45.0, high=45.0)
    min_focal: float = option(0.55, "Shortest focal length, in image widths.", low=0.1)
    max_focal: float = option(0.95, "Longest focal length, in image widths.", low=0.1)
    lane: float = option(1.0, "Weight of streets on which the camera drives in a traffic lane.", low=0.0)
    cycle_lane: float = option(0.0, "Weight of streets on which it drives where bicycles do.", low=0.0)
    pavement: float = option(0.0, "Weight of streets on which it drives on a pavement, as a delivery robot.", low=0.0)
    distortion_model: Literal["none", "plumb_bob", "equidistant"] = option(
        "none", "Lens, by sensor_msgs/CameraInfo's names; none: a pinhole."
    )
    distortion: tuple[float, ...] = option(
        (0.0, 0.0, 0.0, 0.0), "Its coefficients: k1 k2 p1 p2 and perhaps k3 of plumb_bob, k1 k2 k3 k4 of equidistant."
    )
    distorted: float = option(
        1.0, "Share of streets whose camera has that lens; the others' is a pinhole.", low=0.0, high=1.0
    )
    min_distortion: float = option(
        1.0, "Each street's lens has the coefficients times a factor between this and 1.", low=0.0, high=1.0
    )


def check_rig(config: RigConfig) -> None:
    """Raise ``ValueError`` where options contradict each other.

    It names a range whose ends are the wrong way round, weights that are all zero, or a wrong number of coefficients.
    """
    for name in ("height", "pitch", "roll", "focal"):
        low, high = getattr(config, f"min_{name}"), getattr(config, f"max_{name}")
        if low > high:
            raise ValueError(f"min_{name} is {low}, must be at most max_{name}, which is {high}")
    if config.lane + config.cycle_lane + config.pavement <= 0:
        raise ValueError("lane, cycle_lane and pavement are all 0; one of them must be above 0")
    lengths = {"none": range(9), "plumb_bob": (4, 5), "equidistant": (4,)}[config.distortion_model]
    if len(config.distortion) not in lengths:
        wanted, count = " or ".join(map(str, lengths)), len(config.distortion)
        raise ValueError(f"distortion has {count} coefficients, {config.distortion_model} takes {wanted}")
