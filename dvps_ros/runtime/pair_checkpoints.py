"""The two checkpoints of a pair: where they are, and what they are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    PretrainedConfig,
)
from transformers.utils import logging as transformers_logging

from dvps_ros import resources
from dvps_ros.checkpoints import preprocessing
from dvps_ros.checkpoints.transformers_folder import from_hub, is_hub_name
from dvps_ros.runtime.pair_segmentation import SEGMENTATION_KINDS

IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}

_CENTERED = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}

#: Kinds of depth networks that give metres, with what their pictures are where the checkpoint does not say.
_DEPTH_KINDS = {"depth_anything": IMAGENET, "zoedepth": _CENTERED, "depth_pro": _CENTERED}

#: Weights that only training uses; old checkpoints lack them.
_UNUSED = ("criterion.", "mask_token")


def checkpoint_folder(role: str, name: str, home: Path | None) -> Path:
    """The folder that ``name`` means, that of the local cache for a name on the hub.

    Raises ``FileNotFoundError`` where there is no such folder, ``ValueError`` where the hub has no such model.
    """
    if not name:
        raise ValueError(f"{role} is empty: give the folder or hub name of a transformers model")
    if home is not None and (home / name).is_dir():
        return home / name
    try:
        return resources.find(name)
    except FileNotFoundError:
        if not is_hub_name(name):
            raise FileNotFoundError(f"{role}: no such folder: {name}") from None
    try:
        return from_hub(name)
    except ValueError as error:
        raise ValueError(f"{role}: {error}") from error


def settings_of(role: str, source: Path) -> PretrainedConfig:
    """The configuration of a checkpoint; ``ValueError`` naming its ``role`` where it is none."""
    return _load_or_raise(role, source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))


def weights_of(role: str, source: Path, kind: Any) -> nn.Module:
    """A network of transformers' class ``kind`` in float32; ``ValueError`` naming what its weights lack."""
    with _no_progress_bars():
        # never a pickle, and no code beside the weights, for which transformers would ask on the terminal
        safe = {"use_safetensors": True, "trust_remote_code": False}
        load = partial(kind.from_pretrained, source, output_loading_info=True, **safe)
        model, info = _load_or_raise(role, source, load)
    # What is missing would silently stay random.
    if missing := sorted(key for key in info["missing_keys"] if not any(part in key for part in _UNUSED)):
        raise ValueError(f"{role}: {source} lacks {missing[0]} ({len(missing)} weights in all)")
    return model.float()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """A robot's log is no place for them."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _load_or_raise(role: str, source: Path, get: Any) -> Any:
    try:
        return get()
    except Exception as error:  # a broken folder makes transformers raise almost anything
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(f"{role}: no usable model at {source} ({type(error).__name__}: {lines[0]})") from error


def check_kinds(where: Mapping[str, Path], kinds: Mapping[str, PretrainedConfig]) -> None:
    """Raise ``ValueError`` where one of the two networks is of a kind that a pair does not know."""
    kind = kinds["segmentation"].model_type
    if kind not in SEGMENTATION_KINDS:
        known = ", ".join(SEGMENTATION_KINDS)
        raise ValueError(f"segmentation: {where['segmentation']} is a {kind}, not one of {known}")
    depth = kinds["depth"]
    if depth.model_type not in _DEPTH_KINDS:
        raise ValueError(f"depth: {where['depth']} is a {depth.model_type}, not one of {', '.join(_DEPTH_KINDS)}")
    if depth.model_type == "depth_anything" and depth.depth_estimation_type != "metric":
        raise ValueError(f"depth: {where['depth']} estimates {depth.depth_estimation_type} depth, not metres")


def pixels_of(source: Path, default: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[float]]:
    """``image_mean`` and ``image_std``, on the 0..1 scale, that a checkpoint's preprocessor asks for.

    ``default`` where it does not say. Raises ``ValueError`` as ``preprocessing.pixels_of_transformers``.
    """
    given = preprocessing.pixels_of_transformers(
        source, preprocessing.on_255(default["image_mean"], default["image_std"])
    )
    if given is None:
        return default
    return {"image_mean": [v / 255 for v in given.mean], "image_std": [v / 255 for v in given.deviation]}


def digest_of(network: nn.Module) -> str:
    """SHA-256 of all weights, wherever they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
