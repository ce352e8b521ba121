"""Options of the subcommands that read pictures, videos and recordings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dvps_ros.cli.arguments import add_intrinsics, given_intrinsics, whole_number

if TYPE_CHECKING:
    from dvps_ros.datasets.streams import Given


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add ``SOURCE...`` and the options for what sources may lack."""
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="recording (.mcap, .db3 or their folder; ROS 1: .bag), video, picture, or folder of pictures",
    )
    parser.add_argument(
        "--topic",
        nargs="+",
        action="extend",
        default=[],
        help="image topics of the recordings (default: the only one in each)",
    )
    parser.add_argument(
        "--camera-info",
        default="",
        metavar="TOPIC",
        help="camera_info topic of the recordings (default: camera_info in the namespace of the images)",
    )
    parser.add_argument(
        "--rectified",
        action="store_true",
        help="the images are rectified although camera_info has distortion; always on for topics named image_rect...",
    )
    parser.add_argument(
        "--bits",
        type=whole_number(0, 16),
        default=0,
        metavar="N",
        help="number of significant bits of 16-bit pixels, e.g. 12 (default: 0, all)",
    )
    add_intrinsics(parser)


def given_for_sources(args: argparse.Namespace, need_camera: bool) -> Given:
    """The settings from the options of ``add_sources``.

    Parameters
    ----------
    need_camera : whether sources without a camera are refused.

    Raises ``ValueError`` if some of the intrinsics are given without ``--fx``.
    """
    from dvps_ros.datasets.streams import Given

    return Given(
        camera=given_intrinsics(args),
        topics=tuple(dict.fromkeys(args.topic)),
        info_topic=args.camera_info,
        need_camera=need_camera,
        rectified=args.rectified,
        bits=args.bits,
    )
