"""From the name or folder of a model to its perceiver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dvps_ros import resources
from dvps_ros.config import PAIR_FILE, InputConfig, PairConfig
from dvps_ros.runtime import exported
from dvps_ros.runtime.arithmetic import Precision
from dvps_ros.runtime.perceive import Perceiver
from dvps_ros.runtime.run_times import RunTime

#: The model name for two networks that are given by their own names.
PAIR = "pair"


def locate(model: str | Path) -> Path:
    """The folder that ``model`` means, or ``Path("pair")``; ``FileNotFoundError`` when there is none."""
    return Path(PAIR) if str(model) == PAIR else resources.find(model)


def load_perceiver(
    model: str | Path,
    device: str = "auto",
    precision: Precision = "auto",
    segmentation: str = "",
    depth: str = "",
    programs: bool = True,
    runtime: RunTime = "auto",
    input_pixels: int = 0,
) -> Perceiver:
    """The perceiver of a model, ready on its device.

    Parameters
    ----------
    model : folder of a network, or one with ``program.yaml`` (exported) or
        ``pair.yaml``; or ``"pair"``, for ``segmentation`` and ``depth``.
    device, precision : as for ``Perceiver``.
    segmentation, depth : with ``"pair"``, folders or hub names of transformers networks.
    programs : whether an exported program may be loaded; it is code.
    runtime : as for ``Perceiver.load``; exported programs and pairs have their own.
    input_pixels : area of the network's input instead of the model's ``input.pixels``; 0: that of the model. More
        pixels show smaller things and take longer, about in proportion.

    Raises ``FileNotFoundError`` or ``ValueError`` in one line naming what is missing or wrong.
    """
    perceiver = _loaded(model, device, precision, segmentation, depth, programs, runtime)
    if input_pixels:
        if perceiver.canvas is not None:
            raise ValueError(f"{model} takes pictures of one size: input_pixels is not possible")
        perceiver.config = replace(perceiver.config, input=InputConfig(pixels=input_pixels))
    return perceiver


def _loaded(
    model: str | Path,
    device: str,
    precision: Precision,
    segmentation: str,
    depth: str,
    programs: bool,
    runtime: RunTime,
) -> Perceiver:
    found = locate(model)
    if found != Path(PAIR):
        if segmentation or depth:
            raise ValueError(f"segmentation and depth go with model {PAIR}, not with {model}")
        if (found / exported.PROGRAM_FILE).is_file():
            if not programs:
                raise ValueError(f"{model} is an exported program, which runs as code: allow_programs must be true")
            _check_unset(runtime, f"{model} is an exported program")
            return exported.load(found, device, precision)
        if not (found / PAIR_FILE).is_file():
            return Perceiver.load(found, device, precision, runtime)
    _check_unset(runtime, f"{model} is a pair of networks")
    # imported here, because these networks take a second to import
    from dvps_ros.runtime.pair import PairPerceiver

    if found != Path(PAIR):
        return PairPerceiver.load(found, device, precision)
    return PairPerceiver.of(PairConfig(segmentation=segmentation, depth=depth), None, device, precision)


def _check_unset(runtime: RunTime, what: str) -> None:
    if runtime not in ("auto", "torch"):
        raise ValueError(f"{what}: runtime {runtime} is not possible, leave it auto")
