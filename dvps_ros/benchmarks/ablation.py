"""Ablation: trains several configurations with several seeds each, and compares them in a table."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvps_ros import resources
from dvps_ros.config import apply_overrides, load_config
from dvps_ros.config.fields import plain

#: File with the common part of a folder's configurations; it is not a configuration of its own.
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
    variant : file name of its configuration without .yaml.
    config : the file of its configuration.
    seed : seed of weights, sampling and augmentation.
    folder : folder of the run, with ``model/``, ``log.txt`` and, when it is finished, ``heldout.json``.
    """

    variant: str
    config: Path
    seed: int
    folder: Path

    @property
    def report(self) -> Path:
        """The file of ``dvps evaluate --json``."""
        return self.folder / "heldout.json"


def compare(
    configs: Sequence[Path],
    seeds: int,
    data: Path,
    out: Path,
    overrides: Sequence[str],
    device: str,
    backbone: str | None,
) -> str:
    """Train and measure the missing runs of every configuration with every seed; returns a Markdown table of all.

    Parameters
    ----------
    configs : files of the variants.
    seeds : each variant is trained with the seeds 1 to this.
    data : data set to measure on.
    out : folder for the runs, ``ablation.md`` and ``ablation.json``.
    overrides : ``section.key=value`` assignments for all runs.
    backbone : model folder whose backbone all runs start from; None: random weights.

    Raises ``ValueError`` with the last line of a command that failed.
    """
    settings = list(overrides)
    if backbone is not None:
        settings.append(f"network.backbone.pretrained={resources.find(backbone)}")
    # seed by seed, so that an interrupted comparison already has every variant
    runs = [Run(path.stem, path, seed, out / f"{path.stem}-{seed}") for seed in range(1, seeds + 1) for path in configs]
    for one in runs:
        _complete(one, data, settings, device)
    reports = {one: json.loads(one.report.read_text()) for one in runs}
    text = table(reports)
    (out / "ablation.md").write_text(text)
    (out / "ablation.json").write_text(json.dumps(summary(reports), indent=2) + "\n")
    return text


def _complete(one: Run, data: Path, overrides: Sequence[str], device: str) -> None:
    """Train and measure ``one`` if it has no report.

    Raises ``ValueError`` with the last line of a failed command, or if the run began with other settings.
    """
    settings = [*overrides, f"training.seed={one.seed}"]
    _check_settings(one, data, settings)
    if one.report.exists():
        return
    start = time.monotonic()
    train = ["train", "--config", str(one.config), "--out", str(one.folder), "--device", device, "--set", *settings]
    if (one.folder / "last.ckpt").exists():
        train.append("--resume")
    model, trained = str(one.folder / "model"), one.folder / "trained"
    if not trained.exists():  # else the evaluation was interrupted
        _dvps(train, one.folder / "log.txt")
        trained.touch()
    _dvps(
        ["evaluate", "--model", model, "--data", str(data), "--device", device, "--json", str(one.report)],
        one.folder / "log.txt",
    )
    figures = ", ".join(f"{title} {value:.{digits}f}" for title, value, digits in _figures(one.report))
    print(f"{one.variant} seed {one.seed}: {figures} ({(time.monotonic() - start) / 60:.1f} min)", flush=True)


def _check_settings(one: Run, data: Path, settings: Sequence[str]) -> None:
    """Note the configuration and the data of a run beside it, or raise ``ValueError`` if others are noted."""
    config = plain(asdict(apply_overrides(load_config(one.config), settings)))
    wanted = {"data": str(data.resolve()), "config": config}
    note = one.folder / "settings.json"
    if not note.exists():
        if one.report.exists() or (one.folder / "last.ckpt").exists():
            raise ValueError(f"{one.folder} does not tell the settings of its run; choose another --out")
        one.folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(wanted, indent=2) + "\n")
        return
    before = json.loads(note.read_text())
    for name in ("data", "config"):
        if before[name] != wanted[name]:
            raise ValueError(f"{one.folder} was measured with other settings ({_first_difference(before, wanted)}); "
                             "choose another --out")  # fmt: skip


def _first_difference(before: Any, now: Any, key: str = "") -> str:
    """The first key below which two trees differ, with both values; empty if they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [*before, *(name for name in now if name not in before)]
        found = (_first_difference(before.get(n), now.get(n), f"{key}.{n}" if key else str(n)) for n in names)
        return next(filter(None, found), "")
    return "" if before == now else f"{key} {before}, now {now}"


def _dvps(arguments: Sequence[str], log: Path) -> None:
    # in a process of its own, so that no run depends on the memory of another
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
