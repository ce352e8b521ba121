"""Mask2Former in the format of transformers: a folder with ``config.json`` and weights, or a Hugging Face hub name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Mask2FormerConfig, PreTrainedModel
from transformers.utils import cached_file

from dvps_ros.checkpoints import pickles
from dvps_ros.checkpoints.foreign_names import to_transformers
from dvps_ros.checkpoints.preprocessing import PREPROCESSOR_FILE
from dvps_ros.config import Config
from dvps_ros.errors import first_line
from dvps_ros.files import read_json
from dvps_ros.labels import LABEL_SETS
from dvps_ros.network.dvps import DvpsNet

CONFIG_FILE = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLED = "pytorch_model.bin"
#: Settings of config.json that change the computation but not the shapes of weights, with their supported values.
_FORMS = {"pre_norm": False, "activation_function": "relu", "common_stride": 4, "feature_strides": [4, 8, 16, 32]}
_BACKBONE_FORMS = {
    "resnet": {"downsample_in_bottleneck": False, "hidden_act": "relu"},
    "swin": {"hidden_act": "gelu", "patch_size": 4, "layer_norm_eps": 1e-5},
}
#: Number of sampling points of each attention head, fixed in transformers.
_POINTS = 4


def is_hub_name(text: str) -> bool:
    """Whether ``text`` has the form owner/name of a model on the hub."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) is not None


def from_hub(name: str) -> Path:
    """The folder of a hub model in the local cache; missing files are downloaded.

    Raises ``ValueError`` if it can neither be found nor downloaded.
    """
    config = _hub_file(name, CONFIG_FILE)
    try:
        _hub_file(name, _WEIGHTS)
    except ValueError:
        # Large models have several files of weights; old ones are pickled.
        if not any(_is_on_hub(name, file) for file in (_INDEX, _PICKLED)):
            raise
    folder = config.parent
    _is_on_hub(name, PREPROCESSOR_FILE)  # optional
    if not (folder / _WEIGHTS).is_file() and (folder / _INDEX).is_file():
        for shard in _shards(folder):
            _hub_file(name, shard)
    return folder


def preprocessor_folder(name: str) -> Path:
    """Folder of a hub model's ``preprocessor_config.json``; a folder without this file if the model has none."""
    try:
        return _hub_file(name, PREPROCESSOR_FILE).parent
    except ValueError:
        return Path(name)


def read_settings(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a folder; raises ``ValueError`` if it is not a Mask2Former that DvpsNet supports."""
    path = folder / CONFIG_FILE
    settings = read_json(path)
    kind = settings.get("model_type")
    if kind != "mask2former":
        raise ValueError(f"{path} is of another architecture: model_type is {kind!r}, not 'mask2former'")
    backbone = settings.get("backbone_config") or {}
    if backbone.get("model_type", "swin") not in _BACKBONE_FORMS:
        raise ValueError(f"{path} is of another architecture: its backbone is {backbone['model_type']!r}")
    forms = _BACKBONE_FORMS[backbone.get("model_type", "swin")]
    for prefix, known, given in (("", _FORMS, settings), ("backbone_config.", forms, backbone)):
        for key, value in known.items():
            if (found := given.get(key, value)) != value:
                raise ValueError(f"{path} is of another architecture: {prefix}{key} is {found!r}, not {value!r}")
    return settings


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a folder, each in its own shape, from safetensors (one file or shards) or ``pytorch_model.bin``.

    Raises ``FileNotFoundError`` naming a missing file, ``ValueError`` naming a damaged one, and errors as
    ``pickles.read``.
    """
    if (folder / _WEIGHTS).is_file():
        return read_safetensors(folder / _WEIGHTS)
    if (folder / _INDEX).is_file():
        return {name: value for shard in _shards(folder) for name, value in read_safetensors(folder / shard).items()}
    if (folder / _PICKLED).is_file():
        return pickles.read(folder / _PICKLED)
    raise FileNotFoundError(f"{folder} has neither {_WEIGHTS} nor {_PICKLED}")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of any shape by name. Raises ``FileNotFoundError`` or ``ValueError`` naming a missing or damaged file."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error})") from error


def write(net: DvpsNet, folder: Path, config: Config) -> None:
    """Write the segmentation half of ``net`` for ``Mask2FormerForUniversalSegmentation.from_pretrained(folder)``.

    Parameters
    ----------
    folder : an existing empty folder.
    config : class table and input size (for ``preprocessor_config.json``).

    Raises ``ValueError`` if transformers does not support this network.
    """
    c = net.config
    if c.backbone.kind not in _BACKBONE_FORMS:
        raise ValueError(
            f"transformers' Mask2Former has {' or '.join(_BACKBONE_FORMS)} backbones, not {c.backbone.kind}"
        )
    if c.points != _POINTS:
        raise ValueError(f"transformers' Mask2Former has {_POINTS} sampling points, this network has {c.points}")
    names = dict(enumerate(LABEL_SETS[config.labels].names))
    settings = Mask2FormerConfig(
        backbone_config=cast("PreTrainedModel", net.backbone.model).config,
        feature_size=c.width,
        mask_feature_size=c.width,
        hidden_dim=c.width,
        encoder_layers=c.encoder_layers,
        encoder_feedforward_dim=c.encoder_feedforward,
        decoder_layers=c.decoder_layers + 1,  # transformers counts the initial queries
        dim_feedforward=c.feedforward,
        num_attention_heads=c.heads,
        num_queries=c.queries,
        id2label=names,
        label2id={name: index for index, name in names.items()},
        architectures=["Mask2FormerForUniversalSegmentation"],
    )
    settings.save_pretrained(folder)
    (folder / PREPROCESSOR_FILE).write_text(json.dumps(_preprocessing(config, net.backbone.pixels), indent=2) + "\n")
    tensors = to_transformers({name: value.detach().cpu() for name, value in net.state_dict().items()})
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def _preprocessing(config: Config, thousandths: tuple[Sequence[int], Sequence[int]]) -> dict[str, Any]:
    """The preprocessing of DvpsNet as settings of ``Mask2FormerImageProcessor``."""
    mean, deviation = ([round(value / 255_000, 9) for value in values] for values in thousandths)
    # transformers resizes by the short side, not by the area: use that of an image with the training crops' shape
    low, high = sorted((config.data.crop_height, config.data.crop_width))
    short = round(math.sqrt(config.input.pixels * low / high))
    return {
        "image_processor_type": "Mask2FormerImageProcessor",
        "do_resize": short > 0,
        **({"size": {"shortest_edge": short, "longest_edge": 4 * short}} if short else {}),
        "resample": 2,
        "size_divisor": 32,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": deviation,
        "ignore_index": 255,
        "do_reduce_labels": False,
        "num_labels": len(LABEL_SETS[config.labels]),
    }


def _shards(folder: Path) -> list[str]:
    """Names of the shards; paths are refused, so that none leads out of the folder."""
    places = read_json(folder / _INDEX).get("weight_map")
    names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise ValueError(f"{folder / _INDEX} lists no files of this folder")
    return names


def _hub_file(name: str, file: str) -> Path:
    """A file of a hub model: from the cache without network access if it is there, else downloaded."""
    try:
        if cached := cached_file(name, file, local_files_only=True):
            return Path(cached)
    except OSError:
        pass
    try:
        found = cached_file(name, file)
    # Besides OSError there are the exceptions of the HTTP library in use.
    except Exception as error:
        reason = first_line(error)
        raise ValueError(f"cannot download {name!r} from the hub ({reason})") from error
    if not found:
        raise ValueError(f"{name!r} on the hub has no {file}")
    return Path(found)


def _is_on_hub(name: str, file: str) -> bool:
    try:
        return _hub_file(name, file).is_file()
    except ValueError:
        return False
