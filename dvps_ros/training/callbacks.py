"""What happens around training steps: checkpoints, the exported model, signals."""

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
    """One resumable checkpoint, replaced every ``every`` steps, before validations and at the end or a stop.

    It takes the place of the one before when the next step has a finite loss; at a validation, at the end or a stop
    when its weights are finite.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = Path(path), every
        self._saved = -1
        self._waits = False

    @property
    def _partial(self) -> Path:
        return self.path.with_suffix(".partial")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save where a step is due."""
        self._keep(trainer)  # a loss that is not finite ends the run before this
        step, ends = trainer.global_step, trainer.should_stop or trainer.global_step == trainer.max_steps
        if ends or step % self.every == 0:
            self._save(trainer, final=ends)

    def on_exception(self, trainer: Trainer, module: LightningModule, error: BaseException) -> None:
        """What ends a run between two steps says nothing against the last one, unless it is its loss."""
        if not isinstance(error, NotFiniteError):
            self._keep_if_finite(trainer)

    def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
        """Save before a validation, which may take long."""
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
        # a run killed while writing keeps the checkpoint before
        if self._waits and trainer.is_global_zero:
            self._partial.replace(self.path)
        self._waits = False


class ExportModel(Callback):
    """Write the model folder after each validation. Stands before an averaging callback, whose weights it exports."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = Path(folder), config

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Export what has just been validated."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            checkpoints.save(cast("DvpsNet", module.net), self.folder, self.config)


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
        if again or (self._trainer is not None and self._trainer.validating):
            raise KeyboardInterrupt
