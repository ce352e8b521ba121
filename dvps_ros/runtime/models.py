"""From the name or folder of a model to its perceiver."""

from __future__ import annotations

from pathlib import Path

from dvps_ros import resources
from dvps_ros.config import PAIR_FILE, PairConfig
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

    Raises ``FileNotFoundError`` or ``ValueError`` in one line naming what is missing or wrong.
    """
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
