"""Common parts of the subcommands: options, argument types, and the configuration that the options select."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvps_ros.config import Config

#: Optional modules, and how to install each.
REMEDIES = {
    "rclpy": "source ROS 2's setup file, or make setup in a checkout",
    "mujoco": "pip install mujoco",
    "matplotlib": "pip install matplotlib",
}


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """An argument type: integers from ``low`` to ``high``, both included."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
            bounds = f"from {low} up" if high is None else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")
        return int(text)

    return convert


def real_number(low: float, high: float | None = None) -> Callable[[str], float]:
    """An argument type: finite numbers from ``low`` to ``high``, both included."""

    def convert(text: str) -> float:
        value = _float(text)
        if not low <= value < float("inf") or (high is not None and value > high):
            bounds = f"from {low:g} up" if high is None else f"from {low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {bounds}")
        return value

    return convert


def positive(text: str) -> float:
    """An argument type: finite numbers above 0."""
    value = _float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


#: An argument type: integers from 1.
count = whole_number(1)


def height_by_width(text: str) -> tuple[int, int]:
    """An argument type: (height, width) of an image in pixels, written as ``256x512``."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) >= 32 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be HEIGHTxWIDTH with both at least 32, e.g. 256x512")
    return int(parts[0]), int(parts[1])


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, which runs the network."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add ``--precision`` of the network's arithmetic."""
    about = "arithmetic; auto: 16 on CUDA, 32 elsewhere (default: auto)"
    parser.add_argument("--precision", choices=("auto", "32", "16", "bf16"), default="auto", help=about)


def add_input_pixels(parser: argparse.ArgumentParser) -> None:
    """Add ``--input-pixels`` of the network."""
    about = "area of the network's input, e.g. 204800 for 640 x 320 (default: as in the model)"
    parser.add_argument("--input-pixels", type=count, default=0, metavar="N", help=about)


def add_camera_height(parser: argparse.ArgumentParser) -> None:
    """Add ``--camera-height``, to which the scale of depth is anchored."""
    about = "height of the camera above the ground; the visible ground then sets the scale of depth (default: unknown)"
    parser.add_argument("--camera-height", type=positive, default=0.0, metavar="METRES", help=about)


def add_intrinsics(parser: argparse.ArgumentParser) -> None:
    """Add ``--fx``, ``--fy``, ``--cx`` and ``--cy`` for pictures without a calibration."""
    parser.add_argument("--fx", type=positive, help="focal length in pixels of pictures without camera_info")
    parser.add_argument("--fy", type=positive, help="vertical focal length in pixels (default: fx)")
    parser.add_argument("--cx", type=float, help="principal point, column in pixels (default: the center)")
    parser.add_argument("--cy", type=float, help="principal point, row in pixels (default: the center)")


def given_intrinsics(args: argparse.Namespace) -> tuple[float, float | None, float | None, float | None] | None:
    """(fx, fy, cx, cy) in pixels from the options of ``add_intrinsics``, with None for missing ones.

    None without ``--fx``. Raises ``ValueError`` if the others are given without ``--fx``.
    """
    if args.fx is not None:
        return args.fx, args.fy, args.cx, args.cy
    if any(value is not None for value in (args.fy, args.cx, args.cy)):
        raise ValueError("--fy, --cx and --cy need --fx")
    return None


def add_config(parser: argparse.ArgumentParser, cls: type) -> None:
    """Add an option for each number of a configuration dataclass."""
    for option in fields(cls):
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=type(option.default),
            default=option.default,
            metavar="N" if isinstance(option.default, int) else "X",
            help=f"{option.metadata['description']} (default: %(default)s)",
        )


def given_config(args: argparse.Namespace, cls: type) -> Any:
    """The dataclass with the values of ``add_config``'s options; raises ``ValueError`` naming one out of range."""
    from dvps_ros.config import from_dict

    return from_dict(cls, {option.name: getattr(args, option.name) for option in fields(cls)}, "options")


def add_settings(parser: argparse.ArgumentParser, of_what: str) -> None:
    """Add ``--set``, which changes single values of a configuration; ``of_what`` completes its help."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help=f"change single values {of_what}, e.g. data.root=data/street training.max_steps=5000",
    )


def configured(files: Sequence[str], assignments: Sequence[str] = ()) -> Config:
    """The configuration of ``--config`` and ``--set``; of several files a later one overrides the earlier ones.

    Raises ``FileNotFoundError`` for a missing file, ``ValueError`` for a mistake in a file or an assignment.
    """
    from dvps_ros import resources
    from dvps_ros.config import apply_overrides, load_config

    return apply_overrides(load_config([resources.find(file) for file in files]), assignments)


def composed_name(files: Sequence[str]) -> str:
    """The name of a composed configuration: the files' names without ``.yaml``, joined."""
    return "_".join(Path(file).stem for file in files)


def require_modules(*names: str) -> None:
    """Raise ``ValueError`` with the remedy if one of the modules (keys of ``REMEDIES``) is missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"{name} is not installed: {REMEDIES[name]}")


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
