"""Cost of tracking many things: a synthetic drive towards a textured wall, with blocks that move in front of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np
import torch

from dvps_ros.config import TrackConfig
from dvps_ros.labels import DIVISOR, LabelSet
from dvps_ros.scene.track import Tracker
from dvps_ros.scene.view import View
from dvps_ros.structures import Intrinsics, Scene, Segment

#: Number of visible things, and seconds between frames.
THINGS, PERIOD = 30, 0.1
#: Distance of the wall in the first frame, and motion of the camera per frame, metres.
_WALL, _STEP = 40.0, 0.5
#: Number of frames that are not counted, because tracking has not started.
_WARM_UP = 3


def tracker_seconds(
    size: tuple[int, int], labels: LabelSet, config: TrackConfig, things: int = THINGS, frames: int = 30
) -> list[float]:
    """Processor seconds of the tracker for each of ``frames`` frames with ``things`` things, on one thread.

    The camera's motion is estimated from the images. ``size`` (H, W) is the size of images and labels.
    """
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    tracker, taken = Tracker(labels, config), []
    try:
        for number, (scene, view) in enumerate(synthetic_drive(size, labels, things, frames + _WARM_UP)):
            start = time.process_time()
            tracker.update(scene, view.camera, PERIOD * number, view)
            taken.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)
    return taken[_WARM_UP:]


def synthetic_drive(size: tuple[int, int], labels: LabelSet, things: int, frames: int) -> Iterator[tuple[Scene, View]]:
    """Scenes with ``things`` things, and their views: an approaching wall, and blocks that cross in front of it."""
    height, width = size
    camera = Intrinsics(0.7 * width, 0.7 * width, (width - 1) / 2, (height - 1) / 2, width, height)
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (height // 2, width // 2)).astype(np.uint8)
    texture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    stuff = next(i for i in range(len(labels)) if not labels.is_thing[i] and i not in labels.sky) * DIVISOR
    places = np.stack([random.uniform(-1, 1, things), random.uniform(-0.6, 0.6, things)], 1)  # shares of half a side
    depths, speeds = np.sort(random.uniform(5, 35, things))[::-1], random.uniform(-0.01, 0.01, things)
    for number in range(frames):
        wall = _WALL - _STEP * (number % 60)  # the approach is repeated every 60 frames
        zoom = np.array([[_WALL / wall, 0, camera.cx * (1 - _WALL / wall)], [0, _WALL / wall, 0]])
        zoom[1, 2] = camera.cy * (1 - _WALL / wall)
        grey = cv2.warpAffine(texture, zoom, (width, height), borderMode=cv2.BORDER_REFLECT)
        panoptic, depth = np.full(size, stuff, np.int32), np.full(size, wall, np.float32)
        for k, ((x, y), z) in enumerate(zip(places, depths, strict=True)):
            column, row = camera.cx * (1 + x + speeds[k] * number), camera.cy * (1 + y)
            half = max(2, int(0.02 * width * 10 / z))
            block = (
                slice(max(int(row) - half, 0), int(row) + half),
                slice(max(int(column) - half, 0), int(column) + half),
            )
            panoptic[block] = labels.things[k % len(labels.things)] * DIVISOR + k + 1
            depth[block], grey[block] = z, 40 + 5 * k
        yield _scene(panoptic, depth), View(grey, panoptic, depth, camera)


def _scene(panoptic: np.ndarray, depth: np.ndarray) -> Scene:
    segments = [
        Segment(int(v), int(v) // DIVISOR, int(v) % DIVISOR, 0.9, int(area), float(np.median(depth[panoptic == v])))
        for v, area in zip(*np.unique(panoptic, return_counts=True), strict=True)
    ]
    return Scene(torch.from_numpy(panoptic), torch.from_numpy(depth), torch.ones(depth.shape), tuple(segments))
