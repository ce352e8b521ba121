"""``cameras.yaml`` of the folder format: the class table, and cameras in pixels of a ``width`` x ``height`` picture.

::

    labels: cityscapes
    default: {fx: 700.0, fy: 700.0, cx: 639.5, cy: 359.5, width: 1280, height: 720}
    sequences:
      drive_2: {fx: 910.0, fy: 910.0, cx: 639.5, cy: 359.5, width: 1280, height: 720,
                distortion_model: plumb_bob, distortion: [-0.1, 0.01, 0, 0, 0]}

A sequence that is not listed has the camera ``default``. Without a default, or without the file, only the focal length
of the configuration is known. Names of sequences are text: ``0001`` is not a number. A name that no split has is an
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dvps_ros.camera.calibration import DISTORTION_LENGTHS
from dvps_ros.datasets import yaml_text
from dvps_ros.files import write_bytes
from dvps_ros.labels import CITYSCAPES, LABEL_SETS, LabelSet
from dvps_ros.structures import Intrinsics

CAMERAS = "cameras.yaml"

_NUMBERS = ("fx", "fy", "cx", "cy", "width", "height")


@dataclass(frozen=True)
class Cameras:
    """The content of ``cameras.yaml``.

    Attributes
    ----------
    labels : the class table.
    default : the camera of sequences that are not named, or None.
    sequences : cameras by the name of their sequence.
    """

    labels: LabelSet = CITYSCAPES
    default: Intrinsics | None = None
    sequences: Mapping[str, Intrinsics] = field(default_factory=dict)


def read_cameras(root: Path) -> Cameras:
    """The cameras of a data set from its ``cameras.yaml``; ``Cameras()`` if there is no such file.

    Raises ``ValueError`` naming the file and its fault.
    """
    path = Path(root) / CAMERAS
    if not path.is_file():
        return Cameras()
    content = yaml_text.read(path)
    known = {"labels", "default", "sequences"}
    if not known.issuperset(content):
        raise ValueError(f"{path}: expected the keys labels, default and sequences, nothing else")
    labels = content.get("labels", CITYSCAPES.name)
    if not isinstance(labels, str) or labels not in LABEL_SETS:
        raise ValueError(f"{path}: labels is {labels!r}, must be one of {', '.join(LABEL_SETS)}")
    default, sequences = content.get("default"), content.get("sequences") or {}
    if not isinstance(sequences, dict):
        raise ValueError(f"{path}: sequences must map names to cameras")
    return Cameras(
        LABEL_SETS[labels],
        None if default is None else _camera(default, f"{path}: default"),
        {name: _camera(row, f"{path}: sequences.{name}") for name, row in sequences.items()},
    )


def check_cameras(root: Path, cameras: Cameras) -> None:
    """Raise ``ValueError`` naming a sequence of ``cameras`` that no split of the data set has."""
    found = {path.name for path in Path(root).glob("*/images/*") if path.is_dir()}
    if unknown := [name for name in cameras.sequences if name not in found]:
        near = [name for name in sorted(found) if name.lstrip("0") == unknown[0].lstrip("0")]
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{Path(root) / CAMERAS}: sequences.{unknown[0]}: no split has such a sequence{hint}")


def write_cameras(root: Path, cameras: Cameras) -> None:
    """Write ``cameras.yaml`` atomically."""
    content: dict[str, Any] = {"labels": cameras.labels.name}
    if cameras.default is not None:
        content["default"] = _row(cameras.default)
    content["sequences"] = {name: _row(camera) for name, camera in sorted(cameras.sequences.items())}
    write_bytes(Path(root) / CAMERAS, yaml.safe_dump(content, sort_keys=False, default_flow_style=None).encode())


def _camera(row: Any, where: str) -> Intrinsics:
    known = {*_NUMBERS, "distortion_model", "distortion"}
    if not isinstance(row, dict) or not known.issuperset(row):
        raise ValueError(f"{where}: a camera has {', '.join(_NUMBERS)}, distortion_model, distortion; got {row!r}")
    try:
        fx, fy, cx, cy, width, height = (float(row[key]) for key in _NUMBERS)
        distortion = tuple(float(value) for value in row.get("distortion", ()))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: a camera needs numbers {', '.join(_NUMBERS)}") from error
    model = str(row.get("distortion_model", ""))
    camera = Intrinsics(fx, fy, cx, cy, int(width), int(height), model, distortion)
    check_camera(camera, where)
    return camera


def check_camera(camera: Intrinsics, where: str) -> None:
    """Raise ``ValueError``, beginning with ``where``, for a camera that no image can have."""
    if not camera.valid or camera.width < 1 or camera.height < 1:
        raise ValueError(f"{where}: fx, fy, width and height must be above 0 and all numbers finite")
    if not camera.distortion and not camera.distortion_model:
        return
    if camera.distortion_model not in DISTORTION_LENGTHS:
        known = ", ".join(DISTORTION_LENGTHS)
        raise ValueError(f"{where}: distortion_model is {camera.distortion_model!r}, must be one of {known}")
    most = DISTORTION_LENGTHS[camera.distortion_model][1]
    if any(camera.distortion[most:]):
        raise ValueError(
            f"{where}: {camera.distortion_model} has {len(camera.distortion)} coefficients, at most {most} are known"
        )


def _row(camera: Intrinsics) -> dict[str, Any]:
    row: dict[str, Any] = {key: float(getattr(camera, key)) for key in _NUMBERS[:4]}
    row |= {"width": camera.width, "height": camera.height}
    if camera.distortion:
        row |= {"distortion_model": camera.distortion_model, "distortion": list(camera.distortion)}
    return row
