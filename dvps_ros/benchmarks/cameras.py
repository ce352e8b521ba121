"""Benchmark of cameras: the same held-out streets with many image sizes, lenses and mountings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dvps_ros.config import StreetConfig
from dvps_ros.metrics import DepthErrors, DepthScale, PanopticQuality
from dvps_ros.runtime import Perceiver
from dvps_ros.scene.anchor import GroundAnchor
from dvps_ros.simulation import sequence
from dvps_ros.structures import Scene

#: First seed of the streets, which are not rendered for training: seeds of the split val are odd.
FIRST_SEED = 9001


def _fixed(**values: float) -> dict[str, float]:
    return {f"{end}_{name}": value for name, value in values.items() for end in ("min", "max")}


#: Changes of the default camera in each row (512 x 256; heights, pitches and focal lengths of ``RigConfig``).
CAMERAS: dict[str, dict[str, Any]] = {
    "512x256": {},
    **{f"{w}x{h}": {"width": w, "height": h} for w, h in ((640, 360), (640, 480), (320, 240), (1242, 375), (480, 480))},
    "focal length 0.45 widths": _fixed(focal=0.45),
    "focal length 1.4 widths": _fixed(focal=1.4),
    "0.4 m high": _fixed(height=0.4),
    "1.2 m high": _fixed(height=1.2),
    "1.8 m high": _fixed(height=1.8),
    "looks up by 10°": _fixed(pitch=-10.0),
    "looks down by 15°": _fixed(pitch=15.0),
    "leans left by 4°": _fixed(roll=-4.0),
    "leans right by 4°": _fixed(roll=4.0),
    "plumb_bob": {"distortion_model": "plumb_bob", "distortion": (-0.3, 0.1, 0.0, 0.0)},
    "equidistant": {"distortion_model": "equidistant", "distortion": (0.05, -0.01, 0.0, 0.0), **_fixed(focal=0.45)},
}
#: Columns of depth: of the network; with the scale from the camera's height; from its height and the up direction.
ANCHORS = ("free", "height", "height and up")


def camera_table(perceiver: Perceiver, streets: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each camera, its PQ, and absRel, scale and scale_error by ``ANCHORS``, over one frame of each street.

    Frames are independent: the scale is not averaged over frames, and tracks do not continue.
    """
    for name, change in CAMERAS.items():
        config = replace(StreetConfig(), frames=1, **change)
        quality = PanopticQuality(perceiver.labels)
        errors, scales = {a: DepthErrors() for a in ANCHORS}, {a: DepthScale() for a in ANCHORS}
        for seed in range(FIRST_SEED, FIRST_SEED + 2 * streets, 2):
            for frame in sequence(seed, config):
                perceiver.reset_tracks()
                scene = perceiver.step(frame.rgb, frame.intrinsics)
                quality.update(scene.panoptic.cpu().numpy(), frame.panoptic)
                for anchor, anchored in _anchored(perceiver, scene, frame).items():
                    depth = anchored.depth.cpu().numpy()
                    errors[anchor].update(depth, frame.depth)
                    scales[anchor].update(depth, frame.depth)
        figures = {a: {"absRel": errors[a].compute()["absRel"], **scales[a].compute()} for a in ANCHORS}
        yield name, {"PQ": quality.compute()["all"]["PQ"], **figures}


def _anchored(perceiver: Perceiver, scene: Scene, frame: Any) -> dict[str, Scene]:
    def anchor(up: Any) -> Scene:
        fresh = GroundAnchor(perceiver.labels, perceiver.config.ground)
        return fresh.update(scene, frame.intrinsics, frame.height, up)

    return dict(zip(ANCHORS, (scene, anchor(None), anchor(tuple(frame.up))), strict=True))


def row(name: str, figures: Mapping[str, Any]) -> str:
    """A row of the Markdown table under ``HEAD``."""
    cells = [f"{figures[a]['absRel']:.3f} x{figures[a]['scale']:.2f}" for a in ANCHORS]
    return f"| {name} | {figures['PQ']:.1f} | {' | '.join(cells)} |"


#: First lines of the Markdown table; cells have absRel, and with x the median of predicted / true distance.
HEAD = f"| camera | PQ | {' | '.join(f'depth, {a}' for a in ANCHORS)} |\n|---|---|{'---|' * len(ANCHORS)}"


def scale_errors(table: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence: the root mean square over all rows of ``scale_error`` by ``ANCHORS``."""
    means = (math.sqrt(sum(row[a]["scale_error"] ** 2 for row in table.values()) / len(table)) for a in ANCHORS)
    told = ", ".join(f"{a} {mean:.3f}" for a, mean in zip(ANCHORS, means, strict=True))
    return f"root mean square of ln (predicted / true distance) of all frames: {told}"
