"""``dvps topics``: bytes and processor time of every topic of the perception node."""

from __future__ import annotations

import argparse
import subprocess
import sys

from dvps_ros.cli.arguments import count, positive, require_modules


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``dvps topics`` and its options."""
    parser = subparsers.add_parser(
        "topics",
        help="bytes and processor time of every topic",
        description="Prints a table of the cost of one message of each topic of the perception node: its serialised "
        "bytes, and the milliseconds of one core to build and to serialise it if no other topic is subscribed. The "
        "pictures show the simulated street; labels and depth are those of the model.",
    )
    parser.add_argument("--model", default="models/street", help="model folder (default: %(default)s)")
    parser.add_argument(
        "--sizes", nargs="+", default=["1024x512", "2048x1024"], metavar="WxH", help="picture sizes (default: both)"
    )
    parser.add_argument("--rate", type=positive, default=10.0, metavar="HZ", help="frames per second (default: 10)")
    parser.add_argument("--frames", type=count, default=3, metavar="N", help="pictures of each size (default: 3)")
    parser.add_argument("--repeats", type=count, default=5, metavar="N", help="messages of each picture (default: 5)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table, which a process with ROS makes; returns its exit code.

    Raises ``ValueError`` if ROS 2 or MuJoCo is missing.
    """
    require_modules("rclpy", "mujoco")
    options = ["--model", args.model, "--rate", str(args.rate), "--frames", str(args.frames)]
    command = [sys.executable, "-m", "dvps_ros.benchmarks.topic_costs", *options, "--repeats", str(args.repeats)]
    return subprocess.run([*command, "--sizes", *args.sizes], check=False).returncode
