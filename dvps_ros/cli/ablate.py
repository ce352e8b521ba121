"""``dvps ablate``: what each part of a method adds: several configurations, several seeds each, one table."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What the configurations of a folder share lies in this file, which is none of them.
COMMON = "common"
#: Columns of the table: title, path in the report of ``dvps evaluate``, decimals.
COLUMNS = (
    ("PQ", ("PQ", "all", "PQ"), 1),
    ("PQ thing", ("PQ", "thing", "PQ"), 1),
    ("PQ stuff", ("PQ", "stuff", "PQ"), 1),
    ("DPQ", ("DPQ", "mean", "all"), 1),
    ("absRel", ("depth", "absRel"), 3),
    ("RMSE", ("depth", "RMSE"), 2),
)


@dataclass(frozen=True)
class Run:
    """One training of one variant.

    Attributes
    ----------
    variant : its configuration's file name without .yaml.
    config : that file.
    seed : of weights, sampling and augmentation.
    folder : where it trains, with ``model/``, ``log.txt`` and, once done, ``heldout.json``.
    """

    variant: str
    config: Path
    seed: int
    folder: Path

    @property
    def report(self) -> Path:
        """What ``dvps evaluate --json`` writes."""
        return self.folder / "heldout.json"


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "ablate",
        help="train and compare several configurations",
        description="Trains every configuration of a folder (but common.yaml) with several seeds, measures each on "
        "held-out frames, and writes OUT/ablation.md and OUT/ablation.json: mean and sample deviation over the seeds. "
        "Interrupted, the same command goes on where it was.",
    )
    parser.add_argument("--configs", type=Path, default=Path("config/ablation"), help="folder (default: %(default)s)")
    parser.add_argument("--data", type=Path, required=True, help="data set to measure on, e.g. data/heldout")
    parser.add_argument("--backbone", metavar="MODEL", help="model whose backbone all start from, e.g. models/street")
    parser.add_argument("--seeds", type=_positive, default=3, metavar="N", help="seeds 1..N (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder (default: %(default)s)")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change values in all",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="(default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Train what is missing, then print the table; ``ValueError`` or ``FileNotFoundError`` for a user's mistake."""
    from dvps_ros import resources
    from dvps_ros.config import apply_overrides, load_config

    folder = resources.find(args.configs)
    configs = sorted(path for path in Path(folder).glob("*.yaml") if path.stem != COMMON)
    if not configs:
        raise FileNotFoundError(f"no configuration in {folder}")
    for path in configs:
        apply_overrides(load_config(path), args.set)
    if not args.data.is_dir():
        raise FileNotFoundError(f"no data set folder {args.data}")
    overrides = list(args.set)
    if args.backbone is not None:
        overrides.append(f"network.backbone.pretrained={_write_backbone(args.backbone, args.out / 'backbone')}")

    # seed by seed, so that an unfinished comparison already has every variant
    runs = [Run(p.stem, p, s, args.out / f"{p.stem}-{s}") for s in range(1, args.seeds + 1) for p in configs]
    for one in runs:
        _complete(one, args.data, overrides, args.device)
    reports = {one: json.loads(one.report.read_text()) for one in runs}
    text = table(reports)
    (args.out / "ablation.md").write_text(text)
    (args.out / "ablation.json").write_text(json.dumps(summary(reports), indent=2) + "\n")
    print(text, end="")
    return 0


def _write_backbone(model: str, folder: Path) -> Path:
    """The backbone of a model folder in transformers' form, as ``network.backbone.pretrained`` takes it."""
    from dvps_ros import resources
    from dvps_ros.network import checkpoints

    checkpoints.load(resources.find(model), "cpu").backbone.model.save_pretrained(folder)
    return folder


def _complete(one: Run, data: Path, overrides: Sequence[str], device: str) -> None:
    """Train and measure ``one`` unless it has its report; ``ValueError`` with the last line of a failed command."""
    if one.report.exists():
        return
    start = time.monotonic()
    one.folder.mkdir(parents=True, exist_ok=True)
    settings = [*overrides, f"training.seed={one.seed}"]
    train = ["train", "--config", str(one.config), "--out", str(one.folder), "--device", device, "--set", *settings]
    if (one.folder / "last.ckpt").exists():
        train.append("--resume")
    model = str(one.folder / "model")
    _dvps(train, one.folder / "log.txt")
    _dvps(
        ["evaluate", "--model", model, "--data", str(data), "--device", device, "--json", str(one.report)],
        one.folder / "log.txt",
    )
    figures = ", ".join(f"{title} {value:.{digits}f}" for title, value, digits in _figures(one.report))
    print(f"{one.variant} seed {one.seed}: {figures} ({(time.monotonic() - start) / 60:.1f} min)", flush=True)


def _dvps(arguments: Sequence[str], log: Path) -> None:
    # a process of its own: no run sees what another left in memory
    with log.open("ab") as stream:
        command = [sys.executable, "-m", "dvps_ros.cli.main", *arguments]
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise ValueError(f"{lines[-1] if lines else f'dvps {arguments[0]} failed'} (all of it: {log})")


def _figures(report: Path) -> Iterator[tuple[str, float, int]]:
    tree = json.loads(report.read_text())
    for title, path, digits in COLUMNS:
        yield title, _at(tree, path), digits


def _at(tree: Mapping[str, Any], path: Sequence[str]) -> float:
    value: Any = tree
    for key in path:
        value = value[key] if value is not None else None
    return math.nan if value is None else float(value)


def summary(reports: Mapping[Run, Mapping[str, Any]]) -> dict[str, Any]:
    """By variant and column: ``values`` by seed, their ``mean`` and sample ``deviation`` (0 for one seed)."""
    import numpy as np

    result: dict[str, Any] = {}
    for one, report in reports.items():
        for title, path, _ in COLUMNS:
            column = result.setdefault(one.variant, {}).setdefault(title, {"values": []})
            column["values"].append(_at(report, path))
    for columns in result.values():
        for column in columns.values():
            values = column["values"]
            column["mean"] = float(np.mean(values))
            column["deviation"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return result


def table(reports: Mapping[Run, Mapping[str, Any]]) -> str:
    """Markdown: one row per variant, mean ± sample deviation over the seeds."""
    rows = [
        "| variant | " + " | ".join(title for title, _, _ in COLUMNS) + " |",
        "|---|" + "---|" * len(COLUMNS),
    ]
    for variant, columns in summary(reports).items():
        cells = [
            f"{columns[title]['mean']:.{digits}f} ± {columns[title]['deviation']:.{digits}f}"
            for title, _, digits in COLUMNS
        ]
        rows.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)
