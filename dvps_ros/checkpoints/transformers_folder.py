"""Mask2Former as transformers keeps it: a folder of ``config.json`` and weights, or a name on the Hugging Face hub."""

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
#: Settings of a config.json that change the computation without changing a weight's shape, with the values known here.
_FORMS = {"pre_norm": False, "activation_function": "relu", "common_stride": 4, "feature_strides": [4, 8, 16, 32]}
_BACKBONE_FORMS = {
    "resnet": {"downsample_in_bottleneck": False, "hidden_act": "relu"},
    "swin": {"hidden_act": "gelu", "patch_size": 4, "layer_norm_eps": 1e-5},
}
#: Sampling points of each attention head, which transformers does not configure.
_POINTS = 4


def is_hub_name(text: str) -> bool:
    """True where ``text`` has the form owner/name of a model on the hub."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) is not None


def from_hub(name: str) -> Path:
    """The folder of a model on the hub: from the local cache where it is complete, else downloaded into it.

    Raises ``ValueError`` in one line when it can neither be found nor downloaded.
    """
    config = _hub_file(name, CONFIG_FILE)
    try:
        _hub_file(name, _WEIGHTS)
    except ValueError:
        # Large models are spread over several files, old ones pickled.
        if not any(_is_on_hub(name, file) for file in (_INDEX, _PICKLED)):
            raise
    folder = config.parent
    _is_on_hub(name, PREPROCESSOR_FILE)  # not every model has one
    if not (folder / _WEIGHTS).is_file() and (folder / _INDEX).is_file():
        for shard in _shards(folder):
            _hub_file(name, shard)
    return folder


def preprocessor_folder(name: str) -> Path:
    """Where the ``preprocessor_config.json`` of a hub model lies, if it has one; else a folder without such a file."""
    try:
        return _hub_file(name, PREPROCESSOR_FILE).parent
    except ValueError:
        return Path(name)


def read_settings(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a folder; ``ValueError`` in one line where it is no Mask2Former that DvpsNet computes."""
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
    """The weights of a folder, each in its own shape: safetensors, whole or in shards, or ``pytorch_model.bin``.

    Raises ``FileNotFoundError`` naming a missing file, ``ValueError`` naming a damaged one, and as ``pickles.read``.
    """
    if (folder / _WEIGHTS).is_file():
        return read_safetensors(folder / _WEIGHTS)
    if (folder / _INDEX).is_file():
        return {name: value for shard in _shards(folder) for name, value in read_safetensors(folder / shard).items()}
    if (folder / _PICKLED).is_file():
        return pickles.read(folder / _PICKLED)
    raise FileNotFoundError(f"{folder} has neither {_WEIGHTS} nor {_PICKLED}")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of any shape by name; ``FileNotFoundError`` or ``ValueError`` names a file missing or cut off."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no complete safetensors file ({error})") from error


def write(net: DvpsNet, folder: Path, config: Config) -> None:
    """Write the segmentation half of ``net`` for ``Mask2FormerForUniversalSegmentation.from_pretrained(folder)``.

    Parameters
    ----------
    folder : exists and is empty.
    config : gives the class table and the input size (``preprocessor_config.json``).

    Raises ``ValueError`` where transformers has no such Mask2Former.
    """
    c = net.config
    if c.backbone.kind not in _BACKBONE_FORMS:
        raise ValueError(
            f"transformers' Mask2Former has {' or '.join(_BACKBONE_FORMS)} backbones, not {c.backbone.kind}"
        )
    if c.points != _POINTS:
        raise ValueError(f"transformers' Mask2Former has {_POINTS} sampling points, this network {c.points}")
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
    """What DvpsNet does to an image, in the words of ``Mask2FormerImageProcessor``."""
    mean, deviation = ([round(value / 255_000, 9) for value in values] for values in thousandths)
    # transformers keeps proportions but knows no area: the short side is that of the training crops' shape
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
    """Names of the files over which the weights are spread; only plain names, so that none leads elsewhere."""
    places = read_json(folder / _INDEX).get("weight_map")
    names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise ValueError(f"{folder / _INDEX} lists no files of this folder")
    return names


def _hub_file(name: str, file: str) -> Path:
    """A file of a hub model: from the cache if it is there, without asking the network; else downloaded into it."""
    try:
        if cached := cached_file(name, file, local_files_only=True):
            return Path(cached)
    except OSError:
        pass
    try:
        found = cached_file(name, file)
    # Besides OSError, those of whichever HTTP library carries the download.
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
