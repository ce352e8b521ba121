"""Two networks of transformers in place of a ``DvpsNet``: a panoptic one, and one for metric depth.

They can be run before any training, as a baseline and as a teacher. Depth is not aligned to the segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForDepthEstimation,
    AutoModelForUniversalSegmentation,
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
from dvps_ros.runtime.pair_depth import depth_grid, depth_input_size, metres
from dvps_ros.runtime.pair_segmentation import PanopticNetwork, square_side, task_tokens
from dvps_ros.runtime.perceive import Perceiver, Pose, check_finite, is_calibrated
from dvps_ros.runtime.preprocess import to_device
from dvps_ros.scene.merge import merge_masks
from dvps_ros.structures import Intrinsics, Scene

_LABELS = "config/labels"


class PairOutput(NamedTuple):
    """Output of the two networks: class_logits (Q, K+1), mask_logits (Q, h, w), depth (h', w').

    ``depth`` is in metres. Of Depth Pro it is inverse, for a focal length of one width of the picture, and
    ``field_of_view`` (1,) tells the network's own estimate in degrees.
    """

    class_logits: Tensor
    mask_logits: Tensor
    depth: Tensor
    field_of_view: Tensor | None = None


class Pair(nn.Module):
    """Both networks, each with its own size and normalisation of a picture.

    Parameters
    ----------
    segmentation : ``PanopticNetwork``.
    depth : maps pixel values to ``predicted_depth``.
    segmentation_pixels, depth_pixels : ``image_mean`` and ``image_std``, three numbers each, of pixels 0..1.
    """

    def __init__(
        self,
        segmentation: PanopticNetwork,
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
        queries = self.segmentation(pixels)
        pixels = (depth_images.float() / 255 - self.depth_image_mean) / self.depth_image_std
        output = self.depth(pixel_values=pixels)
        field_of_view = getattr(output, "field_of_view", None)
        return PairOutput(queries.class_logits, queries.mask_logits, output.predicted_depth[0], field_of_view)


class PairPerceiver(Perceiver):
    """A ``Perceiver`` of two networks; depth in metres is the depth network's own.

    The camera's focal length counts for Depth Pro, and where the configuration has ``depth_focal``.

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
        self._segmentation_settings = cast("PreTrainedModel", network.segmentation.network).config
        side = square_side(self._segmentation_settings)
        super().__init__(network, config, device, precision, labels, canvas=(side, side) if side else None)
        # channels last, which ``Perceiver`` sets, makes transformers' Mask2Former slower (1.6 times on a CPU)
        self.network.to(memory_format=torch.contiguous_format)
        self._depth_settings = cast("PreTrainedModel", network.depth).config
        self._depth_side, self._depth_multiple = depth_grid(self._depth_settings, config.depth_size)
        self._canonical_focal = config.depth_focal

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
        task = task_tokens(kinds["segmentation"], where["segmentation"])
        network = Pair(
            PanopticNetwork(weights_of("segmentation", where["segmentation"], AutoModelForUniversalSegmentation), task),
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
            depth_size = depth_input_size(self._depth_settings, square, self._depth_side, self._depth_multiple)
            focal_widths = intrinsics.fx / intrinsics.width if metric and intrinsics is not None else None
            depth_images = resize(picture, to_size(output_size, depth_size))
        with self._stage("network"):
            with self._arithmetic():
                output = self.network(images, depth_images)
            check_finite({name: part for name, part in output._asdict().items() if part is not None})
        with self._stage("merge"):
            depth = metres(
                self._depth_settings,
                output.depth,
                output_size,
                focal_widths,
                output.field_of_view,
                self._canonical_focal,
            )
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
