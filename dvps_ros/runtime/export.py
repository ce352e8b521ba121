"""Making exported programs of a network, and checking that they see the same scene."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dvps_ros.config import Config, MergeConfig, save_config
from dvps_ros.network import DvpsNet, checkpoints
from dvps_ros.runtime import exported
from dvps_ros.runtime.exported import FORMS, OUTPUTS, PROGRAM_FILE, ProgramRecord
from dvps_ros.runtime.perceive import Perceiver

#: An exported program must agree on this share of pixels, depth to this relative difference.
MIN_SHARE = 0.999
DEPTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Agreement:
    """How far an exported program and its network give the same scene of one picture.

    Attributes: ``ids``, share of pixels with the same panoptic id; ``depth``, share of pixels whose depth is within
    ``DEPTH_TOLERANCE``; ``segments``, how many the network's scene has.
    """

    ids: float
    depth: float
    segments: int

    @property
    def good(self) -> bool:
        """Whether both are on at least ``MIN_SHARE`` of pixels."""
        return min(self.ids, self.depth) >= MIN_SHARE

    def __str__(self) -> str:
        return (
            f"same ids on {self.ids:.3%} and same depth (to {DEPTH_TOLERANCE:g}) on {self.depth:.3%} of pixels, "
            f"{self.segments} segments"
        )


class _Flat(nn.Module):
    """A network whose output is a plain tuple, as programs want it."""

    def __init__(self, net: DvpsNet):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        prediction = self.net(images, layers=False)
        return tuple(getattr(prediction, name) for name in OUTPUTS)


def check_possible(form: str, config: Config) -> None:
    """Raise ``ValueError`` where ``form`` cannot be made: no fixed size, no compiler, a package missing."""
    if not (config.input.height and config.input.width):
        raise ValueError("an exported program has one fixed size: give it by --height and --width")
    if form == "aotinductor" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise ValueError("AOTInductor needs a C++ compiler: install g++, or name one in the variable CXX")
    needed = ("onnx", "onnxscript") if form == "onnx" else ()
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ValueError(f"ONNX export needs {' and '.join(missing)}: pip install dvps_ros[export]")


def write(net: DvpsNet, folder: str | Path, config: Config, form: str) -> Agreement | None:
    """Write an exported model folder, load it again, and compare its scene with the network's, on the CPU.

    Parameters
    ----------
    net : on the CPU, in float32.
    config : ``input.height`` and ``input.width`` are the program's one size; the network section becomes ``net``'s own.
    form : a key of ``exported.FORMS``.

    Returns the agreement, or None where ONNX cannot be run for lack of onnxruntime. Raises ``ValueError`` where
    ``check_possible`` does, and when the program disagrees with the network.
    """
    check_possible(form, config)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(config, network=net.config)
    path = folder / FORMS[form]
    with torch.no_grad(), _quiet():
        _MAKE[form](_Flat(net).eval(), torch.zeros(1, 3, config.input.height, config.input.width), path)
    record = ProgramRecord(
        form, checkpoints.file_hash(path), config.input.height, config.input.width, str(torch.__version__)
    )
    save_config(config, folder / checkpoints.CONFIG_FILE)
    (folder / PROGRAM_FILE).write_text(yaml.safe_dump(asdict(record), sort_keys=False))
    if form == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        return None
    agreement = compare(Perceiver(net, config, "cpu", "32"), exported.load(folder, "cpu"))
    if not agreement.good:
        raise ValueError(f"the exported program differs from the network: {agreement}")
    return agreement


def compare(live: Perceiver, program: Perceiver) -> Agreement:
    """Both perceivers' scenes of one made-up picture, every query that says a class being kept."""
    size = live.config.input.height, live.config.input.width
    picture = _picture(*size)
    for perceiver in (live, program):
        perceiver.merge_config = MergeConfig(score_threshold=0.0, overlap_threshold=0.0)
    ours, theirs = (perceiver.step(picture).cpu() for perceiver in (live, program))
    same = (ours.panoptic == theirs.panoptic).float().mean()
    close = ((theirs.depth - ours.depth).abs() <= DEPTH_TOLERANCE * ours.depth).float().mean()
    return Agreement(float(same), float(close), len(ours.segments))


def _picture(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: colored tiles under fine noise."""
    random = np.random.default_rng(0)
    tiles = random.integers(0, 224, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    tiles = tiles.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return tiles + random.integers(0, 32, tiles.shape, dtype=np.uint8)


def _trace(net: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(net, (images,), strict=False)


def _make_torch_export(net: nn.Module, images: Tensor, path: Path) -> None:
    torch.export.save(_trace(net, images), path)


def _make_aotinductor(net: nn.Module, images: Tensor, path: Path) -> None:
    torch._inductor.aoti_compile_and_package(_trace(net, images), package_path=str(path))


def _make_onnx(net: nn.Module, images: Tensor, path: Path) -> None:
    # The CPU's fused attention has a memory layout of its own, which views in the graph would then rely on.
    with sdpa_kernel(SDPBackend.MATH):
        program = torch.onnx.export(
            net, (images,), dynamo=True, input_names=["images"], output_names=list(OUTPUTS), verbose=False
        )
    program.save(path)


_MAKE = {"torch-export": _make_torch_export, "aotinductor": _make_aotinductor, "onnx": _make_onnx}


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell of their own inner workings what no user can act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
