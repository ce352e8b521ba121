"""Benchmark of tracking on simulated drives: with true masks, and with a network's output."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch

from dvps_ros.benchmarks.drives import Moment, cached_drive, moments
from dvps_ros.config import StreetConfig
from dvps_ros.labels import DIVISOR, VOID, LabelSet
from dvps_ros.metrics import DepthAwareVideoPanopticQuality, TrackingQuality
from dvps_ros.runtime import Perceiver
from dvps_ros.scene.track import Tracker, renumbered
from dvps_ros.scene.view import View
from dvps_ros.structures import Scene, Segment

#: First seed of the streets, which are not rendered for training: seeds of the split val are odd.
FIRST_SEED = 900001
#: Rates in hertz of the drives with true masks, and of the drive for the network; number of frames of each.
RATES, NETWORK_RATE, FRAMES = (10.0, 4.0, 2.0), 4.0, 24
#: Things with fewer pixels are left out of the true masks.
LEAST_PIXELS = 30
#: Largest distance in metres of cars whose velocity is compared.
NEAR = 25.0
#: Lengths of windows and depth thresholds of the DVPQ.
WINDOWS, THRESHOLDS = (1, 4), (0.5, 0.25, 0.1)
#: Numbers of things in the network's output that are compared.
NUMBERINGS = ("tracked", "untracked", "true numbers")


@dataclass
class TrueMasks:
    """Counts over drives with true masks at one rate.

    Attributes
    ----------
    switches : number of instances whose track number differs from that of the thing's last frame.
    instances : number of instances in all frames.
    errors : norms of the differences of cars' estimated and true velocities, m/s.
    seconds : processor time of all threads for the tracker with ego-motion, for each frame.
    """

    switches: int = 0
    instances: int = 0
    errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """The counts, switches in percent of instances, and medians of errors (m/s) and of a frame's time (ms).

        A figure without data is NaN.
        """
        share = 100 * self.switches / self.instances if self.instances else float("nan")
        error = float(np.median(self.errors)) if self.errors else float("nan")
        cost = 1000 * float(np.median(self.seconds)) if self.seconds else float("nan")
        return {
            "switches": self.switches,
            "instances": self.instances,
            "percent": share,
            "velocity_error": error,
            "milliseconds": cost,
        }


def tracking_figures(
    perceiver: Perceiver, streets: int, folder: Path | None = None, config: StreetConfig | None = None,
    frames: int | None = None, on_street: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:  # fmt: skip
    """Figures ``true`` by rate in hertz, and ``network`` with ``tracked``, ``untracked`` and ``true numbers``.

    The last are those of ``with_true_numbers``: what a perfect tracker would make of the network's masks.

    Parameters
    ----------
    perceiver : the network; the configuration of its tracker is also used for the true masks.
    folder : cache of rendered drives; None: no cache.
    config : configuration of the streets.
    frames : number of frames of each drive; None: ``FRAMES``.
    on_street : called after each street with its number, from 1.
    """
    labels, when = perceiver.labels, moments(RATES, frames or FRAMES)
    true = {rate: TrueMasks() for rate in RATES}
    measures = {name: _Measures(labels) for name in NUMBERINGS}
    for number in range(streets):
        times = sorted({time for each in when.values() for time in each})
        drive = cached_drive(FIRST_SEED + 2 * number, config or StreetConfig(), times, folder)
        by_time = dict(zip(times, drive, strict=True))
        for rate in RATES:
            tracker = Tracker(labels, perceiver.config.track)
            follow_true_masks([by_time[time] for time in when[rate]], tracker, true[rate])
        _follow_network(perceiver, [by_time[time] for time in when[NETWORK_RATE]], measures)
        on_street(number + 1)
    return {
        "true": {f"{rate:g}": counts.figures() for rate, counts in true.items()},
        "network": {name: measure.figures() for name, measure in measures.items()},
    }


def follow_true_masks(drive: Iterable[Moment], tracker: Tracker, counts: TrueMasks, seed: int = 0) -> None:
    """Track the true masks of a drive with numbers that are shuffled in every frame, and add to ``counts``."""
    random = np.random.default_rng(seed)
    last: dict[int, int] = {}
    car = tracker.labels.index("car")
    for moment in drive:
        scene, names = shuffled(moment, tracker.labels, random)
        view = View(cv2.cvtColor(moment.rgb, cv2.COLOR_RGB2GRAY), scene.panoptic.numpy(), moment.depth,
                    moment.intrinsics)  # fmt: skip
        start = time.process_time()
        tracked = tracker.update(scene, moment.intrinsics, moment.stamp, view)
        counts.seconds.append(time.process_time() - start)
        moving = dict(zip(moment.moving.tolist(), moment.velocity, strict=True))
        known = {thing.id: thing for thing in tracked.things}
        for value, name in names.items():
            found = int(tracked.panoptic[scene.panoptic == value][0])
            counts.instances += 1
            counts.switches += last.get(name, found) != found
            last[name] = found
            thing = known.get(found)
            if name // DIVISOR == car and thing is not None and thing.confirmed and thing.position[2] < NEAR:
                truth = moment.pose[:3, :3].T @ moving.get(name, np.zeros(3))
                counts.errors.append(float(np.linalg.norm(truth - thing.velocity)))


def shuffled(moment: Moment, labels: LabelSet, random: np.random.Generator) -> tuple[Scene, dict[int, int]]:
    """The true scene with shuffled numbers of its things, and the true panoptic value by each new one.

    Things with fewer than ``LEAST_PIXELS`` pixels are unlabelled.
    """
    values, places, areas = np.unique(moment.panoptic, return_inverse=True, return_counts=True)
    new = values.copy()
    names: dict[int, int] = {}
    for class_id in labels.things:
        mine = (values // DIVISOR == class_id) & (values % DIVISOR > 0) & (areas >= LEAST_PIXELS)
        new[values // DIVISOR == class_id] = VOID
        new[mine] = class_id * DIVISOR + random.permutation(mine.sum()) + 1
        names.update(zip(new[mine].tolist(), values[mine].tolist(), strict=True))
    panoptic = new[places].reshape(moment.panoptic.shape).astype(np.int32)
    segments = []
    for value, area in zip(*np.unique(panoptic[panoptic != VOID], return_counts=True), strict=True):
        depth = moment.depth[(panoptic == value) & (moment.depth > 0)]
        middle = float(np.median(depth)) if len(depth) else 100.0
        segments.append(Segment(int(value), int(value) // DIVISOR, int(value) % DIVISOR, 1.0, int(area), middle))
    maps = torch.from_numpy(panoptic), torch.from_numpy(moment.depth), torch.ones(panoptic.shape)
    return Scene(*maps, tuple(segments)), names


class _Measures:
    """STQ and DVPQ of one numbering of things."""

    def __init__(self, labels: LabelSet) -> None:
        self.tracking = TrackingQuality(labels)
        self.quality = DepthAwareVideoPanopticQuality(labels, frames=WINDOWS, thresholds=THRESHOLDS)

    def begin_sequence(self) -> None:
        self.tracking.begin_sequence()
        self.quality.begin_sequence()

    def update(self, scene: Scene, moment: Moment) -> None:
        panoptic = scene.panoptic.cpu().numpy()
        self.tracking.update_frame(panoptic, moment.panoptic)
        self.quality.update_frame(panoptic, moment.panoptic, scene.depth.cpu().numpy(), moment.depth)

    def figures(self) -> dict[str, Any]:
        values = self.quality.compute()
        table = {f"k{k}/{limit:g}": values[f"k{k}/{limit:g}"]["all"] for k in WINDOWS for limit in THRESHOLDS}
        return {"STQ": self.tracking.compute(), "DVPQ": table}


class _InputRecorder:
    """Wraps a tracker and stores its last input."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.scene: Scene | None = None

    def update(self, scene: Scene, *arguments: Any) -> Scene:
        self.scene = scene
        return self._tracker.update(scene, *arguments)

    def reset(self) -> None:
        self._tracker.reset()


def _follow_network(perceiver: Perceiver, drive: Sequence[Moment], measures: Mapping[str, _Measures]) -> None:
    """Perceive a drive, and measure it with the tracker's numbers, without them, and with true ones."""
    perceiver.reset_tracks()
    for measure in measures.values():
        measure.begin_sequence()
    tracker = perceiver.tracker
    before = _InputRecorder(tracker)
    perceiver.tracker = cast("Tracker", before)
    spare = itertools.cycle(range(DIVISOR - 1, 0, -1))
    try:
        for moment in drive:
            scene = perceiver.step(moment.rgb, moment.intrinsics, moment.stamp)
            measures["tracked"].update(scene, moment)
            if before.scene is not None:
                untracked = replace(before.scene, depth=scene.depth)
                measures["untracked"].update(untracked, moment)
                ideal = with_true_numbers(untracked, moment.panoptic, perceiver.labels, spare)
                measures["true numbers"].update(ideal, moment)
    finally:
        perceiver.tracker = tracker


def with_true_numbers(scene: Scene, truth: np.ndarray, labels: LabelSet, spare: Iterator[int]) -> Scene:
    """The scene with the numbers of the true things that its things cover most.

    ``truth`` is (H, W) int32, class * 1000 + instance. A true number is given once, to the thing of its class with the
    most pixels on it. Things that get none have the next numbers of ``spare``, which are new in each frame: a false
    thing is not the same object twice.
    """
    panoptic = scene.panoptic.cpu().numpy()
    things = [segment for segment in scene.segments if labels.is_thing[segment.class_id]]
    overlaps: list[tuple[int, int, int]] = []  # pixels, id of the thing, true id
    for thing in things:
        values, pixels = np.unique(truth[panoptic == thing.id], return_counts=True)
        same = (values // DIVISOR == thing.class_id) & (values % DIVISOR > 0)
        overlaps += ((int(n), thing.id, int(v)) for v, n in zip(values[same], pixels[same], strict=True))
    new: dict[int, int] = {}
    for _, mine, true in sorted(overlaps, reverse=True):
        if mine not in new and true not in new.values():
            new[mine] = true
    for thing in things:
        if thing.id not in new:
            first = thing.class_id * DIVISOR
            new[thing.id] = next(first + n for n in spare if first + n not in new.values())
    return renumbered(scene, {mine: number % DIVISOR for mine, number in new.items()})


def tracking_table(figures: Mapping[str, Any]) -> str:
    """Two Markdown tables: true masks by rate, and the network's output."""
    true, network = figures["true"], figures["network"]
    lines = [
        f"| true masks, shuffled numbers | {' | '.join(f'{rate} Hz' for rate in true)} |",
        f"|---|{'---:|' * len(true)}",
        _row("id switches", [f"{f['percent']:.2f} % ({f['switches']} of {f['instances']})" for f in true.values()]),
        _row(f"error of a car's velocity within {NEAR:g} m, median",
             [f"{f['velocity_error']:.2f} m/s" for f in true.values()]),
        _row("tracker with ego-motion: processor time of a frame, median",
             [f"{f['milliseconds']:.0f} ms" for f in true.values()]),
        "",
        f"| the model's output at {NETWORK_RATE:g} Hz | {' | '.join(network)} |",
        f"|---|{'---:|' * len(network)}",
    ]  # fmt: skip
    for name in ("STQ", "AQ", "SQ"):
        lines.append(_row(name, [f"{f['STQ'][name]:.1f}" for f in network.values()]))
    for name in ("switches", "fragments"):
        lines.append(
            _row(f"id {name}" if name == "switches" else name, [str(f["STQ"][name]) for f in network.values()])
        )
    first, last = WINDOWS
    for limit in (f"{limit:g}" for limit in THRESHOLDS):
        pairs = [(f["DVPQ"][f"k{first}/{limit}"], f["DVPQ"][f"k{last}/{limit}"]) for f in network.values()]
        cells = [f"{one:.1f}, {many:.1f}: {many / one:.1%}" if one else "-" for one, many in pairs]
        lines.append(_row(f"DVPQ λ {limit}, k {first} and {last}", cells))
    return "\n".join(lines)


def _row(name: str, cells: Iterable[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"
