"""``dvps topics``: bytes and processor time of every topic of the perception node, to choose which to turn on."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``dvps topics`` and its options."""
    parser = subparsers.add_parser(
        "topics",
        help="bytes and processor time of every topic",
        description="Prints a table of what one message of each of the perception node's topics costs: its serialised "
        "bytes, and milliseconds of one core to build and to serialise it when nobody reads another topic. The "
        "pictures are of the simulated street, the labels and depth the model's own.",
    )
    parser.add_argument("--model", default="models/street", help="model folder (default: %(default)s)")
    parser.add_argument(
        "--sizes", nargs="+", default=["1024x512", "2048x1024"], metavar="WxH", help="picture sizes (default: both)"
    )
    parser.add_argument("--rate", type=_positive, default=10.0, metavar="HZ", help="frames per second (default: 10)")
    parser.add_argument("--frames", type=_count, default=3, metavar="N", help="pictures of each size (default: 3)")
    parser.add_argument("--repeats", type=_count, default=5, metavar="N", help="times each is packed (default: 5)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table, made by a process with ROS in it; its exit code.

    Raises ``ValueError`` where ROS 2 or MuJoCo is missing.
    """
    for module, extra in (("rclpy", "ros"), ("mujoco", "sim")):
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"{module} is not installed; pip install 'dvps_ros[{extra}]'")
    options = ["--model", args.model, "--rate", str(args.rate), "--frames", str(args.frames)]
    command = [sys.executable, "-m", "dvps_ros.nodes.topic_costs", *options, "--repeats", str(args.repeats)]
    return subprocess.run([*command, "--sizes", *args.sizes], check=False).returncode


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number above 0")
    return int(text)
