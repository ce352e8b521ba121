"""The best model of a run, kept beside its last."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from dvps_ros.training.progress import say

#: What a model folder of the best records, beside its configuration and weights.
RECORD = "best.yaml"


def ranking(has_panoptic: bool, has_depth: bool) -> str | None:
    """The measure by which models rank on a split with these labels: DPQ, PQ, absRel, or None without labels."""
    if has_panoptic:
        return "DPQ" if has_depth else "PQ"
    return "absRel" if has_depth else None


class KeepBest(Callback):
    """After a validation that is better than all before, make ``folder`` a copy of the model that was validated.

    ``folder/best.yaml`` records the step, the measure and all scores; a resumed run reads there what there is to beat.

    Parameters
    ----------
    model : model folder that has just been written when a validation ends (see ``ExportModel``).
    folder : where the best is kept.
    measure : name of the score that ranks, without ``val/``; absRel is best small, all others large.
    """

    def __init__(self, model: Path, folder: Path, measure: str) -> None:
        self.model, self.folder, self.measure = Path(model), Path(folder), measure

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        """Compare, and keep."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        scores = {
            name.removeprefix("val/"): round(float(value), 6)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        if not self._is_better(scores[self.measure]):
            return
        record = {"step": trainer.global_step, "measure": self.measure, "value": scores[self.measure], "scores": scores}
        self._keep(record)
        say(trainer, f"best so far: {self.measure} {record['value']:.3f} at step {record['step']}, in {self.folder}")

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        try:
            record = yaml.safe_load((self.folder / RECORD).read_text())
        except FileNotFoundError:
            return True
        if record["measure"] != self.measure:
            return True
        return value < record["value"] if self.measure == "absRel" else value > record["value"]

    def _keep(self, record: dict[str, Any]) -> None:
        # a folder cannot be replaced in one go: the old one moves aside, so that one of the two is always whole
        partial, previous = (self.folder.with_name(f"{self.folder.name}.{end}") for end in ("partial", "previous"))
        for folder in (partial, previous):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.model, partial)
        (partial / RECORD).write_text(yaml.safe_dump(record, sort_keys=False))
        if self.folder.exists():
            os.rename(self.folder, previous)
        os.rename(partial, self.folder)
        shutil.rmtree(previous, ignore_errors=True)
