"""Exported programs: a network traced at one size, in a model folder, that runs without the network's Python code.

The folder holds ``config.yaml``, one program and ``program.yaml``, which records the form, SHA-256 and size of the
program. A program is code: load only folders whose origin you trust.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dvps_ros import checkpoints
from dvps_ros.config import Config, load_config, option
from dvps_ros.errors import first_line
from dvps_ros.runtime import run_times
from dvps_ros.runtime.arithmetic import Precision, choose_device
from dvps_ros.runtime.perceive import Perceiver
from dvps_ros.runtime.tracing import PARTS, outputs
from dvps_ros.structures import Prediction

PROGRAM_FILE = "program.yaml"
#: Form of the program -> its file.
FORMS = {"torch-export": "model.pt2", "aotinductor": "model.aoti.pt2", "onnx": "model.onnx"}


@dataclass(frozen=True)
class ProgramRecord:
    """The content of ``program.yaml``."""

    form: str = option("", "torch-export, aotinductor or onnx.")
    sha256: str = option("", "Hash of the program's file.")
    height: int = option(0, "Height in pixels of the images that the program takes.", low=1)
    width: int = option(0, "Width in pixels of the images that the program takes.", low=1)
    torch: str = option("", "Version of torch that made it.")


class ExportedNetwork(nn.Module):
    """A program as a network: images (1, 3, H, W), 0..255, of its one size -> ``Prediction``, in float32.

    Parameters: ``program`` maps float32 images to the tensors of ``outputs``; ``max_depth`` metres at sigmoid = 1.
    """

    def __init__(self, program: Callable[[Tensor], Any], max_depth: float):
        super().__init__()
        self._program = (program,)  # in a tuple: its weights must keep the layout they were traced with
        self.max_depth = max_depth

    def forward(self, images: Tensor) -> Prediction:
        """Predict (1, 3, H, W) RGB images, 0..255, uint8 or floating point."""
        tensors = self._program[0](images.float().contiguous())
        return Prediction(**dict(zip(PARTS, tensors, strict=False)), max_depth=self.max_depth)


def load(folder: str | Path, device: str = "auto", precision: Precision = "auto") -> Perceiver:
    """The perceiver of an exported folder; pictures are fitted into the program's one size, keeping their proportions.

    Parameters
    ----------
    device : any for torch-export; ``"auto"`` or ``"cpu"`` for AOTInductor and ONNX, which run on the CPU.
    precision : ``"auto"`` or ``"32"``.

    Raises ``FileNotFoundError`` or ``ValueError`` naming what is missing, damaged, or not possible with this program.
    """
    folder = Path(folder)
    config = checkpoints.load_model_config(folder)
    record = _record(folder, config)
    if precision not in ("auto", "32"):
        raise ValueError(f"{folder} is exported in 32 bit, precision {precision} is not possible")
    where = choose_device("cpu" if record.form != "torch-export" and device == "auto" else device)
    if record.form != "torch-export" and where.type != "cpu":
        raise ValueError(f"{folder} is exported for the CPU ({record.form}), device {device} is not possible")
    path = folder / FORMS[record.form]
    try:
        program = _OPEN[record.form](path, where, outputs(config.network.uncertainty))
    except ValueError:
        raise
    except Exception as error:  # each run time raises types of its own, for another version or another processor
        raise ValueError(f"{path}, made with torch {record.torch}, does not load here: {first_line(error)}") from error
    network = ExportedNetwork(program, config.network.max_depth)
    perceiver = Perceiver(network, config, str(where), "32", canvas=(record.height, record.width))
    perceiver.digest = record.sha256
    return perceiver


def _record(folder: Path, config: Config) -> ProgramRecord:
    record = load_config(folder / PROGRAM_FILE, ProgramRecord)
    if record.form not in FORMS:
        raise ValueError(f"{folder / PROGRAM_FILE}: form is {record.form!r}, must be one of {', '.join(FORMS)}")
    path = folder / FORMS[record.form]
    if not path.is_file():
        raise FileNotFoundError(f"model folder {folder} has no {path.name}")
    if (actual := checkpoints.file_hash(path)) != record.sha256:
        raise ValueError(f"{path} is damaged or was replaced: its SHA-256 is {actual}, not {record.sha256!r}")
    if record.height * record.width != config.input.pixels:
        raise ValueError(
            f"{path} takes images of {record.width}x{record.height} pixels alone, {folder / checkpoints.CONFIG_FILE} "
            f"says {config.input.pixels} pixels"
        )
    return record


def _open_torch_export(path: Path, device: torch.device, names: Sequence[str]) -> Callable[[Tensor], Any]:
    program = torch.export.load(path)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, str(device))
    return program.module()


def _open_aotinductor(path: Path, device: torch.device, names: Sequence[str]) -> Callable[[Tensor], Any]:
    return torch._inductor.aoti_load_package(str(path))


def _open_onnx(path: Path, device: torch.device, names: Sequence[str]) -> Callable[[Tensor], Any]:
    if importlib.util.find_spec("onnxruntime") is None:
        raise ValueError(f"{path} needs onnxruntime: pip install onnxruntime")
    return run_times.open_onnxruntime(path, device, "32", names)


_OPEN = {"torch-export": _open_torch_export, "aotinductor": _open_aotinductor, "onnx": _open_onnx}
