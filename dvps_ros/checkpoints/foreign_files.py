"""Public checkpoints, on disk or on the hub, converted to this project's weight names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvps_ros import checkpoints, resources
from dvps_ros.checkpoints import pickles, preprocessing, transformers_folder
from dvps_ros.checkpoints.folder import WEIGHTS_FILE
from dvps_ros.checkpoints.foreign_names import Renamed, naming_of, rename
from dvps_ros.checkpoints.preprocessing import Preprocessing
from dvps_ros.checkpoints.sizes import infer
from dvps_ros.config import Config, NetworkConfig
from dvps_ros.errors import first_line


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a checkpoint, ready to be loaded into a ``DvpsNet``.

    Attributes
    ----------
    source : path or hub name, as the user wrote it.
    naming : ``"detectron2"``, ``"transformers"`` or ``"dvps"``.
    weights : tensors by this project's names, in the shapes of the network; the depth half may be missing.
    left_over : names in the checkpoint that have no counterpart in DvpsNet.
    network : network configuration with the sizes of the weights.
    class_names : class names in order; empty if the checkpoint has none.
    config : the configuration of a model folder of this project; None for other checkpoints.
    preprocessing : preprocessing of its pictures. ``network`` already has its mean and deviation, ``weights`` its
        order of channels. None if the checkpoint has none, and for a model folder.
    """

    source: str
    naming: str
    weights: Mapping[str, Tensor]
    left_over: tuple[str, ...]
    network: NetworkConfig
    class_names: tuple[str, ...] = ()
    config: Config | None = None
    preprocessing: Preprocessing | None = None


def open_checkpoint(source: str, like: NetworkConfig, source_config: Path | None = None) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    source : a .pkl, .pth, .pt, .bin or .safetensors file in detectron2's, the DeepDPS authors' or transformers' names;
        a folder of transformers' Mask2Former or of this project; or a hub name. An existing path takes precedence.
    like : has the settings that weights do not determine, see ``sizes.infer``.
    source_config : detectron2's configuration of a checkpoint file, for the preprocessing of its pictures.

    Raises
    ------
    FileNotFoundError : naming the missing file.
    ValueError : another architecture, a damaged file, a failed download, a pickle that asks for more than arrays and
        containers (``UnsafePickleError``), or preprocessing that DvpsNet does not support.
    """
    path = _place(source)
    if path.name == WEIGHTS_FILE and (path.parent / checkpoints.CONFIG_FILE).is_file():
        path = path.parent  # a model of dvps, whose configuration tells what its depth means
    if path.is_file():
        given = preprocessing.of_detectron2(source_config) if source_config is not None else None
        return _prepared(_file(source, path, like), given)
    if source_config is not None:
        raise ValueError(f"{source} is a folder; a detectron2 configuration applies to checkpoint files only")
    if (path / checkpoints.CONFIG_FILE).is_file():
        return _own(source, path)
    if (path / transformers_folder.CONFIG_FILE).is_file():
        return _prepared(_transformers(source, path, like), preprocessing.of_transformers(path))
    raise FileNotFoundError(
        f"folder {source} has neither {checkpoints.CONFIG_FILE} (a model of dvps) "
        f"nor {transformers_folder.CONFIG_FILE} (one of transformers)"
    )


def _place(source: str) -> Path:
    try:
        return resources.find(source)
    except FileNotFoundError:
        if Path(source).suffix in (".pkl", ".pth", ".pt", ".bin", ".safetensors"):
            raise
        if not transformers_folder.is_hub_name(source):
            raise
    try:
        return transformers_folder.from_hub(source)
    except ValueError as error:
        raise ValueError(f"no file or folder {source}; as a name on the hub: {error}") from error


def _own(source: str, folder: Path) -> Checkpoint:
    config = checkpoints.load_model_config(folder)
    net = checkpoints.load(folder)
    return Checkpoint(source, "dvps", net.state_dict(), (), config.network, (), config)


def _transformers(source: str, folder: Path, like: NetworkConfig) -> Checkpoint:
    settings = transformers_folder.read_settings(folder)
    renamed = _in_our_names(transformers_folder.read_weights(folder), "transformers", source)
    heads = settings.get("num_attention_heads", like.heads)
    drop_path = (settings.get("backbone_config") or {}).get("drop_path_rate", 0.0)
    like = replace(like, heads=heads, backbone=replace(like.backbone, drop_path=drop_path))
    names = settings.get("id2label") or {}
    network = _sizes(renamed.weights, like, source)
    class_names = tuple(str(names[key]) for key in map(str, range(network.classes)) if key in names)
    return Checkpoint(source, "transformers", renamed.weights, renamed.left_over, network, class_names)


def _prepared(checkpoint: Checkpoint, given: Preprocessing | None) -> Checkpoint:
    """``checkpoint`` with its preprocessing in the network's configuration and, for BGR, in the first weight."""
    if given is None:
        return checkpoint
    weights = preprocessing.in_rgb(checkpoint.weights, checkpoint.source) if given.bgr else checkpoint.weights
    backbone = checkpoint.network.backbone
    if not given.is_imagenet:
        backbone = replace(backbone, mean=given.mean, deviation=given.deviation)
    network = replace(checkpoint.network, backbone=backbone)
    return replace(checkpoint, weights=weights, network=network, preprocessing=given)


def _file(source: str, path: Path, like: NetworkConfig) -> Checkpoint:
    state = transformers_folder.read_safetensors(path) if path.suffix == ".safetensors" else _state(pickles.read(path))
    naming = naming_of(map(str, state))
    if naming is None:
        example = next(iter(state), None)
        raise ValueError(
            f"{source} is of another architecture: no names of Mask2Former or DeepDPS, such as {example!r}"
        )
    renamed = _in_our_names(state, naming, source)
    return Checkpoint(source, naming, renamed.weights, renamed.left_over, _sizes(renamed.weights, like, source))


def _state(content: Any) -> Mapping[Any, Any]:
    """The weights in a pickle: the whole content, or the entry under a name that trainers use."""
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    return content if isinstance(content, Mapping) else {}


def _in_our_names(state: Any, naming: str, source: str) -> Renamed:
    weights = {name: value for name, value in state.items() if isinstance(value, Tensor | np.ndarray)}
    try:
        return rename(weights, naming)
    except (TypeError, ValueError, RuntimeError) as error:  # a stacked weight that does not split in three
        raise ValueError(f"{source} is of another architecture: {first_line(error)}") from error


def _sizes(weights: Mapping[str, Tensor], like: NetworkConfig, source: str) -> NetworkConfig:
    try:
        return infer(weights, like)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


@dataclass(frozen=True)
class Fit:
    """Result of loading a checkpoint: names of weights, in the network's order.

    Attributes: ``loaded``; ``missing``, which keep their random values; ``left_over``, unused names of the checkpoint.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]


def load_into(net: torch.nn.Module, checkpoint: Checkpoint) -> Fit:
    """Load the weights of ``checkpoint`` that ``net`` has. Raises ``ValueError`` if the shape of a weight differs."""
    try:
        missing, unexpected = net.load_state_dict(checkpoint.weights, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"{checkpoint.source} is of another architecture: {reason}") from error
    absent = set(missing)
    loaded = tuple(name for name in net.state_dict() if name not in absent)
    return Fit(loaded, tuple(missing), (*checkpoint.left_over, *unexpected))
