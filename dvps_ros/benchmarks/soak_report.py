"""Report of a soak test: verdicts, a table, and curves as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Largest growth of resident memory between the first and the last window, and of its linear fit over the run.
MEMORY_GROWTH = 0.02
#: Length of a window: share of the judged samples, and minimum number of samples.
WINDOW, WINDOW_SAMPLES = 0.15, 5
#: Largest ratio of the ages of answers in the last and the first third, each multiplied by the cores that other
#: processes left free. It detects growing queues, work and waiting, but not the load of other processes.
LATENCY_GROWTH = 1.25
#: Largest number of frames on their way, rate x age (Little's law): one in work, one waiting, part of one in transport.
ON_THE_WAY = 3.0
#: The only allowed cause of a dropped frame: a newer one replaced it.
RULE = "replaced"
#: Cause of an image whose camera_info was replaced in DDS' queue of one, so that half a frame was lost in transport;
#: and the largest share of such frames.
HALF, HALVES = "no camera_info", 0.01
#: Largest share of frames that may be replaced in DDS' queue of one before they reach the node.
LOST = 0.5
#: Smallest share of the answers that a best-effort reader receives on each topic, with readers on all topics.
SERVED = 0.5
#: Number of samples before and after each one over which the picture's rates are averaged.
SMOOTH = 3
#: Texts that a log must not contain.
ALARMS = ("Traceback (most recent call last)", "[ERROR]", "[FATAL]", "Exception in thread", "unexpected error")

Samples = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """One condition: its name, whether it holds, and the figures."""

    name: str
    good: bool
    figures: str


def judge(run: Mapping[str, Any], log: Sequence[str]) -> list[Verdict]:
    """The verdicts on a run.

    Parameters
    ----------
    run : content of samples.json: samples of every second, figures of the phases and at the end.
    log : lines of the node's logs.
    """
    samples = [sample for sample in run["samples"] if sample["phase"] != "warm-up"]
    return [
        Verdict("ran to its end", not run["trouble"], run["trouble"] or f"{len(run['samples'])} s"),
        *_memory(samples),
        _count("threads", samples),
        _count("files", samples),
        *_latency(run["phases"], run["cores"]),
        *_frames(run),
        _log(log),
    ]


def table(run: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The phases and the verdicts, aligned."""
    rows = [f"  {'':12} {'sent':>9} {'answered':>9} {'age p50':>9} {'age p99':>9} {'node':>10} {'others':>10}"]
    for name, phase in run["phases"].items():
        ages = "".join(f" {1000 * phase[key]:6.0f} ms" for key in ("age p50", "age p99"))
        cores = "".join(f" {phase[key]:4.2f} cores" for key in ("node's cores", "others' cores"))
        rows.append(f"  {name:12} {phase['sent']:6.1f} Hz {phase['answered']:6.1f} Hz{ages}{cores}")
    rows += [f"  {'ok  ' if v.good else 'FAIL'} {v.name:28} {v.figures}" for v in verdicts]
    return "\n".join(rows)


def picture(run: Mapping[str, Any], path: Path) -> None:
    """Draw memory, age and rates over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    samples = run["samples"]
    seconds = [sample["seconds"] for sample in samples]
    figure, (memory, age, rates) = plt.subplots(3, 1, figsize=(9, 7), sharex=True, constrained_layout=True)
    memory.plot(seconds, [sample["resident"] / 2**20 for sample in samples], label="resident")
    memory.plot(seconds, [sample["shared"] / 2**20 for sample in samples], label="of it files and shared memory")
    memory.set_ylabel("memory of the node (MiB)")
    age.plot(seconds, [1000 * (sample["age"] or float("nan")) for sample in samples], color="C2", label="each second")
    age.set_ylabel("age of an answer (ms)")
    counts = [{**sample, "dropped": sum(sample["dropped"].values())} for sample in samples]
    for key, color in (("sent", "C3"), ("dropped", "C1"), ("answers", "C0")):
        rates.plot(seconds, _smooth_rate(counts, key), color=color, label=key)
    rates.set_ylabel("frames per second")
    rates.set_xlabel("seconds")
    for axis in (memory, age, rates):
        axis.set_ylim(0, 1.25 * axis.get_ylim()[1])
        axis.grid(alpha=0.3)
        axis.legend(loc="upper right", ncols=3)
        for name, start in _starts(samples):
            axis.axvline(start, color="0.6", linewidth=0.8)
            if axis is memory:
                axis.text(start, 1.02, f" {name}", transform=axis.get_xaxis_transform(), color="0.3")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _memory(samples: Samples) -> list[Verdict]:
    first, last = _windows(samples, "resident")
    growth = last / max(first, 1) - 1
    slope = _slope([sample["seconds"] for sample in samples], [sample["resident"] for sample in samples])
    span = samples[-1]["seconds"] - samples[0]["seconds"] if samples else 0.0
    line = slope * span / max(first, 1)
    figures = f"{first / 2**20:.1f} -> {last / 2**20:.1f} MiB, {100 * growth:+.2f} %"
    trend = f"{100 * line:+.2f} % over the run, {slope * 3600 / 2**20:+.1f} MiB/h"
    return [
        Verdict("memory, first and last", first > 0 and growth <= MEMORY_GROWTH, figures),
        Verdict("memory, straight line", line <= MEMORY_GROWTH, trend),
    ]


def _count(key: str, samples: Samples) -> Verdict:
    first, last = _windows(samples, key, max)
    return Verdict(key, 0 < last <= first, f"{first:.0f} -> {last:.0f}")


def _latency(phases: Mapping[str, Mapping[str, float]], cores: int) -> list[Verdict]:
    thirds = [phases[name] for name in ("full", "full again") if name in phases]
    ages = [phase["age p50"] for phase in thirds]
    others = [phase["others' cores"] for phase in thirds]
    growth = float("nan")
    if len(thirds) == 2:
        first, last = (age * max(cores - taken, 0.1) for age, taken in zip(ages, others, strict=True))
        growth = last / first
    figures = f"{' -> '.join(f'{1000 * age:.0f}' for age in ages)} ms"
    figures += f", others took {' -> '.join(f'{taken:.2f}' for taken in others)} of {cores} cores: {growth:.2f} times"
    most = max((phase["answered"] * phase["age p50"] for phase in phases.values()), default=float("nan"))
    return [
        Verdict("latency does not grow", growth <= LATENCY_GROWTH, figures),
        Verdict("no queue, under overload, too", most <= ON_THE_WAY, f"at most {most:.2f} frames on their way"),
    ]


def _frames(run: Mapping[str, Any]) -> list[Verdict]:
    end = run["end"]
    dropped = end["dropped"]
    others = {cause: count for cause, count in dropped.items() if cause not in (RULE, HALF)}
    by_rule = not others and dropped.get(HALF, 0) <= HALVES * end["sent"]
    lost, share = end["lost before the node"], end["lost before the node"] / max(end["sent"], 1)
    got = f"{end['frames in']} of {end['sent']} sent reached the node ({lost} replaced in transport)"
    parts = f"= {end['frames out']} answered + {sum(dropped.values())} dropped + {end['unaccounted']} unaccounted for"
    topic, least = min(end["readings"].items(), key=lambda item: item[1], default=("none", 0))
    return [
        Verdict("every frame accounted for", end["unaccounted"] == 0 and 0 <= share < LOST, f"{got} {parts}"),
        Verdict("drops by the rule alone", by_rule, ", ".join(f"{n} {c}" for c, n in dropped.items()) or "none"),
        Verdict(
            "every answer arrives",
            abs(end["answers"] - end["frames out"]) <= 0.01 * end["frames out"],
            f"{end['answers']} of {end['frames out']}, reliably",
        ),
        Verdict(
            "every reader is served",
            least >= SERVED * end["frames out"],
            f"best effort, of {len(end['readings'])} topics: {least} of {end['frames out']} or more ({topic})",
        ),
    ]


def _log(lines: Sequence[str]) -> Verdict:
    bad = [line for line in lines if any(alarm in line for alarm in ALARMS)]
    return Verdict("log without errors", not bad, bad[0][:100] if bad else f"{len(lines)} lines")


def _windows(
    samples: Samples, key: str, summary: Callable[[list[float]], float] = statistics.median
) -> tuple[float, float]:
    """A figure in the first and in the last window; zeros without samples."""
    values = [sample[key] for sample in samples]
    size = max(round(WINDOW * len(values)), WINDOW_SAMPLES)
    return (summary(values[:size]), summary(values[-size:])) if values else (0.0, 0.0)


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    return statistics.linear_regression(x, y).slope if len(x) > 1 else 0.0


def _smooth_rate(samples: Samples, key: str) -> list[float]:
    """Rate of a counter around each sample, over a few seconds."""
    rates = []
    for at in range(len(samples)):
        start, stop = samples[max(at - SMOOTH, 0)], samples[min(at + SMOOTH, len(samples) - 1)]
        rates.append((stop[key] - start[key]) / max(stop["seconds"] - start["seconds"], 1e-9))
    return rates


def _starts(samples: Samples) -> list[tuple[str, float]]:
    """Name and first second of each phase."""
    starts: dict[str, float] = {}
    for sample in samples:
        starts.setdefault(sample["phase"], sample["seconds"])
    return list(starts.items())
