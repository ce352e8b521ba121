"""Two networks of transformers in place of a ``DvpsNet``: a panoptic Mask2Former, and one for metric depth.

They can be run before any training, as a baseline and as a teacher. Depth is not aligned to the segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModelForDepthEstimation,
    Mask2FormerForUniversalSegmentation,
    PretrainedConfig,
    PreTrainedModel,
)

from dvps_ros import resources
from dvps_ros.camera.resizing import resize, square_height, to_size
from dvps_ros.config import PAIR_FILE, PairConfig, load_config
from dvps_ros.labels import LABEL_SETS, VOID_CLASS, LabelSet, class_tables, read_label_set
from dvps_ros.runtime.arithmetic import Precision
from dvps_ros.runtime.pair_checkpoints import (
    _DEPTH_KINDS,
    IMAGENET,
    check_kinds,
    checkpoint_folder,
    digest_of,
    pixels_of,
    settings_of,
    weights_of,
)
from dvps_ros.runtime.perceive import Perceiver, Pose, check_finite, is_calibrated
from dvps_ros.runtime.preprocess import to_device
from dvps_ros.scene.merge import merge_masks
from dvps_ros.structures import Intrinsics, Scene

_LABELS = "config/labels"
#: ZoeDepth's inputs are multiples of this; Depth Anything's of its patch.
_ZOE_MULTIPLE = 32
#: Mask2Former's inputs are padded to multiples of this.
_COARSEST_STRIDE = 32


class PairOutput(NamedTuple):
    """Output of the two networks: class_logits (Q, K+1), mask_logits (Q, h, w), depth (h', w') in metres."""

    class_logits: Tensor
    mask_logits: Tensor
    depth: Tensor


class Pair(nn.Module):
    """Both networks, each with its own size and normalisation of a picture.

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
        segmentation_pixels: Mapping[str, Sequence[float]] = IMAGENET,
        depth_pixels: Mapping[str, Sequence[float]] = IMAGENET,
    ) -> None:
        super().__init__()
        self.segmentation, self.depth = segmentation, depth
        self.segmentation_image_mean: Tensor
        self.segmentation_image_std: Tensor
        self.depth_image_mean: Tensor
        self.depth_image_std: Tensor
        for name, pixels in (("segmentation", segmentation_pixels), ("depth", depth_pixels)):
            for part in ("image_mean", "image_std"):
                self.register_buffer(f"{name}_{part}", torch.tensor(pixels[part]).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, depth_images: Tensor) -> PairOutput:
        """The output for one picture, given at both networks' sizes: (1, 3, H, W) each, RGB 0..255."""
        pixels = (images.float() / 255 - self.segmentation_image_mean) / self.segmentation_image_std
        height, width = images.shape[-2:]
        pixels = F.pad(pixels, (0, -width % _COARSEST_STRIDE, 0, -height % _COARSEST_STRIDE))
        output = self.segmentation(pixel_values=pixels)
        pixels = (depth_images.float() / 255 - self.depth_image_mean) / self.depth_image_std
        depth = self.depth(pixel_values=pixels).predicted_depth
        return PairOutput(output.class_queries_logits[0], output.masks_queries_logits[0], depth[0])


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
        # channels last, which ``Perceiver`` sets, makes transformers' Mask2Former slower (1.6 times on a CPU)
        self.network.to(memory_format=torch.contiguous_format)
        self._depth_side, self._depth_multiple = depth_grid(
            cast("PreTrainedModel", network.depth).config, config.depth_size
        )

    @classmethod
    def load(  # type: ignore[override]  # a pair has no run times to choose from
        cls, folder: str | Path, device: str = "auto", precision: Precision = "auto"
    ) -> PairPerceiver:
        """The pair that ``pair.yaml`` of a folder names, ready on its device.

        Raises ``FileNotFoundError`` or ``ValueError`` in one line naming what is missing or wrong.
        """
        return cls.of(load_config(Path(folder) / PAIR_FILE, PairConfig), Path(folder), device, precision)

    @classmethod
    def of(
        cls, config: PairConfig, home: Path | None = None, device: str = "auto", precision: Precision = "auto"
    ) -> PairPerceiver:
        """The pair of a configuration, whose folders may be in ``home``; raises as ``load`` does."""
        where = {name: checkpoint_folder(name, getattr(config, name), home) for name in ("segmentation", "depth")}
        kinds = {name: settings_of(name, source) for name, source in where.items()}
        check_kinds(where, kinds)
        labels = labels_of(kinds["segmentation"], config.labels, home)
        network = Pair(
            weights_of("segmentation", where["segmentation"], Mask2FormerForUniversalSegmentation),
            weights_of("depth", where["depth"], AutoModelForDepthEstimation),
            pixels_of(where["segmentation"], IMAGENET),
            pixels_of(where["depth"], _DEPTH_KINDS[kinds["depth"].model_type]),
        )
        digest = digest_of(network)
        perceiver = cls(network, config, labels, device, precision)
        perceiver.digest = digest
        return perceiver

    @torch.inference_mode()
    def _step(self, image: np.ndarray, intrinsics: Intrinsics | None, stamp: float | None, pose: Pose) -> Scene:
        self.timings = {}
        with self._stage("preprocess"):
            picture = to_device(image, self.device)  # (1, 3, H', W')
            output_size = image.shape[:2]
            how = self.resizing(output_size, intrinsics)
            images = resize(picture, how)  # (1, 3, H, W)
            metric = is_calibrated(intrinsics, output_size)
            square = square_height(output_size[0], intrinsics), output_size[1]
            depth_size = depth_input_size(square, self._depth_side, self._depth_multiple)
            depth_images = resize(picture, to_size(output_size, depth_size))
        with self._stage("network"):
            with self._arithmetic():
                output = self.network(images, depth_images)
            check_finite(output._asdict())
        with self._stage("merge"):
            depth = F.interpolate(output.depth[None, None].float(), output_size, mode="bilinear", align_corners=False)
            depth = depth[0, 0].clamp(min=0)
            scene = merge_masks(
                output.class_logits,
                output.mask_logits,
                depth,
                how.size,
                self.labels,
                self.merge_config,
                metric,
                extent=how.extent,
            )
        return self._tracked(scene, images, how, intrinsics, stamp, pose)


def depth_grid(settings: PretrainedConfig, side: int = 0) -> tuple[int, int]:
    """The side in pixels that a depth network's input has (0: as trained), and what both sides are multiples of."""
    multiple = settings.patch_size if settings.model_type == "depth_anything" else _ZOE_MULTIPLE
    return side or settings.backbone_config.image_size, multiple


def depth_input_size(image_size: tuple[float, float], side: int, multiple: int) -> tuple[int, int]:
    """(H, W) at which a depth network sees an image that would have ``image_size`` (H, W) with square pixels.

    One side becomes ``side``, that of the two which changes the image less, as transformers' DPT preprocessor has it;
    both are rounded to multiples, which such networks are trained with.
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
    names_of: Any = settings.id2label
    names = [names_of[index] for index in range(len(names_of))]
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
    paths = class_tables(resources.find(_LABELS))
    for path in paths:
        try:
            return read_label_set(path, names)
        except ValueError:  # of another data set
            continue
    tables = ", ".join([*LABEL_SETS, *(path.stem for path in paths)])
    raise ValueError(
        f"the segmentation's {len(names)} classes ({', '.join(names[:3])}, ...) are not those of {tables}; "
        f"say which are things: labels in {PAIR_FILE}"
    )
