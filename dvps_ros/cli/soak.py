"""``dvps soak``: the perception node under full load for minutes, and whether it stays the same all the while."""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import random
import time
from pathlib import Path

from dvps_ros import resources
from dvps_ros.cli.demo import environment
from dvps_ros.cli.processes import Processes
from dvps_ros.cli.soak_report import judge, picture, table


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``dvps soak`` and its options."""
    parser = subparsers.add_parser(
        "soak",
        help="load the perception node for minutes and see that it stays the same",
        description="Feeds the perception node, as a process of its own over DDS, all the frames that it can take, in "
        "the middle third several times as many, while every topic is read best effort and by a subscriber that never "
        "takes a message. Fails when memory, threads, open files or the age of answers grow, when a frame is lost "
        "that no rule accounts for, or when its log holds an error. Leaves soak.json, soak.png and the node's log.",
    )
    parser.add_argument("--model", default="models/street", help="model folder (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=_seconds, default=600.0, help="length, warm-up left out (default: %(default)g)"
    )
    parser.add_argument(
        "--overload", type=_factor, default=5.0, help="input of the middle third / possible rate (default: %(default)g)"
    )
    parser.add_argument("--frames", type=int, default=24, help="different pictures (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("soak"), help="where the files go (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the soak; 0 when the node stayed the same, 1 when it did not or a process failed.

    Raises
    ------
    ValueError : where ROS 2, MuJoCo or Matplotlib is missing.
    FileNotFoundError : naming a missing model folder.
    """
    for module, extra in (("rclpy", "ros"), ("mujoco", "sim"), ("matplotlib", "sim")):
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"{module} is not installed; pip install 'dvps_ros[{extra}]'")
    model = resources.find(args.model).resolve()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    samples = folder / "samples.json"
    samples.unlink(missing_ok=True)  # of an earlier run
    begun = time.time()
    domain = random.SystemRandom().randint(1, 101)
    print(f"Soak of {args.seconds:g} s, Ctrl-C ends it early. ROS_DOMAIN_ID={domain}")
    perception = {"model": str(model), "device": args.device, "autostart": True}
    load = {"folder": str(folder), "seconds": args.seconds, "overload": args.overload, "frames": args.frames}
    with Processes(folder, environment(domain, folder)) as processes:
        pid = processes.start("dvps_ros.nodes.perception_node", perception)
        processes.start("dvps_ros.nodes.soak_node", {**load, "pid": pid}, shown=True)
        code = processes.wait_for("soak_node")
    if samples.exists():
        written = [path for path in sorted((folder / "log").glob("*.log")) if path.stat().st_mtime >= begun]
        code = report(folder, [folder / "perception_node.log", *written]) or code
    return code


def report(folder: Path, logs: list[Path]) -> int:
    """Judge the samples in ``folder``, write soak.json and soak.png there and print the table; 1 when one fails."""
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


def _seconds(text: str) -> float:
    return _at_least(text, 5.0)


def _factor(text: str) -> float:
    return _at_least(text, 1.0)


def _at_least(text: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {least:g} up")
    return value
