"""Exporting a network as a program, and checking that the program gives the same scene."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from dvps_ros import checkpoints
from dvps_ros.config import Config, InputConfig, save_config
from dvps_ros.labels import LABEL_SETS
from dvps_ros.network import DvpsNet
from dvps_ros.runtime import exported
from dvps_ros.runtime.agreement import Agreement, compare
from dvps_ros.runtime.exported import FORMS, PROGRAM_FILE, ProgramRecord
from dvps_ros.runtime.run_times import check_compiler
from dvps_ros.runtime.tracing import FlatNetwork, quiet, trace, write_onnx


def check_possible(form: str) -> None:
    """Raise ``ValueError`` if ``form`` cannot be made, for lack of a compiler or a package."""
    if form == "aotinductor":
        check_compiler("AOTInductor")
    needed = ("onnx", "onnxscript") if form == "onnx" else ()
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ValueError(f"ONNX export needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def write(net: DvpsNet, folder: str | Path, config: Config, form: str, size: tuple[int, int]) -> Agreement | None:
    """Write an exported model folder, load it again, and compare its scene with the network's, on the CPU.

    Parameters
    ----------
    net : on the CPU, in float32.
    config : everything else; ``network`` becomes ``net``'s own, ``input.pixels`` the program's.
    form : a key of ``exported.FORMS``.
    size : (H, W), the program's one size.

    Returns the agreement, or None for an ONNX program without onnxruntime to run it. Raises ``ValueError`` as
    ``check_possible`` does, and if the program disagrees with the network.
    """
    check_possible(form)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(config, network=net.config, input=InputConfig(size[0] * size[1]))
    path = folder / FORMS[form]
    with torch.no_grad(), quiet():
        _MAKE[form](FlatNetwork(net).eval(), torch.zeros(1, 3, *size), path)
    record = ProgramRecord(form, checkpoints.file_hash(path), *size, str(torch.__version__))
    save_config(config, folder / checkpoints.CONFIG_FILE)
    (folder / PROGRAM_FILE).write_text(yaml.safe_dump(asdict(record), sort_keys=False))
    if form == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        return None
    program = exported.load(folder, "cpu").network
    agreement = compare(net.eval(), program, size, LABEL_SETS[config.labels], torch.device("cpu"))
    if not agreement.good:
        raise ValueError(f"the exported program differs from the network: {agreement}")
    return agreement


def _make_torch_export(net: nn.Module, images: Tensor, path: Path) -> None:
    torch.export.save(trace(net, images), path)


def _make_aotinductor(net: nn.Module, images: Tensor, path: Path) -> None:
    torch._inductor.aoti_compile_and_package(trace(net, images), package_path=str(path))


_MAKE: dict[str, Callable[..., None]] = {
    "torch-export": _make_torch_export,
    "aotinductor": _make_aotinductor,
    "onnx": write_onnx,
}
