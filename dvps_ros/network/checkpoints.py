"""Models on disk: a folder with ``config.yaml``, ``model.safetensors`` and the latter's hash in ``model.sha256``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import Tensor

from dvps_ros.config import Config, NetworkConfig, load_config, save_config
from dvps_ros.network.backbone import canonical_name, is_derived
from dvps_ros.network.dvps import DvpsNet, build
from dvps_ros.network.foreign_names import from_detectron2, from_transformers, to_transformers

__all__ = [
    "file_hash",
    "from_detectron2",
    "from_transformers",
    "load",
    "load_model_config",
    "model_hash",
    "save",
    "to_transformers",
]

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.safetensors"
HASH_FILE = "model.sha256"
_BACKBONE = "backbone.model."


def save(net: DvpsNet, folder: str | Path, config: Config | None = None, half: bool = False) -> None:
    """Write a model folder; each file appears whole or not at all, the configuration last.

    Parameters
    ----------
    config : everything else the model needs (labels, merging, input size); its network section becomes ``net``'s own.
    half : store matrices and kernels in float16 (vectors and statistics, a hundredth of the size, stay float32).

    Raises ``ValueError`` when a weight is not finite or float16 cannot hold it.
    """
    folder = Path(folder)
    tensors = {_stored_name(name): _stored(name, value, half) for name, value in net.state_dict().items()}
    tensors = {name: value for name, value in tensors.items() if not is_derived(name)}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{WEIGHTS_FILE}.partial"
    # save_file would make a file that only its owner may read, whatever the umask says
    partial.write_bytes(serialized(tensors, metadata={"format": "pt"}))
    digest = file_hash(partial)
    os.replace(partial, folder / WEIGHTS_FILE)
    _write(folder / HASH_FILE, f"{digest}  {WEIGHTS_FILE}\n")
    config = replace(config or Config(), network=net.config)
    partial = folder / f"{CONFIG_FILE}.partial"
    save_config(config, partial)
    os.replace(partial, folder / CONFIG_FILE)


def load(folder: str | Path, device: str | torch.device = "cpu") -> DvpsNet:
    """The model of a folder, in float32 on ``device``, ready to predict (evaluation mode).

    Raises
    ------
    FileNotFoundError : naming a folder, configuration or weights file that is missing.
    ValueError : when the weights are damaged, are not those that were saved, or do not fit the configuration.
    """
    folder = Path(folder)
    network = load_model_config(folder).network
    state = _read_weights(folder)
    net = build(_without_pretraining(network))
    _fit(net, state, folder)
    net.config = network
    return net.to(device).eval()


def load_model_config(folder: str | Path) -> Config:
    """The configuration of a model folder.

    Raises ``FileNotFoundError`` naming what is missing, ``ValueError`` where it is no valid configuration.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no model folder {folder}")
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"model folder {folder} has no {CONFIG_FILE}")
    return load_config(folder / CONFIG_FILE)


def model_hash(folder: str | Path) -> str:
    """SHA-256 of a model folder's weights file, 64 hexadecimal digits; ``FileNotFoundError`` where there is none."""
    return file_hash(_weights_file(Path(folder)))


def _stored_name(name: str) -> str:
    return _BACKBONE + canonical_name(name.removeprefix(_BACKBONE)) if name.startswith(_BACKBONE) else name


def _stored(name: str, value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    value = value.to(torch.float16 if half and value.ndim > 1 else torch.float32)
    if not value.isfinite().all():
        raise ValueError(f"weight {name} is not finite" + (" in half precision" if half else ""))
    return value


def _weights_file(folder: Path) -> Path:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"model folder {folder} has no {WEIGHTS_FILE}")
    return path


def _read_weights(folder: Path) -> dict[str, Tensor]:
    path = _weights_file(folder)
    record = folder / HASH_FILE
    if record.is_file():
        expected, actual = (record.read_text().split() or [""])[0], file_hash(path)
        if actual != expected:
            raise ValueError(f"{path} is damaged or was exchanged: its SHA-256 is {actual}, {record} says {expected!r}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no complete safetensors file ({error})") from error


def _fit(net: DvpsNet, state: Mapping[str, Tensor], folder: Path) -> None:
    where = f"{folder / WEIGHTS_FILE} does not fit {CONFIG_FILE}"
    try:
        missing, unexpected = net.load_state_dict(state, strict=False)
    except RuntimeError as error:  # sizes differ
        raise ValueError(f"{where}: {str(error).splitlines()[-1].strip()}") from error
    if missing or unexpected:
        example = f"lacks {missing[0]}" if missing else f"has {unexpected[0]}, which the network lacks"
        raise ValueError(f"{where}: it {example} ({len(missing)} missing, {len(unexpected)} left over)")


def _without_pretraining(network: NetworkConfig) -> NetworkConfig:
    """The same network without the weights that training started from: they need not be at hand any more."""
    return replace(network, backbone=replace(network.backbone, pretrained=""))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
