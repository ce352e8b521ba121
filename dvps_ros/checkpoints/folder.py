"""Models on disk: a folder with ``config.yaml``, ``model.safetensors`` and the hashes of both in ``model.sha256``."""

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

from dvps_ros.checkpoints.foreign_names import from_detectron2, from_transformers, to_transformers
from dvps_ros.config import Config, load_config, save_config
from dvps_ros.network.backbones import is_derived
from dvps_ros.network.dvps import DvpsNet, build

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
_BACKBONE = "backbone."


def save(net: DvpsNet, folder: str | Path, config: Config | None = None, half: bool = False) -> None:
    """Write a model folder; each file is written atomically, the configuration last.

    Parameters
    ----------
    config : labels, merging and input size of the model; its network section is replaced by that of ``net``.
    half : store matrices and kernels in float16. Vectors and statistics, a hundredth of the size, stay float32.

    Raises ``ValueError`` if a weight is not finite, or does not fit float16.
    """
    folder = Path(folder)
    tensors = {_stored_name(net, name): _stored(name, value, half) for name, value in net.state_dict().items()}
    tensors = {name: value for name, value in tensors.items() if not is_derived(name)}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{WEIGHTS_FILE}.partial"
    # save_file would ignore the umask and make a file that only its owner can read
    partial.write_bytes(serialized(tensors, metadata={"format": "pt"}))
    os.replace(partial, folder / WEIGHTS_FILE)
    config = replace(config or Config(), network=net.config)
    partial = folder / f"{CONFIG_FILE}.partial"
    save_config(config, partial)
    digests = {WEIGHTS_FILE: file_hash(folder / WEIGHTS_FILE), CONFIG_FILE: file_hash(partial)}
    _write(folder / HASH_FILE, "".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    os.replace(partial, folder / CONFIG_FILE)


def load(folder: str | Path, device: str | torch.device = "cpu") -> DvpsNet:
    """The model of a folder, in float32 on ``device``, ready to predict (evaluation mode).

    Raises
    ------
    FileNotFoundError : naming a folder, configuration, weights or hash file that is missing.
    ValueError : weights or configuration are damaged, were changed after saving, or do not fit each other.
    """
    folder = Path(folder)
    network = load_model_config(folder).network
    state = read_weights(folder)
    net = build(network)
    _fit(net, state, folder)
    return net.to(device).eval()


def load_model_config(folder: str | Path) -> Config:
    """The configuration of a model folder.

    Raises ``FileNotFoundError`` naming the missing folder or file, ``ValueError`` for an invalid configuration.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no model folder {folder}")
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"model folder {folder} has no {CONFIG_FILE}")
    return load_config(folder / CONFIG_FILE)


def model_hash(folder: str | Path) -> str:
    """SHA-256 of a model folder's weights, 64 hexadecimal digits; raises ``FileNotFoundError`` without weights."""
    return file_hash(_weights_file(Path(folder)))


def _stored_name(net: DvpsNet, name: str) -> str:
    return _BACKBONE + net.backbone.stored_name(name.removeprefix(_BACKBONE)) if name.startswith(_BACKBONE) else name


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


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a model folder by name, each with the shape that it has in the network.

    Raises ``FileNotFoundError`` or ``ValueError`` naming a file that is missing, damaged, or changed after saving.
    """
    path = _weights_file(folder)
    _verify(folder)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error})") from error


def _verify(folder: Path) -> None:
    """Compare weights and configuration with the hashes that ``save`` recorded."""
    record = folder / HASH_FILE
    if not record.is_file():
        raise FileNotFoundError(f"model folder {folder} has no {HASH_FILE}; {_renewal()}")
    try:
        lines = [line.split(maxsplit=1) for line in record.read_text().splitlines() if line.strip()]
        expected = {name.lstrip("*"): digest for digest, name in lines}  # the format of sha256sum
        expected[WEIGHTS_FILE]
    except (KeyError, ValueError):
        raise ValueError(f"{record} has no SHA-256 of {WEIGHTS_FILE}; {_renewal()}") from None
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        # older folders recorded the hash of the weights only
        if name in expected and (actual := file_hash(folder / name)) != expected[name]:
            difference = f"its SHA-256 is {actual}, {record} has {expected[name]!r}"
            raise ValueError(f"{folder / name} is damaged or was replaced: {difference}; {_renewal()}")


def _renewal() -> str:
    return f"if the files are correct, run: sha256sum {WEIGHTS_FILE} {CONFIG_FILE} > {HASH_FILE}"


def _fit(net: DvpsNet, state: Mapping[str, Tensor], folder: Path) -> None:
    where = f"{folder / WEIGHTS_FILE} does not fit {CONFIG_FILE}"
    try:
        missing, unexpected = net.load_state_dict(state, strict=False)
    except RuntimeError as error:  # sizes differ
        raise ValueError(f"{where}: {str(error).splitlines()[-1].strip()}") from error
    if missing or unexpected:
        example = f"lacks {missing[0]}" if missing else f"has {unexpected[0]}, which the network lacks"
        raise ValueError(f"{where}: it {example} ({len(missing)} missing, {len(unexpected)} left over)")


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
