"""The simulated street: a MuJoCo world built from a seed, and the camera that drives through it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

os.environ.setdefault("MUJOCO_GL", "egl")  # headless; must be set before mujoco is first imported

from dvps_ros.config import StreetConfig
from dvps_ros.simulation.camera import Frame, StreetCamera
from dvps_ros.simulation.street import Street

__all__ = ["Frame", "Street", "StreetCamera", "drive", "sequence"]


def sequence(seed: int, config: StreetConfig) -> Iterator[Frame]:
    """``config.frames`` frames, ``config.spacing`` seconds apart, from a random place on the street of ``seed``."""
    street = Street(seed, config)
    span = config.spacing * (config.frames - 1)
    start = np.random.default_rng([seed, 1]).uniform(0, max(street.duration - span, 0.0))
    with StreetCamera(street) as camera:
        for k in range(config.frames):
            yield camera.render(start + k * config.spacing)


def drive(seed: int, config: StreetConfig, step: int = 2) -> Iterator[StreetCamera]:
    """Cameras of consecutive streets, whose seeds differ by ``step``; each is closed when the next one is requested.

    A step of 2 stays within one split: ``cli.render`` uses even seeds for train and odd ones for val.
    """
    while True:
        with StreetCamera(Street(seed, config)) as camera:
            yield camera
        seed += step
