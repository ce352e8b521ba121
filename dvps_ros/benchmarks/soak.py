"""The perception node under full load for minutes: starts the processes and reports the results."""

from __future__ import annotations

import json
import platform
import random
import time
from pathlib import Path

from dvps_ros.benchmarks.soak_report import judge, picture, table
from dvps_ros.demo.processes import Processes, environment


def soak(model: Path, device: str, folder: Path, seconds: float, overload: float, frames: int) -> int:
    """Run the node and the load; returns 0 if the test passes, 1 if it fails or a process fails.

    Parameters
    ----------
    folder : folder of soak.json, soak.png and the logs.
    seconds : length of the run without its warm-up.
    overload : input rate in the middle third, as a multiple of the rate that the node can answer.
    frames : number of different pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    samples = folder / "samples.json"
    samples.unlink(missing_ok=True)  # of an earlier run
    begun = time.time()
    domain = random.SystemRandom().randint(1, 101)
    print(f"Soak of {seconds:g} s, Ctrl-C ends it early. ROS_DOMAIN_ID={domain}")
    perception = {"model": str(model), "device": device, "autostart": True}
    load = {"folder": str(folder), "seconds": seconds, "overload": overload, "frames": frames}
    with Processes(folder, environment(domain, folder)) as processes:
        pid = processes.start("dvps_ros.nodes.perception_node", perception)
        processes.start("dvps_ros.benchmarks.soak_node", {**load, "pid": pid}, shown=True)
        code = processes.wait_for("soak_node")
    if samples.exists():
        written = [path for path in sorted((folder / "log").glob("*.log")) if path.stat().st_mtime >= begun]
        code = report(folder, [folder / "perception_node.log", *written]) or code
    return code


def report(folder: Path, logs: list[Path]) -> int:
    """Judge the samples in ``folder``, write soak.json and soak.png, print the table; returns 1 if a verdict fails."""
    run = json.loads((folder / "samples.json").read_text())
    lines = [line for path in logs for line in path.read_text(errors="replace").splitlines()]
    verdicts = judge(run, lines)
    facts = {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "machine": _machine()}
    kept = {**facts, "verdicts": [vars(verdict) for verdict in verdicts], **run}
    (folder / "soak.json").write_text(json.dumps(kept, indent=1))
    picture(run, folder / "soak.png")
    print(f"{facts['machine']}, {facts['date']}")
    print(table(run, verdicts))
    print(f"  {folder / 'soak.json'}   every second's figures\n  {folder / 'soak.png'}   their curves")
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _machine() -> str:
    """Cores, processor and Python of this machine."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{len(names)} cores, {names[0] if names else platform.machine()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
