"""Two networks of transformers in place of ours: a panoptic Mask2Former, and one for metric depth.

What people can run before they have trained: a baseline, and a teacher. Depth is taken as it comes; nothing aligns it
to the segments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForDepthEstimation, Mask2FormerForUniversalSegmentation, PretrainedConfig
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from dvps_ros import resources
from dvps_ros.config import InputConfig, PairConfig, load_config
from dvps_ros.labels import LABEL_SETS, VOID_CLASS, LabelSet, read_label_set
from dvps_ros.network.transformers_folder import from_hub, is_hub_name
from dvps_ros.runtime.models import PAIR_FILE
from dvps_ros.runtime.perceive import Perceiver, Precision, check_finite, is_calibrated
from dvps_ros.runtime.preprocess import network_size, preprocess
from dvps_ros.scene.merge import merge_masks
from dvps_ros.structures import Intrinsics, Scene

_LABELS = "config/labels"
_PREPROCESSOR = "preprocessor_config.json"
_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_CENTERED = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
#: Kinds of depth networks that give metres, with what their pictures are where the checkpoint does not say.
_DEPTH_KINDS = {"depth_anything": _IMAGENET, "zoedepth": _CENTERED}
#: ZoeDepth's inputs are multiples of this; Depth Anything's of its patch.
_ZOE_MULTIPLE = 32
#: Mask2Former's inputs are padded to multiples of this.
_COARSEST_STRIDE = 32
#: Weights that only training uses; old checkpoints lack them.
_UNUSED = ("criterion.", "mask_token")


class PairOutput(NamedTuple):
    """What the two networks say: class_logits (Q, K+1), mask_logits (Q, h, w), depth (h', w') in metres."""

    class_logits: Tensor
    mask_logits: Tensor
    depth: Tensor


class Pair(nn.Module):
    """Both networks, each with its own way to see a picture.

    Parameters
    ----------
    segmentation : Mask2Former.
    depth : maps pixel values to ``predicted_depth`` in metres.
    segmentation_pixels, depth_pixels : ``image_mean`` and ``image_std``, three numbers each, of pixels 0..1.
    """

    def __init__(
        self,
        segmentation: nn.Module,
        depth: nn.Module,
        segmentation_pixels: Mapping[str, Sequence[float]] = _IMAGENET,
        depth_pixels: Mapping[str, Sequence[float]] = _IMAGENET,
    ) -> None:
        super().__init__()
        self.segmentation, self.depth = segmentation, depth
        for name, pixels in (("segmentation", segmentation_pixels), ("depth", depth_pixels)):
            for part in ("image_mean", "image_std"):
                self.register_buffer(f"{name}_{part}", torch.tensor(pixels[part]).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, depth_images: Tensor) -> PairOutput:
        """The output for one picture, given at both networks' sizes: (1, 3, H, W) each, RGB 0..255."""
        pixels = (images.float() / 255 - self.segmentation_image_mean) / self.segmentation_image_std
        height, width = images.shape[-2:]
        pixels = F.pad(pixels, (0, -width % _COARSEST_STRIDE, 0, -height % _COARSEST_STRIDE))
        said = self.segmentation(pixel_values=pixels)
        pixels = (depth_images.float() / 255 - self.depth_image_mean) / self.depth_image_std
        depth = self.depth(pixel_values=pixels).predicted_depth
        return PairOutput(said.class_queries_logits[0], said.masks_queries_logits[0], depth[0])


class PairPerceiver(Perceiver):
    """A ``Perceiver`` of two networks; depth in metres is the depth network's own, whatever the focal length.

    Parameters
    ----------
    network : both networks.
    config : input sizes and thresholds.
    labels : the segmentation network's classes.
    device, precision : as for ``Perceiver``.
    """

    def __init__(
        self,
        network: Pair,
        config: PairConfig,
        labels: LabelSet,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        super().__init__(network, config, device, precision, labels)
        # Channels last, which suits our network, makes transformers' Mask2Former slower (1.6 times on a CPU).
        self.network.to(memory_format=torch.contiguous_format)
        self._depth_side, self._depth_multiple = depth_grid(network.depth.config, config.depth_size)

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", precision: Precision = "auto") -> PairPerceiver:
        """The pair that ``pair.yaml`` of a folder names, ready on its device.

        Raises ``FileNotFoundError`` or ``ValueError`` in one line naming what is missing or wrong.
        """
        return cls.of(load_config(Path(folder) / PAIR_FILE, PairConfig), Path(folder), device, precision)

    @classmethod
    def of(
        cls, config: PairConfig, home: Path | None = None, device: str = "auto", precision: Precision = "auto"
    ) -> PairPerceiver:
        """The pair of a configuration whose folders may lie in ``home``; raises as ``load`` does."""
        where = {name: _folder(name, getattr(config, name), home) for name in ("segmentation", "depth")}
        kinds = {name: _settings(name, source) for name, source in where.items()}
        _check_kinds(where, kinds)
        labels = labels_of(kinds["segmentation"], config.labels, home)
        network = Pair(
            _weights("segmentation", where["segmentation"], Mask2FormerForUniversalSegmentation),
            _weights("depth", where["depth"], AutoModelForDepthEstimation),
            _pixels(where["segmentation"], _IMAGENET),
            _pixels(where["depth"], _DEPTH_KINDS[kinds["depth"].model_type]),
        )
        digest = _digest(network)
        perceiver = cls(network, config, labels, device, precision)
        perceiver.digest = digest
        return perceiver

    @torch.inference_mode()
    def _step(self, image: np.ndarray, intrinsics: Intrinsics | None) -> Scene:
        self.timings = {}
        with self._stage("preprocess"):
            images = preprocess(image, self.config.input, self.device)  # (1, 3, H, W)
            size, output_size = network_size(image.shape[:2], self.config.input), image.shape[:2]
            depth_size = depth_input_size(output_size, self._depth_side, self._depth_multiple)
            depth_images = preprocess(image, InputConfig(*depth_size), self.device)
            metric = is_calibrated(intrinsics, output_size)
        with self._stage("network"):
            with self._arithmetic():
                output = self.network(images, depth_images)
            check_finite(output._asdict())
        with self._stage("merge"):
            depth = F.interpolate(output.depth[None, None].float(), output_size, mode="bilinear", align_corners=False)
            depth = depth[0, 0].clamp(min=0)
            scene = merge_masks(*output[:2], depth, size, self.labels, self.merge_config, metric)
        with self._stage("track"):
            return self.tracker.update(scene)


def depth_grid(settings: PretrainedConfig, side: int = 0) -> tuple[int, int]:
    """The side in pixels that a depth network's input has (0: as trained), and what both sides are multiples of."""
    multiple = settings.patch_size if settings.model_type == "depth_anything" else _ZOE_MULTIPLE
    return side or settings.backbone_config.image_size, multiple


def depth_input_size(image_size: tuple[int, int], side: int, multiple: int) -> tuple[int, int]:
    """(H, W) at which a depth network sees an image of ``image_size``.

    One side becomes ``side``, that of the two which changes the image less, as transformers' DPT preprocessor has it.
    """
    scale = min((side / length for length in image_size), key=lambda factor: abs(1 - factor))
    height, width = (max(1, round(length * scale / multiple)) * multiple for length in image_size)
    return height, width


def labels_of(settings: PretrainedConfig, table: str = "", home: Path | None = None) -> LabelSet:
    """The class table of a checkpoint.

    ``table`` is a YAML for ``read_label_set`` (perhaps in ``home``), the name of one of ``LABEL_SETS``, or empty: the
    one of those, or of config/labels, that fits the names of the checkpoint's classes.
    Raises ``FileNotFoundError`` or ``ValueError`` when there is none, or too many classes.
    """
    names = [settings.id2label[index] for index in range(settings.num_labels)]
    if len(names) > VOID_CLASS:
        raise ValueError(f"the segmentation has {len(names)} classes, at most {VOID_CLASS} are possible")
    if table in LABEL_SETS:
        if len(names) != len(LABEL_SETS[table]):
            raise ValueError(f"the segmentation has {len(names)} classes, {table} has {len(LABEL_SETS[table])}")
        return LABEL_SETS[table]
    if table:
        beside = home / table if home is not None else Path(table)
        return read_label_set(beside if beside.is_file() else resources.find(table), names)
    for known in LABEL_SETS.values():
        if [name.strip().casefold() for name in names] == [name.casefold() for name in known.names]:
            return known
    paths = sorted(resources.find(_LABELS).glob("*.yaml"))
    for path in paths:
        try:
            return read_label_set(path, names)
        except ValueError:  # of another data set
            continue
    known = ", ".join([*LABEL_SETS, *(path.stem for path in paths)])
    raise ValueError(
        f"the segmentation's {len(names)} classes ({', '.join(names[:3])}, ...) are not those of {known}; "
        f"say which are things: labels in {PAIR_FILE}"
    )


def _folder(role: str, name: str, home: Path | None) -> Path:
    """The folder that ``name`` means, that of the local cache for a name on the hub."""
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
        folder = from_hub(name)
    except ValueError as error:
        raise ValueError(f"{role}: {error}") from error
    if not (folder / _PREPROCESSOR).is_file():
        with suppress(OSError):  # not every checkpoint has one
            cached_file(name, _PREPROCESSOR)
    return folder


def _settings(role: str, source: Path) -> PretrainedConfig:
    return _had(role, source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))


def _weights(role: str, source: Path, kind: Any) -> nn.Module:
    with _no_progress_bars():
        # never a pickle, and no code beside the weights, for which transformers would ask on the terminal
        safe = {"use_safetensors": True, "trust_remote_code": False}
        load = partial(kind.from_pretrained, source, output_loading_info=True, **safe)
        model, info = _had(role, source, load)
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


def _had(role: str, source: Path, get: Any) -> Any:
    try:
        return get()
    except Exception as error:  # a broken folder makes transformers raise almost anything
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(f"{role}: no usable model at {source} ({type(error).__name__}: {lines[0]})") from error


def _check_kinds(where: Mapping[str, Path], kinds: Mapping[str, PretrainedConfig]) -> None:
    kind = kinds["segmentation"].model_type
    if kind != "mask2former":
        raise ValueError(f"segmentation: {where['segmentation']} is a {kind}, not a mask2former")
    depth = kinds["depth"]
    if depth.model_type not in _DEPTH_KINDS:
        raise ValueError(f"depth: {where['depth']} is a {depth.model_type}, not one of {', '.join(_DEPTH_KINDS)}")
    if depth.model_type == "depth_anything" and depth.depth_estimation_type != "metric":
        raise ValueError(f"depth: {where['depth']} estimates {depth.depth_estimation_type} depth, not metres")


def _pixels(source: Path, default: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[float]]:
    """``image_mean`` and ``image_std`` of a checkpoint's preprocessor."""
    file = source / _PREPROCESSOR
    if not file.is_file():
        return default
    said = _had("preprocessor", file, lambda: dict(json.loads(file.read_text())))
    result = {key: said.get(key, default[key]) for key in default}
    for key, values in result.items():
        if not (isinstance(values, list | tuple) and len(values) == 3 and all(type(v) in (int, float) for v in values)):
            raise ValueError(f"{file}: {key} must be three numbers, got {values!r}")
    return result


def _digest(network: nn.Module) -> str:
    """SHA-256 of all weights, wherever they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
