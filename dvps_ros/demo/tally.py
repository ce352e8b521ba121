"""Figures of a run of the perception node, compared with the truth: a line during the run, a table at its end."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np

from dvps_ros.labels import DIVISOR, LabelSet
from dvps_ros.metrics import DepthErrors, PanopticQuality, TrackingQuality

#: Seconds over which the line's rates and ages are averaged.
WINDOW = 5.0


class Tally:
    """Counts camera images and the node's answers, and scores the answers.

    Parameters
    ----------
    labels : the class table of prediction and truth.
    max_depth : metres that replace a predicted depth beyond range (+Inf) if the true depth is finite.
    """

    def __init__(self, labels: LabelSet, max_depth: float) -> None:
        self._labels = labels
        self._max_depth = max_depth
        self._quality = PanopticQuality(labels)
        self._errors = DepthErrors()
        self._tracking = TrackingQuality(labels)
        self._street = ""
        self._images: list[float] = []
        self._answers: list[float] = []
        self._ages: list[float] = []
        self._recent_ages: deque[tuple[float, float]] = deque()
        self._objects = 0
        self._objects_of_frames: list[int] = []
        self._tracks: Counter[int] = Counter()
        self._size = ""

    @property
    def answers(self) -> int:
        """Number of answered frames."""
        return len(self._answers)

    def image(self, now: float) -> None:
        """Count a camera image that arrived at ``now``, in seconds."""
        self._images.append(now)

    def answer(self, panoptic: np.ndarray, now: float, age: float) -> None:
        """Count the labels (H, W) of a frame, which arrived at ``now``, ``age`` seconds after the frame's stamp."""
        self._answers.append(now)
        self._ages.append(age)
        self._recent_ages.append((now, age))
        ids = thing_ids(panoptic, self._labels)
        self._objects = len(ids)
        self._objects_of_frames.append(len(ids))
        self._tracks.update(ids)
        self._size = f"{panoptic.shape[1]}x{panoptic.shape[0]}"

    def score(
        self,
        panoptic: np.ndarray,
        depth: np.ndarray,
        true_panoptic: np.ndarray,
        true_depth: np.ndarray,
        street: str = "",
    ) -> None:
        """Score the next frame by its maps (H, W).

        Parameters
        ----------
        panoptic, true_panoptic : class * 1000 + instance.
        depth : metres, +Inf beyond range, NaN unknown.
        true_depth : metres; no label where it is not finite (REP 117, 118) or 0.
        street : name of the place; in another one, true objects are others although their numbers are the same.
        """
        if street != self._street:
            self._tracking.begin_sequence()
            self._street = street
        self._tracking.update_frame(panoptic, true_panoptic)
        self._quality.update(panoptic, true_panoptic)
        self._errors.update(np.where(np.isposinf(depth), self._max_depth, depth), true_depth)

    def line(self, seconds: float, now: float) -> str:
        """One line with the rates and ages of the last few seconds, and the scores so far."""
        while self._recent_ages and self._recent_ages[0][0] < now - WINDOW:
            self._recent_ages.popleft()
        ages = [age for _, age in self._recent_ages]
        age = f"{1000 * float(np.median(ages)):4.0f} ms" if ages else "   -"
        quality, errors = self._quality.compute(), self._errors.compute()
        return (
            f"{seconds:3.0f} s | camera {_recent_rate(self._images, now):4.1f} Hz | "
            f"answers {_recent_rate(self._answers, now):4.1f} Hz | age {age} | {self._objects:2d} objects | "
            f"PQ {_figure(quality['all']['PQ'], 1)} | absRel {_figure(errors['absRel'], 3)}"
        )

    def table(self, diagnostics: Mapping[str, str]) -> str:
        """A table of the run in aligned rows; ``diagnostics`` are the node's last figures by name, possibly empty."""
        quality, errors, tracking = self._quality.compute(), self._errors.compute(), self._tracking.compute()
        rows = [
            ("camera", f"{_rate(self._images):.1f} Hz", f"{len(self._images)} frames of {self._size}"),
            ("answers", f"{_rate(self._answers):.1f} Hz", self._dropped(diagnostics)),
            ("age of an answer", *_percentiles(self._ages)),
            *_stages(diagnostics),
            ("PQ", _figure(quality["all"]["PQ"], 1), self._quality_note(quality)),
            (
                "depth absRel",
                _figure(errors["absRel"], 3),
                f"RMSE {_figure(errors['RMSE'], 2)} m, delta<1.25 {_figure(errors['delta1'], 3)}",
            ),
            (
                "STQ",
                _figure(tracking["STQ"], 1),
                f"association {_figure(tracking['AQ'], 1)}, segmentation {_figure(tracking['SQ'], 1)}; "
                f"{tracking['switches']:.0f} id switches and {tracking['fragments']:.0f} fragments in "
                f"{tracking['covered']:.0f} found of {tracking['seen']:.0f} true things of frames",
            ),
            (
                "objects per frame",
                f"{float(np.mean(self._objects_of_frames or [0])):.1f}",
                f"{len(self._tracks)} track ids, {sum(n > 1 for n in self._tracks.values())} of them in several frames",
            ),
        ]
        return "\n".join(f"  {name:<18} {value:>12}   {note}".rstrip() for name, value, note in rows)

    def _dropped(self, diagnostics: Mapping[str, str]) -> str:
        drops = {key.removeprefix("dropped: "): n for key, n in diagnostics.items() if key.startswith("dropped: ")}
        replaced = drops.pop("replaced", "0")
        others = "".join(f", {n} {cause}" for cause, n in drops.items())
        return f"{self.answers} frames; dropped: {replaced} for a newer one{others}"

    def _quality_note(self, quality: Mapping) -> str:
        seen = len(self._labels) - len(quality["absent"])
        things, stuff = (_figure(quality[group]["PQ"], 1) for group in ("thing", "stuff"))
        return f"things {things}, stuff {stuff}; over {seen} of {len(self._labels)} classes"


def thing_ids(panoptic: np.ndarray, labels: LabelSet) -> list[int]:
    """The panoptic values of the things in a map (H, W) of class * 1000 + instance."""
    return [value for value in np.unique(panoptic).tolist() if value // DIVISOR in labels.things]


def _stages(diagnostics: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The row of the node's time for one frame, and of its stages, from the diagnostics."""
    found = (re.fullmatch(r"latency (\w+) (p50|p99) \(ms\)", key) for key in diagnostics)
    times = {(match[1], match[2]): float(diagnostics[match[0]]) for match in found if match}
    if ("total", "p50") not in times or ("total", "p99") not in times:
        return []
    parts = {stage: p50 for (stage, kind), p50 in times.items() if kind == "p50" and stage not in ("total", "age")}
    spent = ", ".join(f"{stage} {p50:.0f}" for stage, p50 in parts.items() if p50 >= 1)
    note = f"p50; p99 {times['total', 'p99']:.0f} ms" + (f"; {spent}" if spent else "")
    return [("one frame's work", f"{times['total', 'p50']:.0f} ms", note)]


def _percentiles(seconds: list[float]) -> tuple[str, str]:
    if not seconds:
        return "-", ""
    p50, p99 = 1000 * np.percentile(seconds, (50, 99))
    return f"{p50:.0f} ms", f"p50; p99 {p99:.0f} ms"


def _rate(times: list[float]) -> float:
    span = times[-1] - times[0] if len(times) > 1 else 0.0
    return (len(times) - 1) / span if span > 0 else 0.0


def _recent_rate(times: list[float], now: float) -> float:
    # search from the end: the list of a run grows, but the part inside the window stays short
    count = 0
    for time in reversed(times):
        if time < now - WINDOW:
            break
        count += 1
    return count / min(WINDOW, max(now - times[0], 1.0)) if times else 0.0


def _figure(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
