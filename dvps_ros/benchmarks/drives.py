"""Drives through simulated streets with true labels, depth, camera poses and velocities."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import dvps_ros.simulation
from dvps_ros.config import StreetConfig
from dvps_ros.files import write_bytes
from dvps_ros.simulation import Frame, Street, StreetCamera
from dvps_ros.structures import Intrinsics

#: Velocities are central differences over twice this many seconds.
_STEP = 0.02
#: A body that moves further than this many metres in that time has moved to the other end of the street.
_JUMP = 5.0


@dataclass(frozen=True)
class Moment:
    """One frame of a drive.

    Attributes
    ----------
    stamp : seconds since the drive began.
    rgb : (H, W, 3) uint8.
    depth : (H, W) float32 metres, 0 without depth.
    panoptic : (H, W) int32, class * 1000 + instance.
    pose : (4, 4) float64, from the camera's optical frame to the street's.
    moving : (N,) int64 panoptic values of the moving things.
    velocity : (N, 3) float64 velocities of these things in the street's frame, m/s.
    intrinsics : the camera.
    """

    stamp: float
    rgb: np.ndarray
    depth: np.ndarray
    panoptic: np.ndarray
    pose: np.ndarray
    moving: np.ndarray
    velocity: np.ndarray
    intrinsics: Intrinsics


def moments(rates: Sequence[float], frames: int) -> dict[float, list[float]]:
    """Times in seconds of ``frames`` frames for each rate in hertz, rounded so that rates have common times."""
    return {rate: [round(k / rate, 4) for k in range(frames)] for rate in rates}


def drive(seed: int, config: StreetConfig, times: Sequence[float]) -> Iterator[Moment]:
    """The drive through the street of ``seed`` at ``times``, in seconds. Raises ``ValueError`` if it is too short."""
    street = Street(seed, replace(config, length=max(config.length, 160.0)))
    with StreetCamera(street) as camera:
        for time in times:
            frame = camera.render(time)
            moving, velocity = _velocities(street, time)
            yield _moment(street, frame, moving, velocity)


def cached_drive(seed: int, config: StreetConfig, times: Sequence[float], folder: Path | None) -> list[Moment]:
    """``drive`` with a cache in ``folder``, one file per seed, setting and code of the simulator; None: no cache."""
    if folder is None:
        return list(drive(seed, config, times))
    code = "".join(path.read_text() for path in sorted(Path(dvps_ros.simulation.__file__).parent.glob("*.py")))
    digest = hashlib.sha256(repr((seed, asdict(config), tuple(times), code)).encode()).hexdigest()[:12]
    path = folder / f"drive_{seed}_{digest}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, list(drive(seed, config, times)))
    return _read(path)


def _moment(street: Street, frame: Frame, moving: np.ndarray, velocity: np.ndarray) -> Moment:
    position, forward, up = street.rig.pose(street.path, frame.stamp)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(forward, up), -up, forward], 1)
    pose[:3, 3] = position
    return Moment(
        frame.stamp, frame.rgb, frame.depth, frame.panoptic, pose, moving, velocity, frame.intrinsics
    )  # fmt: skip


def _velocities(street: Street, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Panoptic values (N,) and velocities (N, 3) of moving things, each the mean over its parts."""
    places = []
    for moment in (time - _STEP, time + _STEP):
        street.move(moment)
        places.append(street.data.mocap_pos.copy())
    street.move(time)
    body = street.model.geom_bodyid
    mocap = street.model.body_mocapid[body]
    values = np.zeros(len(places[0]), np.int64)
    values[mocap[mocap >= 0]] = street.values[mocap >= 0]
    moved = places[1] - places[0]
    steady = np.linalg.norm(moved, axis=1) < _JUMP
    found, part_of = np.unique(values[steady], return_inverse=True)
    total = np.zeros((len(found), 3))
    np.add.at(total, part_of, moved[steady] / (2 * _STEP))
    return found, total / np.bincount(part_of, minlength=len(found))[:, None]


def _write(path: Path, drive: list[Moment]) -> None:
    names = ("stamp", "rgb", "depth", "panoptic", "pose", "moving", "velocity")
    arrays = {f"{name}{k}": getattr(moment, name) for k, moment in enumerate(drive) for name in names}
    camera = np.array(json.dumps(asdict(drive[0].intrinsics)))
    packed = io.BytesIO()
    np.savez_compressed(packed, camera=camera, frames=len(drive), **arrays)
    write_bytes(path, packed.getvalue())


def _read(path: Path) -> list[Moment]:
    with np.load(path) as file:
        given = json.loads(str(file["camera"]))
        camera = Intrinsics(**{**given, "distortion": tuple(given["distortion"])})
        names = ("rgb", "depth", "panoptic", "pose", "moving", "velocity")
        return [
            Moment(stamp=float(file[f"stamp{k}"]), intrinsics=camera, **{name: file[f"{name}{k}"] for name in names})
            for k in range(int(file["frames"]))
        ]
