"""What is known over time: the camera's motion and the things that are followed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CameraMotion:
    """How the camera moved since the frame before.

    Attributes
    ----------
    matrix : (4, 4) float64, from the earlier optical frame to this one's, in the unit of depth; None where unknown.
    seconds : between the two.
    inliers : share of the followed points that agree, 0..1; NaN where none was followed.
    source : ``picture``, ``given`` (from TF or odometry), or empty where unknown.
    problem : why it is unknown; empty where it is not.
    cut : whether the two pictures show different places.
    """

    matrix: np.ndarray | None = None
    seconds: float = 0.0
    inliers: float = float("nan")
    source: str = ""
    problem: str = ""
    cut: bool = False


@dataclass(frozen=True)
class TrackedThing:
    """What is known of one thing of a scene from this frame and those before.

    Attributes
    ----------
    id : as in ``Scene.panoptic``.
    position : (3,) metres, the middle of what is seen of it, in the camera's optical frame.
    velocity : (3,) m/s along the axes of that frame: over the ground, or, where ``relative``, against the camera.
    covariance : (6, 6) of position and velocity.
    seconds : since it was first seen.
    hits : frames in which it was seen.
    confirmed : seen often enough to be believed.
    relative : the camera's own motion is not known.
    """

    id: int
    position: np.ndarray
    velocity: np.ndarray
    covariance: np.ndarray
    seconds: float
    hits: int
    confirmed: bool
    relative: bool

    @property
    def speed(self) -> float:
        """The velocity's length in m/s."""
        return float(np.linalg.norm(self.velocity))
