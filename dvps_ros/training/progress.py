"""Progress of a run: losses, throughput, memory and skipped samples, as lines and in TensorBoard."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from dvps_ros.training import memory

_GIB = 2**30


def print_line(trainer: Trainer, line: str) -> None:
    """Print one line on stderr in the first process, above a progress bar if there is one."""
    if trainer.is_global_zero:
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()


class SkippedSamples(Callback):
    """Counts samples that could not be read, and prints the reason of each once.

    Loader processes report them in ``Target.skipped`` of a batch, so that they are counted with their step. A resumed
    run continues the count.

    Attributes: ``samples`` skipped in training, ``frames`` left out of the last validation, ``reasons`` printed so far.
    """

    def __init__(self) -> None:
        self.samples = self.frames = 0
        self.reasons: list[str] = []
        self._new: list[str] = []
        self._new_frames: list[str] = []

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any) -> None:
        """Collect the reasons of this process's batch."""
        self._new += [reason for target in batch[1] for reason in target.skipped]
        if trainer.world_size == 1:
            self.share(trainer)

    def on_validation_start(self, *_: Any) -> None:
        """Reset the number of frames."""
        self.frames = 0

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Collect the reasons of this process's batch."""
        self._new_frames += [reason for target in batch[1] for reason in target.skipped]

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        """Sum over all processes."""
        self.share(trainer)

    def share(self, trainer: Trainer) -> None:
        """Sum the counts of all processes and print new reasons; every process must call it."""
        seen = [(self._new, self._new_frames)] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(seen, (self._new, self._new_frames))
        for samples, frames in seen:
            self.samples, self.frames = self.samples + len(samples), self.frames + len(frames)
            for reason in (*samples, *frames):
                if reason not in self.reasons:
                    self.reasons.append(reason)
                    print_line(trainer, f"skipped: {reason}")
        self._new, self._new_frames = [], []

    def __str__(self) -> str:
        return f"{self.samples} samples skipped"

    def state_dict(self) -> dict[str, Any]:
        """The counts, for the checkpoint."""
        return {"samples": self.samples, "reasons": list(self.reasons)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the counts of a checkpoint."""
        self.samples, self.reasons = state["samples"], list(state["reasons"])


class Progress(Callback):
    """Reports losses, seconds per step, images per second, peak memory, skipped samples and the time left.

    Parameters
    ----------
    every : number of steps between reports.
    images : number of images per step and process.
    skipped : the counter of unreadable samples, which must precede this callback; or None.
    lines : print lines. TensorBoard always gets ``images_per_second``, ``peak_memory_gib`` and ``skipped_samples``.
    """

    def __init__(self, every: int, images: int, skipped: SkippedSamples | None = None, lines: bool = True) -> None:
        self.every, self.images, self.skipped, self.lines = every, images, skipped, lines
        self._since, self._spent, self._step = time.monotonic(), 0.0, 0

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Start the clock."""
        self._since, self._spent, self._step = time.monotonic(), 0.0, trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Report every ``every`` steps and at the last one."""
        step = trainer.global_step
        if step == self._step or (step % self.every and step != trainer.max_steps):
            return
        seconds = (self._spent + time.monotonic() - self._since) / (step - self._step)
        figures = {
            "images_per_second": self.images * trainer.world_size / seconds,
            "peak_memory_gib": memory.peak(module.device) / _GIB,
        }
        if self.skipped is not None:
            self.skipped.share(trainer)
            figures["skipped_samples"] = float(self.skipped.samples)
        if trainer.logger is not None:
            trainer.logger.log_metrics(figures, step)
        if self.lines:
            self._line(trainer, seconds, figures)
        self._since, self._spent, self._step = time.monotonic(), 0.0, step

    def on_validation_start(self, *_: Any) -> None:
        """Stop the clock: the time of a step does not include validation."""
        self._spent += time.monotonic() - self._since

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        """Print one line with the scores."""
        if self.lines and not trainer.sanity_checking:
            without = (
                f" without {self.skipped.frames} unreadable frames" if self.skipped and self.skipped.frames else ""
            )
            print_line(trainer, f"step {trainer.global_step} validated{without}: {_values(trainer, 'val/')}")
        self._since = time.monotonic()

    def _line(self, trainer: Trainer, seconds: float, figures: dict[str, float]) -> None:
        step = trainer.global_step
        parts = [
            f"step {step}/{trainer.max_steps} {_values(trainer, 'train/')} {seconds:.2f} s/step",
            f"{figures['images_per_second']:.2f} images/s",
            f"peak {figures['peak_memory_gib']:.2f} GiB",
            *([] if self.skipped is None else [str(self.skipped)]),
            f"{_clock(seconds * (trainer.max_steps - step))} left",
        ]
        print_line(trainer, ", ".join(parts))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _values(trainer: Trainer, prefix: str) -> str:
    values = trainer.callback_metrics.items()
    return " ".join(f"{name.removeprefix(prefix)} {value:.3f}" for name, value in values if name.startswith(prefix))
