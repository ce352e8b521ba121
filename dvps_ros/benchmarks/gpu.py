"""``make gpu``: what only a CUDA device can show, in one run: tests, precision, times, recovery of memory, training.

Leaves ``gpu.json`` and ``gpu.txt``, the same as a table. Both are written anew after every measurement, so that a run
that is stopped leaves what it has measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvps_ros import checkpoints, resources
from dvps_ros.benchmarks import stages
from dvps_ros.benchmarks.training_cost import measure_steps
from dvps_ros.config import Config, load_config
from dvps_ros.errors import first_line
from dvps_ros.labels import LabelSet
from dvps_ros.network import DvpsNet, build
from dvps_ros.runtime import DeviceMemoryError, Perceiver
from dvps_ros.runtime.agreement import FULL, HALF, compare
from dvps_ros.runtime.arithmetic import DTYPES, Precision

#: The tests that need a CUDA device.
TESTS = "test/runtime/test_runtime_cuda.py"
#: Pairs of training steps between two checks of the time.
_PAIRS = 20


@dataclass(frozen=True)
class Case:
    """A model folder or configuration, the size (H, W) of its pictures, and the run times to measure."""

    source: str
    size: tuple[int, int]
    runtimes: Sequence[str] = ("torch",)


@dataclass(frozen=True)
class Plan:
    """The measurements: cases by name, in order, and durations.

    Attributes: ``frames`` timed of each, ``minutes`` of the whole run; training of ``recipe`` at ``crop`` (H, W) has
    what the others leave, and at least ``training`` minutes, for which late cases are left out.
    """

    cases: Mapping[str, Case]
    frames: int = 50
    minutes: float = 10.0
    training: float = 0.5
    recipe: str = "config/deepdps_r50.yaml"
    crop: tuple[int, int] = (512, 1024)


_SMALL, _LARGE = (512, 1024), (1024, 2048)
_R50, _SWIN = "config/deepdps_r50.yaml", "config/deepdps_swin_b.yaml"
_BOTH = ("torch", "cudagraph")
STANDARD = Plan(
    {
        "street 512x1024": Case("models/street", _SMALL, _BOTH),
        "r50 512x1024": Case(_R50, _SMALL, _BOTH),
        "swin_b 512x1024": Case(_SWIN, _SMALL, _BOTH),
        "street 1024x2048": Case("models/street", _LARGE, _BOTH),
        "r50 1024x2048": Case(_R50, _LARGE, _BOTH),
        "swin_b 1024x2048": Case(_SWIN, _LARGE, _BOTH),
        # last, because compiling takes a minute
        "street 512x1024 compiled": Case("models/street", _SMALL, ("torch", "compile")),
    }
)


def require_cuda() -> torch.device:
    """The first CUDA device; raises ``ValueError`` if torch finds none."""
    if not torch.cuda.is_available():
        raise ValueError(
            f"make gpu needs a CUDA device, torch {torch.__version__} finds none: a driver is missing, or a build of "
            "torch for CUDA (https://pytorch.org/get-started/locally)"
        )
    return torch.device("cuda", 0)


def network_of(source: str) -> tuple[DvpsNet, Config]:
    """The network of a model folder, or of a configuration with random weights from a fixed seed."""
    found = resources.find(source)
    if found.is_dir():
        return checkpoints.load(found, torch.device("cpu")), checkpoints.load_model_config(found)
    config = load_config(found)
    torch.manual_seed(0)
    # Queries with random weights have low scores: keep all, so that merging has at least its usual work.
    return build(config.network), replace(config, merge=replace(config.merge, score_threshold=0, overlap_threshold=0))


def parity(net: DvpsNet, labels: LabelSet, size: tuple[int, int], device: torch.device) -> dict[str, Any]:
    """Agreement of each precision's scene with that of float32 on the same device, at ``size`` (H, W)."""
    found = {}
    for precision in ("16", "bf16"):

        def half(images: torch.Tensor, dtype: torch.dtype = DTYPES[precision]) -> Any:
            with torch.autocast(device.type, dtype):
                return net(images)

        agreement = compare(net, half, size, labels, device, HALF)
        found[precision] = {"ids": agreement.ids, "depth": agreement.depth, "good": agreement.good}
    again = compare(net, net, size, labels, device, FULL)
    return {**found, "32": {"ids": again.ids, "depth": again.depth, "good": again.good}}


def recovery(perceiver: Perceiver, size: tuple[int, int]) -> dict[str, bool]:
    """Whether a step reports that memory ran out, and the next one works; ``size`` (H, W) is that of the image."""
    picture = np.zeros((*size, 3), np.uint8)
    perceiver.step(picture)  # libraries allocate some memory once, in the first step
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(perceiver.device)
    hoard = torch.empty(max(free - (4 << 20), 0), dtype=torch.uint8, device=perceiver.device)
    try:
        perceiver.step(picture)
        reported = False
    except DeviceMemoryError:
        reported = True
    del hoard
    torch.cuda.empty_cache()
    return {"reported": reported, "works again": len(perceiver.step(picture).panoptic) == size[0]}


def training(config: Config, size: tuple[int, int], device: torch.device, minutes: float) -> dict[str, float]:
    """Images per second and peak GiB of guided training on synthetic images (H, W), for ``minutes``.

    Arithmetic is bfloat16 on CUDA. On a CPU it is float32: oneDNN 3.x writes beyond its memory in the bfloat16 gradient
    of 1x1 convolutions with 8 channels (AMD Zen 4).
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    seconds: list[float] = []
    peak, end = 0, time.monotonic() + 60 * minutes
    while not seconds or time.monotonic() < end:
        costs = measure_steps(config, size, device, dtype, _PAIRS if minutes else 1, 2 if minutes else 0)
        seconds += costs["guided"].totals()
        peak = max(peak, costs["guided"].peak)
    rate = config.training.batch_size / statistics.median(seconds)
    return {"images_per_second": round(rate, 3), "peak_gib": round(peak / 2**30, 3), "steps": len(seconds)}


def measure(plan: Plan, device: torch.device, precision: Precision) -> Iterator[dict[str, Any]]:
    """The report after each measurement: parity, times and memory of each case, then training.

    A case that fails has its ``error`` in one line; one without time left has it too.
    """
    end = time.monotonic() + 60 * plan.minutes
    report: dict[str, Any] = {"machine": stages.machine(device, precision), "parity": {}, "times": {}}
    for name, case in plan.cases.items():
        if time.monotonic() + 60 * plan.training > end:
            report["times"][name] = {"error": f"not measured: {plan.minutes:g} minutes were over"}
            continue
        try:
            report["parity"][name], report["times"][name] = _measure(case, plan.frames, device, precision)
        except (RuntimeError, ValueError) as error:
            report["times"][name] = {"error": first_line(error)}
        yield report
    left = max((end - time.monotonic()) / 60, plan.training)
    report["training"] = training(load_config(resources.find(plan.recipe)), plan.crop, device, left)
    yield report


def _measure(
    case: Case, frames: int, device: torch.device, precision: Precision
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parity of a case's precisions, and its times beside those of the pair."""
    net, config = network_of(case.source)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    pictures = stages.read_pictures(None, case.size, 1)
    perceivers: dict[str, Perceiver] = {}
    refused: dict[str, str] = {}
    started = time.monotonic()
    for name in case.runtimes:
        try:
            made = Perceiver(net, config, str(device), precision, runtime=name)  # type: ignore[arg-type]
            stages.time_stages({name: made}, pictures, 1, 0)  # prepares its program
            perceivers[name] = made
        except (RuntimeError, ValueError) as error:
            refused[name] = first_line(error)
    if not perceivers:
        raise ValueError("; ".join(refused.values()))
    started = time.monotonic() - started
    peak = stages.peak_memory(device)
    agreed = parity(net, next(iter(perceivers.values())).labels, case.size, device)
    perceivers["pair"] = stages.random_pair(case.size, str(device), precision)
    runs = stages.summary(stages.time_stages(perceivers, pictures, frames, 5))
    return agreed, {"runs": runs, "refused": refused, "peak_mib": round(peak), "first_s": round(started, 1)}


def table(report: Mapping[str, Any]) -> str:
    """The report as text."""
    lines = [report["machine"], *(f"{key}: {report[key]}" for key in ("tests", "recovery") if key in report)]
    for key, found in report["times"].items():
        if "error" in found:
            lines += ["", f"{key}: {found['error']}"]
            continue
        agreed = ", ".join(
            f"{precision}: ids {100 * row['ids']:.2f} %, depth {100 * row['depth']:.2f} %"
            for precision, row in report["parity"][key].items()
        )
        lines += ["", f"{key}, peak {found['peak_mib']} MiB, first frames {found['first_s']} s; {agreed}"]
        lines += [stages.stage_table(found["runs"]), *found["refused"].values()]
    return "\n".join([*lines, "", f"training: {report.get('training', 'not measured')}"]) + "\n"


def _write(folder: Path, report: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "gpu.txt").write_text(table(report))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; returns 0 if tests, parity, recovery and times are good, 1 if not, 2 without a CUDA device.

    bfloat16 is measured, and not required to be good.
    """
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder of the report (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=STANDARD.minutes, help="of the run (default: %(default)g)")
    args = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        device = require_cuda()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    tests = subprocess.run([sys.executable, "-m", "pytest", "-q", TESTS], check=False).returncode
    net, config = network_of("models/street")
    first: dict[str, Any] = {"tests": tests}
    first["recovery"] = recovery(Perceiver(net, config, str(device), "16"), (512, 1024))
    report: dict[str, Any] = {"machine": stages.machine(device, "16"), "times": {}, "parity": {}, **first}
    _write(args.out, report)
    left = args.minutes - (time.monotonic() - started) / 60
    for measured in measure(replace(STANDARD, minutes=left), device, "16"):
        report = {**first, **measured}
        _write(args.out, report)
    print(table(report))
    # bfloat16 is reported and not required: eight bits are too coarse for the depth of some networks
    agreed = all(found[precision]["good"] for found in report["parity"].values() for precision in ("16", "32"))
    measured_all = not any("error" in found or found["refused"] for found in report["times"].values())
    return 0 if tests == 0 and agreed and measured_all and all(first["recovery"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
