"""``dvps soak``: the perception node under full load for minutes, and whether it stays the same all the while."""

from __future__ import annotations

import argparse
from pathlib import Path

from dvps_ros import resources
from dvps_ros.cli.arguments import add_device, real_number, require_modules


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
    add_device(parser)
    parser.add_argument(
        "--seconds", type=real_number(5.0), default=600.0, help="length, warm-up left out (default: %(default)g)"
    )
    parser.add_argument(
        "--overload",
        type=real_number(1.0),
        default=5.0,
        help="input of the middle third / possible rate (default: %(default)g)",
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
    require_modules("rclpy", "mujoco", "matplotlib")
    from dvps_ros.benchmarks.soak import soak

    model = resources.find(args.model).resolve()
    return soak(model, args.device, args.folder.resolve(), args.seconds, args.overload, args.frames)
