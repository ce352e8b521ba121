"""The best model of a run, kept beside the last one."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from dvps_ros.training.progress import print_line

#: File with the scores, in the folder of the best model.
RECORD = "best.yaml"


def ranking(has_panoptic: bool, has_depth: bool, has_both: bool) -> str | None:
    """The measure that ranks models on a split with these labels: DPQ, PQ, absRel, or None without labels.

    ``has_both`` tells whether any one frame has both kinds of labels.
    """
    if has_both:
        return "DPQ"
    return "PQ" if has_panoptic else "absRel" if has_depth else None


class KeepBest(Callback):
    """After a validation with the best score so far, makes ``folder`` a copy of the validated model.

    ``folder/best.yaml`` records the step, the measure and all scores. A resumed run reads the best score there.

    Parameters
    ----------
    model : model folder, which is written before a validation ends (see ``ExportModel``).
    folder : folder of the best model.
    measure : name of the ranking score, without ``val/``. Smaller is better for absRel, larger for all others.
    """

    def __init__(self, model: Path, folder: Path, measure: str) -> None:
        self.model, self.folder, self.measure = Path(model), Path(folder), measure

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        """Copy the model if its score is the best so far."""
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
        print_line(
            trainer, f"best so far: {self.measure} {record['value']:.3f} at step {record['step']}, in {self.folder}"
        )

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
        # a folder cannot be replaced atomically: rename the old one first, so that one of the two is always complete
        partial, previous = (self.folder.with_name(f"{self.folder.name}.{end}") for end in ("partial", "previous"))
        for folder in (partial, previous):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.model, partial)
        (partial / RECORD).write_text(yaml.safe_dump(record, sort_keys=False))
        if self.folder.exists():
            os.rename(self.folder, previous)
        os.rename(partial, self.folder)
        shutil.rmtree(previous, ignore_errors=True)
