"""Scale of depth from the ground, for a camera with known height above it."""

from __future__ import annotations

from dataclasses import dataclass

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class GroundConfig:
    """Fit of the ground plane, limits of valid planes, and average of the scale factor over time."""

    points: int = option(512, "Approximate maximum number of ground points used in the fit.", low=16)
    trials: int = option(128, "Number of random planes in the search for the ground.", low=1)
    tolerance: float = option(0.05, "Relative error of depth of a point on the plane.", low=1e-3, high=1.0)
    min_share: float = option(0.02, "Smallest share of the image that the ground must cover.", low=0.0, high=1.0)
    min_inliers: float = option(
        0.4, "Smallest share of ground points within twice the tolerance of the plane.", low=0.0, high=1.0
    )
    max_tilt: float = option(
        25.0, "Largest angle in degrees between the plane's normal and up, if up is unknown.", low=0.0, high=90.0
    )
    max_slope: float = option(
        15.0, "Largest angle in degrees between the plane's normal and up, if up is known.", low=0.0, high=90.0
    )
    level_pull: float = option(
        1.0, "Strength of the assumption that the camera is level, if up is unknown; 0: none.", low=0.0
    )
    level_range: float = option(
        4.0, "Angle in degrees beyond which this assumption fades, as for a camera that looks down.", low=0.1, high=90.0
    )
    own_weight: float = option(
        0.0,
        "Weight of the network's own scale in a mean of logarithms, if up is unknown; the ground has the rest. 0: the "
        "ground alone counts, as it does if up is known.",
        low=0.0,
        high=1.0,
    )
    own_range: float = option(
        0.4,
        "Logarithm of the factor at which that weight has fallen to a half: the network does not know the camera.",
        low=1e-3,
    )
    min_factor: float = option(0.2, "Smallest valid factor on depth.", low=0.01, high=1.0)
    max_factor: float = option(5.0, "Largest valid factor on depth.", low=1.0, high=100.0)
    memory: float = option(5.0, "Seconds over which the factor is averaged; at first, all frames so far.", low=0.01)
    max_step: float = option(
        0.2, "Limit of the difference, in ln, by which one frame moves the factor (more at first).", low=1e-3
    )
    hold: float = option(10.0, "Seconds for which the factor is kept without a valid ground plane.", low=0.0)
    release: float = option(5.0, "Time constant in seconds with which the factor then returns to 1.", low=0.01)
    max_gap: float = option(2.0, "Seconds without a frame after which the average starts again.", low=0.01)
    period: float = option(0.1, "Seconds between frames without stamps.", low=1e-3)
