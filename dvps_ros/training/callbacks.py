"""What happens around training steps: checkpoints, the exported model, signals."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint

from dvps_ros.config import Config
from dvps_ros.network import checkpoints


class LastCheckpoint(Checkpoint):
    """One resumable checkpoint, replaced every ``every`` steps, before validations and at the end or a stop."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = Path(path), every
        self._saved = -1

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save where a step is due."""
        step = trainer.global_step
        if step % self.every == 0 or step == trainer.max_steps or trainer.should_stop:
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
        """Save before a validation, which may take long."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step == self._saved:
            return
        self._saved = trainer.global_step
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        # a run killed while writing keeps the checkpoint before
        if trainer.is_global_zero:
            partial.replace(self.path)


class ExportModel(Callback):
    """Write the model folder after each validation. Stands before an averaging callback, whose weights it exports."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = Path(folder), config

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Export what has just been validated."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            checkpoints.save(module.net, self.folder, self.config)


class StopOnSignal(Callback):
    """SIGINT and SIGTERM end training after the current step (at once inside a validation, or the second time).

    A context, which gives both signals back in the end. Attributes: ``received``, the signal's number, 0 before one
    came.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}
        self._trainer: Trainer | None = None

    def __enter__(self) -> StopOnSignal:
        """Remember who handles the signals now."""
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back, whoever took them meanwhile (Lightning does)."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Take over both signals."""
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop between two optimizer steps."""
        if self.received and not trainer.fit_loop._should_accumulate():
            trainer.limit_val_batches = 0
            trainer.should_stop = True

    def _handle(self, number: int, _: Any) -> None:
        again, self.received = bool(self.received), number
        if again or self._trainer.validating:
            raise KeyboardInterrupt
