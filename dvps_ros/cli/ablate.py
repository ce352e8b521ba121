"""``dvps ablate``: train and compare several configurations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dvps_ros.cli.arguments import add_settings, configured, count

#: File with the common part of a folder's configurations; it is not a configuration of its own.
COMMON = "common"


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "ablate",
        help="train and compare several configurations",
        description="Trains every configuration of a folder (except common.yaml) with several seeds, measures each on "
        "held-out frames, and writes OUT/ablation.md and OUT/ablation.json with mean and sample deviation over the "
        "seeds. After an interruption the same command continues.",
    )
    parser.add_argument("--configs", type=Path, default=Path("config/ablation"), help="folder (default: %(default)s)")
    parser.add_argument("--data", type=Path, required=True, help="data set to measure on, e.g. data/heldout")
    parser.add_argument("--backbone", metavar="MODEL", help="model whose backbone starts all runs")
    parser.add_argument("--seeds", type=count, default=3, metavar="N", help="seeds 1..N (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder (default: %(default)s)")
    add_settings(parser, "of all configurations")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="(default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Train the missing runs, then print the table.

    Raises ``ValueError`` or ``FileNotFoundError`` for a user's mistake.
    """
    from dvps_ros import resources

    folder = resources.find(args.configs)
    configs = sorted(path for path in folder.glob("*.yaml") if path.stem != COMMON)
    if not configs:
        raise FileNotFoundError(f"no configuration in {folder}")
    for path in configs:
        configured([str(path)], args.set)
    if not args.data.is_dir():
        raise FileNotFoundError(f"no data set folder {args.data}")
    from dvps_ros.benchmarks.ablation import compare

    text = compare(configs, args.seeds, args.data, args.out, args.set, args.device, args.backbone)
    print(text, end="")
    return 0
