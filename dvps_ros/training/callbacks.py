"""Callbacks of training: checkpoints, the exported model, signals."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint

from dvps_ros import checkpoints
from dvps_ros.config import Config
from dvps_ros.network import DvpsNet
from dvps_ros.training.module import NotFiniteError


class LastCheckpoint(Checkpoint):
    """One resumable checkpoint, written every ``every`` steps, before validations, at the end and at a stop.

    It replaces the last one as soon as it proves good. Between steps that is when the next step has a finite loss. At a
    validation, the end or a stop it is when all weights are finite.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = Path(path), every
        self._saved = -1
        self._waits = False

    @property
    def _partial(self) -> Path:
        return self.path.with_suffix(".partial")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save every ``every`` steps."""
        self._keep(trainer)  # not reached after a loss that is not finite, which ends the run
        step, ends = trainer.global_step, trainer.should_stop or trainer.global_step == trainer.max_steps
        # a checkpoint between the batches of one step would lose the gradients of those before it
        if ends or (step % self.every == 0 and not trainer.fit_loop._should_accumulate()):
            self._save(trainer, final=ends)

    def on_exception(self, trainer: Trainer, module: LightningModule, error: BaseException) -> None:
        """Keep the last checkpoint, unless the loss of the next step was not finite."""
        if not isinstance(error, NotFiniteError):
            self._keep_if_finite(trainer)

    def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
        """Save before a validation, which may take a long time."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer, final=True)

    def _save(self, trainer: Trainer, final: bool) -> None:
        if trainer.global_step != self._saved:
            self._saved = trainer.global_step
            trainer.save_checkpoint(self._partial)
            self._waits = True
        if final:
            self._keep_if_finite(trainer)

    def _keep_if_finite(self, trainer: Trainer) -> None:
        if all(value.isfinite().all() for value in trainer.lightning_module.state_dict().values()):
            self._keep(trainer)

    def _keep(self, trainer: Trainer) -> None:
        # atomic: a run that is killed while writing keeps its last checkpoint
        if self._waits and trainer.is_global_zero:
            self._partial.replace(self.path)
        self._waits = False


class ExportModel(Callback):
    """Writes the model folder after each validation. It must precede an averaging callback to export the average."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = Path(folder), config

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Export the validated model."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            checkpoints.save(cast("DvpsNet", module.net), self.folder, self.config)


class StopOnSignal(Callback):
    """Ends training after the current step on SIGINT or SIGTERM.

    During a validation, or at the second signal, it ends at once. As a context manager it restores the handlers of both
    signals at the end. Attributes: ``received``, the number of the signal, 0 before one arrives.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}
        self._trainer: Trainer | None = None

    def __enter__(self) -> StopOnSignal:
        """Store the current handlers of the signals."""
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the handlers, also if Lightning has replaced them meanwhile."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Handle both signals."""
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
        if again or (self._trainer is not None and self._trainer.validating):
            raise KeyboardInterrupt
