"""Preprocessing that the checkpoints of other projects expect: values of pixels, size of pictures.

A model folder keeps mean and deviation in its configuration (``network.backbone.mean`` and ``deviation``), the order of
channels in its first weight, and the size as ``input.pixels``. Other preprocessing is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from dvps_ros.errors import joined
from dvps_ros.files import read_json
from dvps_ros.network.backbones.base import Pixels

PREPROCESSOR_FILE = "preprocessor_config.json"
#: RGB on the 0..255 scale; transformers' and Mask2Former's default.
IMAGENET_MEAN, IMAGENET_DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
#: Width / height of the picture for which a rule on the shorter side becomes an area.
_ASPECT = 4 / 3
_BACKBONE = "backbone.model."


@dataclass(frozen=True)
class Preprocessing:
    """Conversion of pixels to a network's input.

    Attributes
    ----------
    mean, deviation : of R, G and B on the 0..255 scale; the input is (pixel - mean) / deviation.
    bgr : whether the order of channels is blue, green, red.
    pixels : area to which a picture is resized; 0 keeps its size.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION
    bgr: bool = False
    pixels: int = 0

    @property
    def is_imagenet(self) -> bool:
        """Whether mean and deviation are those of ImageNet, to the precision of a configuration (1/1000)."""
        pairs = zip((*self.mean, *self.deviation), (*IMAGENET_MEAN, *IMAGENET_DEVIATION), strict=True)
        return all(abs(one - other) < 1e-3 for one, other in pairs)


def on_255(mean: Sequence[float], deviation: Sequence[float]) -> Preprocessing:
    """Preprocessing of RGB pixels, with mean and deviation given on the 0..1 scale."""
    first, second = ((255 * r, 255 * g, 255 * b) for r, g, b in (mean, deviation))
    return Preprocessing(first, second)


def of_transformers(folder: Path) -> Preprocessing | None:
    """The preprocessing in ``preprocessor_config.json`` of a folder; None if there is no such file.

    Raises ``ValueError`` naming an entry that is invalid or not supported.
    """
    file = folder / PREPROCESSOR_FILE
    if not file.is_file():
        return None
    given = read_json(file)
    if given.get("do_center_crop"):
        raise ValueError(f"{file}: do_center_crop is not supported")
    pixels = _area(file, given.get("size")) if given.get("do_resize", True) else 0
    return replace(_pixels(file, given, Preprocessing()), pixels=pixels)


def pixels_of_transformers(folder: Path, default: Preprocessing | None = None) -> Preprocessing | None:
    """The same as ``of_transformers`` without the size of pictures.

    ``default`` gives the mean and the deviation that the file leaves out; None: those of ImageNet. Raises
    ``ValueError`` naming an entry that is not supported.
    """
    file = folder / PREPROCESSOR_FILE
    return _pixels(file, read_json(file), default or Preprocessing()) if file.is_file() else None


def _pixels(file: Path, given: Mapping[str, Any], default: Preprocessing) -> Preprocessing:
    for key in ("do_flip_channel_order", "do_grayscale"):
        if given.get(key):
            raise ValueError(f"{file}: {key} is not supported")
    rescales = given.get("do_rescale", True)
    scale = _number(file, "rescale_factor", given.get("rescale_factor", 1 / 255)) if rescales else 1.0
    mean, deviation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if given.get("do_normalize", True):
        mean = _three(file, "image_mean", given.get("image_mean", [v / 255 for v in default.mean]))
        deviation = _three(file, "image_std", given.get("image_std", [v / 255 for v in default.deviation]))
    if scale <= 0 or min(deviation) <= 0:
        raise ValueError(f"{file}: rescale_factor and image_std must be above 0")
    return Preprocessing(_divided(mean, scale), _divided(deviation, scale))


def of_detectron2(file: Path) -> Preprocessing:
    """The preprocessing in a detectron2 configuration (YAML, with the files that it names as ``_BASE_``).

    Raises ``FileNotFoundError`` naming a missing file, ``ValueError`` naming an invalid entry.
    """
    model, given = _sections(file)
    order = str(given.get("FORMAT", "BGR")).upper()
    if order not in ("RGB", "BGR"):
        raise ValueError(f"{file}: INPUT.FORMAT is {order}, must be RGB or BGR")
    # detectron2's defaults, in its default order BGR
    mean = _three(file, "MODEL.PIXEL_MEAN", model.get("PIXEL_MEAN", [103.53, 116.28, 123.675]))
    deviation = _three(file, "MODEL.PIXEL_STD", model.get("PIXEL_STD", [1.0, 1.0, 1.0]))
    if min(deviation) <= 0:
        raise ValueError(f"{file}: MODEL.PIXEL_STD must be above 0")
    size = {"shortest_edge": given.get("MIN_SIZE_TEST", 800), "longest_edge": given.get("MAX_SIZE_TEST", 1333)}
    pixels = _area(file, size) if size["shortest_edge"] else 0
    bgr = order == "BGR"
    return Preprocessing(_rgb(mean, bgr), _rgb(deviation, bgr), bgr, pixels)


def refuse_other_pixels(own: Pixels, theirs: Pixels, source: str) -> None:
    """Raise ``ValueError`` if the weights of ``source`` expect another mean or deviation than a network has.

    ``own`` and ``theirs`` are a mean and a deviation of R, G and B, in thousandths of the 0..255 scale. The message has
    the setting to change.
    """
    for key, one, other in zip(("mean", "deviation"), own, theirs, strict=True):
        if any(abs(a - b) > 10 for a, b in zip(one, other, strict=True)):
            wanted = ",".join(f"{value / 1000:g}" for value in other)
            raise ValueError(f"{source} expects pixels of another {key}: set network.backbone.{key}=[{wanted}]")


def in_rgb(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The weights of a network for BGR pictures, rearranged so that it computes the same from RGB.

    ``weights`` are tensors of any shape, by this project's names.

    Raises ``ValueError`` unless the backbone has exactly one weight with three input channels.
    """
    first = [name for name, w in weights.items() if name.startswith(_BACKBONE) and w.ndim == 4 and w.shape[1] == 3]
    if len(first) != 1:
        raise ValueError(f"{source}: its pictures are BGR, and {len(first)} weights take three channels, not one")
    return {**weights, first[0]: weights[first[0]].flip(1)}


def _sections(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sections MODEL and INPUT of a configuration, merged over those of its base."""
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    try:
        tree = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not valid YAML ({joined(error)})") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{file} is not a configuration of detectron2")
    model, given = _sections(file.parent / str(tree["_BASE_"])) if "_BASE_" in tree else ({}, {})
    return {**model, **(tree.get("MODEL") or {})}, {**given, **(tree.get("INPUT") or {})}


def _area(file: Path, size: Any) -> int:
    """Area of a 4:3 picture after a resizing rule of transformers; 0 without a rule."""
    if not size:
        return 0
    size = {"shortest_edge": size} if isinstance(size, int) else size
    if not isinstance(size, dict):
        raise ValueError(f"{file}: size is {size!r}, which is not supported")
    if {"height", "width"} <= size.keys():
        return round(_number(file, "size", size["height"]) * _number(file, "size", size["width"]))
    if "shortest_edge" not in size:
        raise ValueError(f"{file}: size has neither height and width nor shortest_edge")
    short = _number(file, "size", size["shortest_edge"])
    long = min(short * _ASPECT, _number(file, "size", size.get("longest_edge") or short * _ASPECT))
    return round(long * long / _ASPECT)


def _rgb(values: tuple[float, float, float], bgr: bool) -> tuple[float, float, float]:
    first, second, third = values
    return (third, second, first) if bgr else values


def _divided(values: tuple[float, float, float], scale: float) -> tuple[float, float, float]:
    first, second, third = (value / scale for value in values)
    return first, second, third


def _number(file: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{file}: {key} must be a number, got {value!r}")
    return float(value)


def _three(file: Path, key: str, values: Any) -> tuple[float, float, float]:
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ValueError(f"{file}: {key} must be three numbers, got {values!r}")
    first, second, third = (_number(file, key, value) for value in values)
    return first, second, third
