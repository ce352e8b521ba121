"""``dvps evaluate --cameras`` and ``--drives``: figures on streets that the command renders itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dvps_ros.cli.arguments import require_modules
from dvps_ros.cli.evaluate_report import write_report

if TYPE_CHECKING:
    from dvps_ros.cli.torchrun import Process
    from dvps_ros.runtime import Perceiver

#: Default of ``dvps evaluate --split``.
SPLIT = "val"
#: Options of ``dvps evaluate`` that are about given data.
_OF_DATA = (
    *("camera_height", "limit", "format", "semantic_table", "include", "exclude"),
    *("focal", "focal_widths", "predictions"),
)


def check_simulated(args: argparse.Namespace, process: Process) -> None:
    """Raise ``ValueError`` for options that ``--cameras`` and ``--drives``, which render their own data, ignore."""
    what = "--cameras" if args.cameras else "--drives" if args.drives else ""
    if args.keep is not None and what != "--drives":
        raise ValueError("--keep goes with --drives")
    if not what:
        return
    given = [name for name in _OF_DATA if getattr(args, name)] + (["split"] if args.split != SPLIT else [])
    if given:
        raise ValueError(f"{what} renders its own streets: --{given[0].replace('_', '-')} is not possible with it")
    if process.count > 1:
        raise ValueError(f"{what} runs in one process, not under torchrun")


def cameras(perceiver: Perceiver, args: argparse.Namespace) -> int:
    """Print a row for each simulated camera, and write ``--json``; returns the exit code."""
    require_modules("mujoco")
    from dvps_ros.benchmarks.cameras import HEAD, camera_table, row, scale_errors

    print(HEAD, flush=True)
    report = {}
    for name, figures in camera_table(perceiver, args.cameras):
        report[name] = figures
        print(row(name, figures), flush=True)
    print(scale_errors(report))
    write_report({"model": str(args.model), "streets": args.cameras, "cameras": report}, args.json)
    return 0


def drives(perceiver: Perceiver, args: argparse.Namespace) -> int:
    """Print the tables of the tracker, and write ``--json``; returns the exit code."""
    require_modules("mujoco")
    from tqdm import tqdm

    from dvps_ros.benchmarks.tracking import tracking_figures, tracking_table

    with tqdm(total=args.drives, desc="drives", unit="street") as bar:
        figures = tracking_figures(perceiver, args.drives, args.keep, on_street=lambda number: bar.update())
    print(tracking_table(figures))
    write_report({"model": str(args.model), "streets": args.drives, **figures}, args.json)
    return 0
