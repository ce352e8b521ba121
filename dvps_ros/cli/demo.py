"""``dvps demo``: a simulated camera, the perception node and an observer, three processes that communicate by DDS."""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path

from dvps_ros import resources
from dvps_ros.cli.arguments import add_device, positive, require_modules, whole_number
from dvps_ros.demo.processes import Processes, environment


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``dvps demo`` and its options."""
    parser = subparsers.add_parser(
        "demo",
        help="drive the simulated street through the perception node",
        description="Runs the simulated camera and the perception node as two processes over DDS for a minute, or "
        "until Ctrl-C, and writes montage.png (pictures of the drive) and recording.mcap (for Foxglove and ros2 bag).",
    )
    parser.add_argument("--model", default="models/street", help="model folder (default: %(default)s)")
    add_device(parser)
    parser.add_argument("--seconds", type=positive, default=60.0, help="length of the run (default: %(default)g)")
    parser.add_argument(
        "--rate", type=positive, default=_rate(), help="camera frames per second (default: %(default)g)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="street number; models/street was not trained on odd ones (default: %(default)s)",
    )
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where the files go (default: %(default)s)")
    parser.add_argument(
        "--domain",
        type=whole_number(0, 232),
        help="ROS_DOMAIN_ID, for use with ros2 tools (default: one that is probably unused)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; returns 0 with both files written, 1 if a process fails.

    Raises
    ------
    ValueError : ROS 2 or MuJoCo is missing.
    FileNotFoundError : naming a missing model folder.
    """
    require_modules("rclpy", "mujoco")
    model = resources.find(args.model).resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    domain = random.SystemRandom().randint(1, 101) if args.domain is None else args.domain
    print(
        f"Simulated camera -> perception -> observer: {args.seconds:g} s, Ctrl-C ends it early. ROS_DOMAIN_ID={domain}"
    )
    camera = {"seed": args.seed, "rate": args.rate}
    perception = {"model": str(model), "device": args.device, "autostart": True, "points_stride": 2}
    observer = {"folder": str(args.folder.resolve()), "seconds": args.seconds}
    inputs = {"image": "/camera/image", "camera_info": "/camera/camera_info"}
    truth = {f"~/{name}": f"/camera/truth/{name}" for name in ("panoptic", "depth", "pose")}
    with Processes(args.folder, environment(domain, args.folder)) as processes:
        processes.start("dvps_ros.nodes.perception_node", perception, inputs)
        processes.start("dvps_ros.nodes.sim_camera_node", camera, inputs | truth)
        processes.start("dvps_ros.demo.observer_node", observer, shown=True)
        code = processes.wait_for("observer_node")
    if code == 0:
        recording = args.folder / "recording.mcap"
        print(f"  {args.folder / 'montage.png'}   pictures of the drive")
        print(
            f"  {recording}   {recording.stat().st_size / 1e6:.0f} MB; open in Foxglove, or ros2 bag play {recording}"
        )
    return code


def _rate() -> float:
    # rendering in software needs a core for three or four frames per second, and the network needs cores, too
    return 10.0 if len(os.sched_getaffinity(0)) >= 6 else 4.0
