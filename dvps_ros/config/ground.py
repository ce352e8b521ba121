"""How the scale of depth is anchored to the ground, where the camera's height above it is known."""

from __future__ import annotations

from dataclasses import dataclass

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class GroundConfig:
    """The plane through a frame's ground, what makes it worth believing, and how its factor is smoothed in time."""

    points: int = option(512, "At most about this many points of the ground are looked at.", low=16)
    trials: int = option(128, "Random planes that the search for the ground tries.", low=1)
    tolerance: float = option(
        0.05, "A point is on the plane within about this relative error of its depth.", low=1e-3, high=1.0
    )
    min_share: float = option(
        0.02, "Ground that covers a smaller share of the image does not count.", low=0.0, high=1.0
    )
    min_inliers: float = option(
        0.4, "A plane with a smaller share of the ground within twice the tolerance does not count.", low=0.0, high=1.0
    )
    max_tilt: float = option(
        25.0, "A plane tilted more than this against a level camera's up does not count; degrees.", low=0.0, high=90.0
    )
    max_slope: float = option(
        15.0, "A plane tilted more than this against an up that is known does not count; degrees.", low=0.0, high=90.0
    )
    level_pull: float = option(
        1.0, "How strongly a camera of which no up is known is taken as level; 0: not at all.", low=0.0
    )
    level_range: float = option(
        4.0, "That pull fades beyond this tilt, as a camera that looks down is mounted so; degrees.", low=0.1, high=90.0
    )
    min_factor: float = option(0.2, "A smaller factor on depth does not count.", low=0.01, high=1.0)
    max_factor: float = option(5.0, "A larger factor on depth does not count.", low=1.0, high=100.0)
    memory: float = option(5.0, "Seconds over which the factor is averaged; in the beginning, all of them.", low=0.01)
    max_step: float = option(
        0.2, "A frame pulls the factor by its difference, in ln, of at most this (more in the beginning).", low=1e-3
    )
    hold: float = option(10.0, "Seconds for which the factor stays while no ground counts.", low=0.0)
    release: float = option(5.0, "After that the factor goes to 1 with this time constant; seconds.", low=0.01)
    max_gap: float = option(2.0, "Seconds without a frame after which the anchoring starts anew.", low=0.01)
    period: float = option(0.1, "Seconds from frame to frame where images come without stamps.", low=1e-3)
