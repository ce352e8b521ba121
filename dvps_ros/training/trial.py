"""Memory check before training: runs a step with synthetic images in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvps_ros.config import Config, load_config, save_config
from dvps_ros.config.crops import largest_crop
from dvps_ros.errors import joined
from dvps_ros.training import memory

if TYPE_CHECKING:
    from torch import Tensor

    from dvps_ros.structures import Target

#: Number of segments of a synthetic image, as in a crowded street.
SEGMENTS = 64
_GIB = 2**30
_REMEDY = (
    "lower training.batch_size (and raise training.accumulate) or data.crop_height and data.crop_width; "
    "training.check_memory=false skips this check"
)


@dataclass(frozen=True)
class Need:
    """Memory of a training step in bytes.

    Attributes
    ----------
    fixed : weights, gradients, the optimizer's state and the moving average.
    image : activations of one image.
    """

    fixed: int
    image: int

    def of(self, images: int) -> int:
        """Bytes of a process with this number of images per step."""
        return self.fixed + images * self.image


def require_memory(config: Config, accelerator: str, precision: str, processes: int = 1) -> str:
    """Run a step of ``config`` and return one line about its memory.

    On CUDA it runs two steps with the whole batch. On a CPU the system would kill a process with too much memory, so it
    runs one image and extrapolates to the batch. Random numbers and weights of this process do not change.

    Parameters
    ----------
    accelerator, precision : Lightning's names.
    processes : number of processes that share this machine's main memory.

    Raises
    ------
    ValueError : memory does not suffice; the line has the required and free amounts and the remedy.
    """
    free = memory.available()  # measured before the trial uses memory itself
    try:
        found = _run_trial(config, accelerator, precision)
    except ChildProcessError as error:
        if accelerator == "cpu" and str(error) == "killed":
            raise ValueError(f"not enough memory: one image does not fit into {_gib(free)}; {_REMEDY}") from error
        return f"memory: unknown, because the trial step failed ({error})"
    if accelerator == "cuda":
        return _check_cuda(found, config.training.batch_size)
    return _check_cpu(Need(**found), config.training.batch_size, processes, free)


def _check_cuda(found: dict[str, Any], images: int) -> str:
    if not found["fits"]:
        one = "" if found["one"] is None else f", one image takes {_gib(found['one'])}"
        raise ValueError(
            f"not enough GPU memory: {_step_of(images)} takes more than the {_gib(found['free'])} free of "
            f"{_gib(found['total'])}{one}; {_REMEDY}"
        )
    return f"memory: {_step_of(images)} takes {_gib(found['used'])}, {_gib(found['free'])} of the GPU are free"


def _check_cpu(need: Need, images: int, processes: int, free: int | None) -> str:
    several = f" in each of {processes} processes" if processes > 1 else ""
    wanted = need.of(images) * processes
    takes = f"{_step_of(images)}{several} takes about {_gib(wanted)}"
    if free is not None and wanted > free:
        raise ValueError(
            f"not enough memory: {takes} ({_gib(need.image)} per image), {_gib(free)} are available; {_REMEDY}"
        )
    return f"memory: {takes}, {_gib(free)} are available"


def _step_of(images: int) -> str:
    return f"a step of {images} image{'s' if images > 1 else ''}"


def _gib(count: int | None) -> str:
    return "an unknown amount" if count is None else f"{count / _GIB:.2f} GiB"


def _run_trial(config: Config, accelerator: str, precision: str) -> dict[str, Any]:
    """The result of the trial's process; raises ``ChildProcessError`` with ``killed`` or its last line."""
    # with torchrun's variables it would wait for other processes
    torchrun = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(torchrun)}
    device = os.environ.get("LOCAL_RANK", "0")
    with tempfile.TemporaryDirectory() as folder:
        file, answer = Path(folder) / "config.yaml", Path(folder) / "answer.json"
        save_config(config, file)
        command = [sys.executable, "-m", __name__, str(file), str(answer), accelerator, precision, device]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return json.loads(answer.read_text())
    if done.returncode < 0:
        raise ChildProcessError("killed" if done.returncode == -9 else f"signal {-done.returncode}")
    raise ChildProcessError((done.stderr.strip().splitlines() or ["without a message"])[-1])


# --- in the process of the trial --------------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Run the trial: configuration file, file for the answer (JSON), accelerator, precision, index of the GPU."""
    file, answer, accelerator, precision, device = arguments
    _end_first()
    memory.keep_freed_memory()
    config = load_config(file)
    found = _on_cuda(config, precision, int(device)) if accelerator == "cuda" else _on_cpu(config, precision)
    Path(answer).write_text(json.dumps(found))


def _end_first() -> None:
    """If memory runs out, let the system end this process and no other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _on_cpu(config: Config, precision: str) -> dict[str, int]:
    from lightning.pytorch.callbacks import Callback

    class Watch(Callback):
        """Measures the growth of resident memory from the beginning of a step to the end of its backward pass."""

        before = growth = 0

        def on_train_batch_start(self, *_: Any) -> None:
            self.before = memory.status("VmRSS") or memory.peak(_cpu())
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # resets the peak, see proc(5)

        def on_before_optimizer_step(self, *_: Any) -> None:
            self.growth = memory.peak(_cpu()) - self.before

    watch = Watch()
    # if the coarsest map has one pixel, batch norm needs two images
    images = 2 if max(largest_crop(config.data)) <= 32 else 1
    module = _fit(config, images, 1, accelerator="cpu", devices=1, precision=precision, callbacks=[watch])
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in module.parameters()]
    weights, trained = sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
    # weights and their moving average; gradients and AdamW's two moments of those that are trained
    fixed = (1 + (config.training.ema_decay > 0)) * weights + 3 * trained
    return {"fixed": fixed, "image": max(watch.growth - trained, 0) // images}


def _on_cuda(config: Config, precision: str, index: int) -> dict[str, Any]:
    import torch

    torch.cuda.set_device(index)
    free, total = torch.cuda.mem_get_info(index)
    tried = {"free": free, "total": total, "used": None, "one": None}
    for name, images in (("used", config.training.batch_size), ("one", 1)):
        try:
            # the optimizer's state exists from the second step on
            _fit(config, images, 2, accelerator="cuda", devices=[index], precision=precision)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
        else:
            tried[name] = torch.cuda.max_memory_reserved(index)
            break
        torch.cuda.reset_peak_memory_stats(index)
    return tried | {"fits": tried["used"] is not None}


def _fit(config: Config, images: int, steps: int, **options: Any) -> Any:
    """Train ``steps`` steps on synthetic images with Lightning's trainer and its ``options``; returns the module."""
    import torch
    from lightning.pytorch import Trainer
    from torch.utils.data import DataLoader

    from dvps_ros.training.module import DvpsModule

    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    module = DvpsModule(config)
    same: Any = [crowded_batch(config, images)] * steps
    batches: DataLoader = DataLoader(same, batch_size=None, collate_fn=lambda batch: batch)
    clip = config.optimizer.clip_norm or None
    Trainer(barebones=True, max_steps=steps, gradient_clip_val=clip, **options).fit(module, batches)
    return module


def crowded_batch(config: Config, images: int) -> tuple[Tensor, list[Target]]:
    """``images`` synthetic images (images, 3, H, W) uint8 of the largest crop size, and their targets.

    Each image has ``SEGMENTS`` segments, and both labels at every pixel.
    """
    import torch

    from dvps_ros.labels import DIVISOR
    from dvps_ros.structures import Target

    height, width = largest_crop(config.data)
    side = int(SEGMENTS**0.5)
    rows, columns = torch.arange(height) * side // height, torch.arange(width) * side // width
    cells = rows[:, None] * side + columns  # (H, W), 0..SEGMENTS-1
    ids = torch.arange(SEGMENTS)
    classes = ids % config.network.classes
    target = Target(
        classes=classes,
        masks=cells == ids[:, None, None],
        panoptic=(classes * DIVISOR + ids)[cells].int(),
        depth=1.0 + cells.float(),
        labelled=torch.ones(height, width, dtype=torch.bool),
    )
    return torch.randint(256, (images, 3, height, width), dtype=torch.uint8), [target] * images


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Exception as error:  # the parent process reports the last line
        traceback.print_exc()
        sys.exit(f"{type(error).__name__}: {joined(error)[:200]}")
