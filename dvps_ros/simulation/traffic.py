"""Moving bodies of the street, and their poses at a given time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvps_ros.simulation.paths import Path
from dvps_ros.simulation.people import Person
from dvps_ros.simulation.rig import Rig
from dvps_ros.simulation.shapes import Mesh
from dvps_ros.simulation.world import World


@dataclass(frozen=True)
class Course:
    """Steady motion along a path: from ``s`` at time 0 with ``speed`` (m/s, negative: against the path).

    At the end of the stretch ``low`` .. ``high`` the motion continues at its other end; both are out of sight.
    """

    s: float
    speed: float
    lateral: float
    low: float
    high: float


class Traffic:
    """Bodies on their courses, with swinging limbs of walkers; walkers make way for a ``rig`` on the pavement."""

    def __init__(self, world: World, path: Path, rig: Rig | None = None) -> None:
        self._world, self._path, self._rig = world, path, rig
        self._rows: list[tuple[float, ...]] = []

    def add(self, mesh: Mesh, material: str, value: int, course: Course, reverse: bool | None = None) -> None:
        """Add a rigid body. It faces its direction of motion, or along the path if it stands; ``reverse`` turns it."""
        self._add(mesh, material, value, course, reverse, (0.0, 0.0, 0.0), 0.0, 0.0)

    def add_person(self, person: Person, value: int, course: Course, offset: float) -> None:
        """Add a walker; ``offset`` (radians) is the phase of the step at time 0."""
        self._add(person.body, "matte", value, course, None, (0.0, 0.0, 0.0), 0.0, offset)
        for limb in person.limbs:
            self._add(limb.mesh, "matte", value, course, None, limb.pivot, limb.phase * limb.swing, offset)

    def _add(self, mesh, material, value, course: Course, reverse, pivot, swing: float, offset: float) -> None:
        self._world.mover(mesh, material, value)
        backwards = course.speed < 0 if reverse is None else reverse
        self._rows.append((course.s, course.speed, course.lateral, course.low, course.high, float(backwards),
                           *pivot, swing, offset))  # fmt: skip

    def poses(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions (N,3) in metres and quaternions (N,4), w first, of all bodies ``time`` seconds after the start."""
        if not self._rows:
            return np.zeros((0, 3)), np.zeros((0, 4))
        s, speed, lateral, low, high, backwards, x, y, z, swing, offset = np.array(self._rows).T
        s = low + np.mod(s + speed * time - low, high - low)
        if self._rig is not None:
            lateral = self._rig.aside(s, lateral, time)
        position = self._path.place(s, lateral)
        yaw = self._path.heading(s) + np.pi * backwards
        c, n = np.cos(yaw), np.sin(yaw)
        position += np.stack([c * x - n * y, n * x + c * y, z], 1)
        pitch = swing * np.sin(offset + 4.3 * np.abs(speed) * time)
        cy, sy, cp, sp = np.cos(yaw / 2), np.sin(yaw / 2), np.cos(pitch / 2), np.sin(pitch / 2)
        return position, np.stack([cy * cp, -sy * sp, cy * sp, sy * cp], 1)
