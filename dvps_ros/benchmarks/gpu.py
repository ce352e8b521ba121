"""``make gpu``: what only a CUDA device can show, in one run: tests, precision, times, recovery of memory, training.

Leaves ``gpu.json`` and ``gpu.txt``, the same as a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvps_ros import checkpoints, resources
from dvps_ros.benchmarks import stages
from dvps_ros.benchmarks.training_cost import measure_steps
from dvps_ros.config import Config, load_config
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
class Plan:
    """The measurements: model folders or configurations by name, sizes (H, W), and durations.

    Attributes: ``frames`` timed of each, ``runtimes``, ``minutes`` of training of ``recipe`` at ``crop`` (H, W).
    """

    models: Mapping[str, str]
    sizes: Sequence[tuple[int, int]] = ((512, 1024), (1024, 2048))
    frames: int = 50
    runtimes: Sequence[str] = ("torch", "compile")
    minutes: float = 10.0
    recipe: str = "config/deepdps_r50.yaml"
    crop: tuple[int, int] = (512, 1024)


STANDARD = Plan(
    {"street": "models/street", "r50": "config/deepdps_r50.yaml", "swin_b": "config/deepdps_swin_b.yaml"},
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
    """Images per second and peak GiB of guided training in bfloat16 on synthetic images (H, W), for ``minutes``."""
    seconds: list[float] = []
    peak, end = 0, time.monotonic() + 60 * minutes
    while not seconds or time.monotonic() < end:
        costs = measure_steps(config, size, device, torch.bfloat16, _PAIRS if minutes else 1, 2 if minutes else 0)
        seconds += costs["guided"].totals()
        peak = max(peak, costs["guided"].peak)
    rate = config.training.batch_size / statistics.median(seconds)
    return {"images_per_second": round(rate, 3), "peak_gib": round(peak / 2**30, 3), "steps": len(seconds)}


def measure(plan: Plan, device: torch.device, precision: Precision) -> dict[str, Any]:
    """Parity, times and memory of each model and size, and of training."""
    report: dict[str, Any] = {"machine": stages.machine(device, precision), "parity": {}, "times": {}}
    for name, source in plan.models.items():
        net, config = network_of(source)
        for size in plan.sizes:
            key = f"{name} {size[0]}x{size[1]}"
            made = [Perceiver(net, config, str(device), precision, runtime=r) for r in plan.runtimes]  # type: ignore[arg-type]
            report["parity"][key] = parity(net, made[0].labels, size, device)
            perceivers: dict[str, Perceiver] = {p.runtime: p for p in made}
            perceivers["pair"] = stages.random_pair(size, str(device), precision)
            times = stages.time_stages(perceivers, stages.read_pictures(None, size, 1), plan.frames, 5)
            report["times"][key] = {"runs": stages.summary(times), "peak_mib": round(stages.peak_memory(device))}
    report["training"] = training(load_config(resources.find(plan.recipe)), plan.crop, device, plan.minutes)
    return report


def table(report: Mapping[str, Any]) -> str:
    """The report as text."""
    lines = [report["machine"], *(f"{key}: {report[key]}" for key in ("tests", "recovery") if key in report)]
    for key, found in report["times"].items():
        agreed = ", ".join(
            f"{precision}: ids {100 * row['ids']:.2f} %, depth {100 * row['depth']:.2f} %"
            for precision, row in report["parity"][key].items()
        )
        lines += ["", f"{key}, peak {found['peak_mib']} MiB; {agreed}", stages.stage_table(found["runs"])]
    return "\n".join([*lines, "", f"training: {report['training']}"]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; returns 0 if tests, parity and recovery are good, 1 if not, 2 without a CUDA device."""
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder of the report (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=STANDARD.minutes, help="of training (default: %(default)g)")
    args = parser.parse_args(arguments)
    try:
        device = require_cuda()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    tests = subprocess.run([sys.executable, "-m", "pytest", "-q", TESTS], check=False).returncode
    net, config = network_of("models/street")
    recovered = recovery(Perceiver(net, config, str(device), "16"), (512, 1024))
    report = {"tests": tests, "recovery": recovered, **measure(replace(STANDARD, minutes=args.minutes), device, "16")}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "gpu.txt").write_text(table(report))
    print(table(report))
    agreed = all(row["good"] for found in report["parity"].values() for row in found.values())
    return 0 if tests == 0 and agreed and all(recovered.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
