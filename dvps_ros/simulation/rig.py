"""The camera's mounting, its carrier's path and speed, and its lens."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dvps_ros.config import RigConfig, check_rig
from dvps_ros.simulation.lens import Lens
from dvps_ros.simulation.paths import Corridor, Path
from dvps_ros.simulation.site import KERB, CrossSection, Junction

_START = 8.0
#: Half width of the track that is kept free for a camera off the road, and its head room above the camera, metres.
_TRACK, _HEAD_ROOM = 0.4, 0.3
#: Lateral distance that walkers keep from a camera on the pavement, and distance at which they make way, metres.
_ASIDE, _AHEAD = 0.75, 2.0


@dataclass(frozen=True)
class Rig:
    """The camera and its carrier.

    Attributes
    ----------
    height : metres above the ground under it.
    lateral : metres to the left of the path's center line.
    pitch, yaw, roll : radians; positive looks down, looks left, and leans to the right (the horizon then rises to the
        right in the image).
    focal : focal length in image widths.
    speed : metres per second along the path.
    flow : speed of the traffic beside it, metres per second; None: its own speed.
    lens : its distortion.
    kerb : height of the ground under it, metres.
    mouths : stretches (first, last) of the path at side streets, where the ground has height 0.
    """

    height: float
    lateral: float
    pitch: float
    yaw: float
    focal: float
    speed: float
    roll: float = 0.0
    flow: float | None = None
    lens: Lens = field(default_factory=Lens)
    kerb: float = 0.0
    mouths: tuple[tuple[float, float], ...] = ()

    @property
    def traffic_speed(self) -> float:
        """Metres per second of the traffic in its direction."""
        return self.speed if self.flow is None else self.flow

    @property
    def in_traffic(self) -> bool:
        """Whether it drives in a traffic lane, where other vehicles leave room for it."""
        return self.flow is None

    @property
    def on_pavement(self) -> bool:
        """Whether it drives on the pavement, where people walk around it."""
        return self.kerb > 0

    def place(self, time: float) -> float:
        """Position of the camera along the path, metres."""
        return _START + self.speed * time

    def ground(self, time: float) -> float:
        """Height of the ground under the camera, metres."""
        s = self.place(time)
        return 0.0 if any(first < s < last for first, last in self.mouths) else self.kerb

    def pose(self, path: Path, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World position in metres, viewing direction and up direction of the camera, each (3,)."""
        s = self.place(time)
        position = path.place(s, self.lateral, self.ground(time) + self.height)
        heading = float(path.heading(s)) + self.yaw
        flat = np.array([np.cos(heading), np.sin(heading), 0.0])
        down = np.array([0.0, 0.0, -1.0])
        forward = np.cos(self.pitch) * flat + np.sin(self.pitch) * down
        up = np.sin(self.pitch) * flat - np.cos(self.pitch) * down
        if self.roll:
            up = np.cos(self.roll) * up + np.sin(self.roll) * np.cross(forward, up)
        return position, forward, up

    def aside(self, s: np.ndarray, lateral: np.ndarray, time: float) -> np.ndarray:
        """Lateral offsets (N,) of walkers at ``s``, ``lateral`` (N,), who make way for a camera on the pavement."""
        if not self.on_pavement:
            return lateral
        offset = lateral - self.lateral
        step = np.maximum(_ASIDE - np.abs(offset), 0) * np.exp(-(((s - self.place(time)) / _AHEAD) ** 2))
        return lateral + np.where(offset < 0, -step, step)


def random_rig(
    rng: np.random.Generator,
    extra: np.random.Generator,
    section: CrossSection,
    junctions: tuple[Junction, ...],
    config: RigConfig,
) -> Rig:
    """Draw a rig within the configuration's ranges.

    ``rng`` also builds the street, so the same number of values is drawn from it for any configuration: a seed always
    gives the same street. Values that a rig in a traffic lane does not need are drawn from ``extra``.

    Raises ``ValueError`` as ``config.check_rig``.
    """
    check_rig(config)
    lane = -section.lane_center(int(rng.integers(section.lanes)))
    height = rng.uniform(config.min_height, config.max_height)
    lateral = lane + rng.uniform(-0.3, 0.3)
    pitch = np.radians(rng.uniform(config.min_pitch, config.max_pitch))
    yaw = np.radians(rng.normal(0, 1.5))
    focal = rng.uniform(config.min_focal, config.max_focal)
    flow = rng.uniform(5.0, 10.0)
    roll = np.radians(extra.uniform(config.min_roll, config.max_roll))
    lens = Lens.of(config, extra.uniform(config.min_distortion, 1.0))
    lens = lens if extra.uniform() < config.distorted else Lens()
    shares = np.array([config.lane, config.cycle_lane, config.pavement])
    where = ("lane", "cycle lane", "pavement")[extra.choice(3, p=shares / shares.sum())]
    if where == "lane":
        return Rig(height, lateral, pitch, yaw, focal, flow, roll, None, lens)
    if where == "cycle lane":
        lateral = -section.cycle_center
        return Rig(height, lateral, pitch, yaw, focal, extra.uniform(3.5, 5.5), roll, flow, lens)
    side = int(extra.choice([-1, 1]))
    low, high = section.walkway
    mouths = tuple(mouth for junction in junctions if (mouth := junction.mouth(side)) is not None)
    lateral, speed = side * extra.uniform(low, high), extra.uniform(0.7, 1.8)
    return Rig(height, lateral, pitch, yaw, focal, speed, roll, flow, lens, KERB, mouths)


def corridor(rig: Rig, path: Path) -> Corridor | None:
    """The track that must stay free for the rig; None in a traffic lane, which is free anyway."""
    if rig.in_traffic:
        return None
    return Corridor(path, rig.lateral - _TRACK, rig.lateral + _TRACK, rig.kerb + rig.height + _HEAD_ROOM)
