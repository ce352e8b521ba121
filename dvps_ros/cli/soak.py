"""``dvps soak``: runs the perception node under full load for minutes, and checks that its resources stay bounded."""

from __future__ import annotations

import argparse
from pathlib import Path

from dvps_ros import resources
from dvps_ros.cli.arguments import add_device, real_number, require_modules


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``dvps soak`` and its options."""
    parser = subparsers.add_parser(
        "soak",
        help="load the perception node for minutes and check that its resources stay bounded",
        description="Runs the perception node as a process of its own and sends it, over DDS, all the frames that it "
        "can process, in the middle third several times as many. Every topic has a best-effort subscriber, and one "
        "that never takes a message. Fails if memory, threads, open files or the age of answers grow, if a frame is "
        "lost without being counted, or if the log has an error. Writes soak.json, soak.png and the node's log.",
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
        help="input rate in the middle third as a multiple of the possible rate (default: %(default)g)",
    )
    parser.add_argument("--frames", type=int, default=24, help="number of different pictures (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("soak"), help="where the files go (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the test; returns 0 if it passes, 1 if it fails or a process fails.

    Raises
    ------
    ValueError : ROS 2, MuJoCo or Matplotlib is missing.
    FileNotFoundError : naming a missing model folder.
    """
    require_modules("rclpy", "mujoco", "matplotlib")
    from dvps_ros.benchmarks.soak import soak

    model = resources.find(args.model).resolve()
    return soak(model, args.device, args.folder.resolve(), args.seconds, args.overload, args.frames)
