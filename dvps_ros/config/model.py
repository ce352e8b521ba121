"""Whole configurations: of a model, and of a pair of networks of transformers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from dvps_ros.config.data import DataConfig
from dvps_ros.config.fields import from_dict, option, plain, read_layers, read_yaml
from dvps_ros.config.ground import GroundConfig
from dvps_ros.config.network import InputConfig, MergeConfig, NetworkConfig
from dvps_ros.config.renamed import OLD_INPUT, input_pixels
from dvps_ros.config.tools import StreetConfig
from dvps_ros.config.track import TrackConfig
from dvps_ros.config.training import LossConfig, OptimizerConfig, TrainingConfig
from dvps_ros.errors import joined


@dataclass(frozen=True)
class Config:
    """The configuration of a model, its input and its training."""

    labels: Literal["cityscapes", "semkitti"] = option("cityscapes", "Class table.")
    network: NetworkConfig = field(default_factory=NetworkConfig)
    input: InputConfig = field(default_factory=InputConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    ground: GroundConfig = field(default_factory=GroundConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    street: StreetConfig = field(default_factory=StreetConfig)


#: File of a model folder with a ``PairConfig``.
PAIR_FILE = "pair.yaml"


@dataclass(frozen=True)
class PairConfig:
    """Two networks of transformers instead of a DvpsNet: ``PAIR_FILE`` of a model folder."""

    segmentation: str = option(
        "",
        "Mask2Former, MaskFormer, OneFormer or EoMT with panoptic classes: folder, also beside the file, or hub name.",
    )
    depth: str = option("", "Metric Depth Anything, ZoeDepth or Depth Pro: folder, also beside the file, or hub name.")
    labels: str = option(
        "",
        "YAML file with the classes that are things, drivable, pavement, sky; empty: a known one (config/labels).",
    )
    depth_size: int = option(
        0, "One side of the depth network's input in pixels, the other in proportion; 0: what it was trained at.", low=0
    )
    depth_focal: float = option(
        0.0,
        "Focal length, in pixels of its input, for which the depth network's metres are meant: those of a calibrated "
        "camera are scaled by its own. 0: for any.",
        low=0.0,
    )
    input: InputConfig = field(default_factory=InputConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    ground: GroundConfig = field(default_factory=GroundConfig)


def load_config(path: str | Path | Sequence[str | Path], cls: type = Config) -> Any:
    """Read a YAML configuration from one file, or compose it from several files.

    Parameters
    ----------
    path : a ``.yaml`` file, or several, of which a later one overrides the earlier ones. Missing keys have their
        defaults. ``base: name.yaml`` in a file starts from another file beside it.
    cls : the dataclass of the result.

    Raises
    ------
    FileNotFoundError : naming a missing file.
    ValueError : naming the path of an unknown key, a value of the wrong type, or one outside its range.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    for one in paths:  # check each file by itself, so that a message names the right one
        from_dict(cls, read_yaml(one), str(one))
    return from_dict(cls, read_layers(paths), " + ".join(map(str, paths)))


def apply_overrides(config: Config, assignments: Iterable[str]) -> Config:
    """A configuration with ``section.key=value`` assignments, whose values are YAML.

    Raises ``ValueError`` naming an assignment that is malformed, unknown or out of range.
    """
    tree = plain(asdict(config))
    old: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"{assignment!r} is not of the form section.key=value")
        *sections, key = path.split(".")
        node = tree
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if sections == ["input"] and key in OLD_INPUT:
            node = old
        elif not isinstance(node, dict) or key not in node:
            raise ValueError(f"unknown key {path!r}")
        try:
            node[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{assignment!r} is no YAML: {joined(error)}") from error
    if old:
        tree["input"]["pixels"] = input_pixels(old, "overrides")
    return from_dict(Config, tree, "overrides")
