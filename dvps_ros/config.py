"""Configuration: frozen dataclasses, the only place where a default is written, and their strict YAML loading.

Each field carries its description and range, from which the ROS parameters, ``--help`` texts and documentation tables
are generated. A YAML file names only what differs; ``base: other.yaml`` starts from another file in the same folder,
``base: [one.yaml, other.yaml]`` from several, the later ones on top.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

# --- how a field is declared ---------------------------------------------------------------------------------------


def option(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    runtime: bool = False,
) -> Any:
    """A dataclass field with what a user needs to know of it.

    Parameters
    ----------
    default : the value where nothing else is said.
    description : one sentence, with the unit.
    low, high : inclusive bounds of a number (or of each element of a tuple).
    runtime : True where a running node may change it.
    """
    return field(default=default, metadata={"description": description, "low": low, "high": high, "runtime": runtime})


# --- the network -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BackboneConfig:
    """Which of transformers' backbones, and its sizes; defaults are ResNet-50."""

    kind: Literal["resnet", "swin"] = option("resnet", "Family of the backbone.")
    depths: tuple[int, ...] = option((3, 4, 6, 3), "Blocks in each of the four stages.", low=1)
    stem: int = option(64, "ResNet: channels of the stem.", low=1)
    widths: tuple[int, ...] = option((256, 512, 1024, 2048), "ResNet: channels of the four stages.", low=1)
    block: Literal["bottleneck", "basic"] = option("bottleneck", "ResNet: kind of residual block.")
    embedding: int = option(96, "Swin: channels of the first stage, doubled at each later one.", low=1)
    heads: tuple[int, ...] = option((3, 6, 12, 24), "Swin: attention heads of the four stages.", low=1)
    window: int = option(7, "Swin: window size in patches.", low=1)
    drop_path: float = option(0.0, "Swin: stochastic depth rate in training.", low=0.0, high=1.0)
    pretrained: str = option("", "Folder or hub name of transformers weights that training starts from; empty: random.")


@dataclass(frozen=True)
class NetworkConfig:
    """DvpsNet (He et al., ICCV 2023, section 3); defaults are the paper's."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    classes: int = option(19, "Number of classes K.", low=1)
    width: int = option(256, "Channels C of features and queries; a multiple of 32 and of heads.", low=32)
    heads: int = option(8, "Attention heads everywhere.", low=1)
    points: int = option(4, "Sampling points per head and level of the deformable attention.", low=1)
    encoder_layers: int = option(6, "Deformable encoder layers of each pixel decoder.", low=1)
    encoder_feedforward: int = option(1024, "Hidden size of the pixel decoders' feed-forward layers.", low=1)
    queries: int = option(100, "Segment queries Q, and as many geometric latents.", low=1)
    decoder_layers: int = option(9, "Query decoder layers; layer i reads level i mod 3.", low=1)
    feedforward: int = option(2048, "Hidden size of the query decoder's feed-forward layers.", low=1)
    depth_head: Literal["segment", "dense"] = option(
        "segment", "Depth by geometric query enhancement (the paper), or a dense convolutional head (its ablation A)."
    )
    max_depth: float = option(80.0, "Depth in metres at sigmoid = 1.", low=0.1)
    canonical_focal: float | None = option(
        None, "Focal length in pixels that the network's depth is meant for; none: depth is metres as trained.", low=1.0
    )


# --- from queries to a scene -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MergeConfig:
    """How kept queries become a label map."""

    score_threshold: float = option(
        0.8, "Queries whose best class scores at most this are dropped.", low=0.0, high=1.0, runtime=True
    )
    mask_threshold: float = option(
        0.5,
        "A pixel belongs to a segment only where its mask probability reaches this.",
        low=0.0,
        high=1.0,
        runtime=True,
    )
    overlap_threshold: float = option(
        0.8, "Segments that win a smaller share of their own mask are dropped.", low=0.0, high=1.0, runtime=True
    )
    backup: bool = option(
        True, "Depth outside all segments is the backup query's; false: that of the likeliest query, for ablations."
    )


@dataclass(frozen=True)
class TrackConfig:
    """How things keep their number from frame to frame."""

    patience: int = option(10, "Frames for which a thing that is not seen keeps its number.", low=0)
    min_overlap: float = option(
        0.15, "Intersection over union with its predicted place from which a thing is the same.", low=0.0, high=1.0
    )
    min_proximity: float = option(
        0.3, "Closeness in place and depth, 0..1, from which a thing is the same without overlap.", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class InputConfig:
    """The size at which the network sees an image."""

    height: int = option(0, "Network input height in pixels; 0: the image's own.", low=0)
    width: int = option(0, "Network input width in pixels; 0: the image's own.", low=0)


# --- data and training -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataConfig:
    """Where training data lies, and how it is varied."""

    format: Literal["cityscapes_dvps", "semkitti_dvps", "folder"] = option(
        "cityscapes_dvps", "Folder format of the data set; folder: one's own data, see datasets/folder.py."
    )
    root: str = option("data/street", "Folder of the data set: holds video_sequence/ (format folder: train/ and val/).")
    labels: Literal["both", "panoptic", "depth"] = option(
        "both", "Labels to train and validate with; both: those that each image has, one of the two is enough."
    )
    on_bad_sample: Literal["error", "skip"] = option(
        "error", "A sample that cannot be read ends the run, or another one takes its place (counted in the log)."
    )
    crop_height: int = option(512, "Training crop height in pixels.", low=32)
    crop_width: int = option(1024, "Training crop width in pixels.", low=32)
    min_scale: float = option(0.5, "Smallest resizing factor.", low=0.05)
    max_scale: float = option(2.0, "Largest resizing factor.", low=0.05)
    flip: float = option(0.5, "Probability of a left-right mirror.", low=0.0, high=1.0)
    color_jitter: bool = option(True, "Vary brightness, contrast, saturation and hue (Liu et al., SSD, ECCV 2016).")
    focal: float = option(2262.52, "fx in pixels of cameras without an intrinsics file (Cityscapes: 2262.52).", low=1.0)
    supervision: Literal["full", "thirds"] = option(
        "full", "thirds: of every three sequences one trains with panoptic labels alone, one with depth alone."
    )
    workers: int = option(2, "Loader processes.", low=0)


@dataclass(frozen=True)
class LossConfig:
    """Weights and constants of the losses (deep supervision on every layer)."""

    class_weight: float = option(2.0, "Cross-entropy of the class.", low=0.0)
    no_object_weight: float = option(0.1, "Weight of 'no object' inside that cross-entropy.", low=0.0)
    mask_weight: float = option(5.0, "Binary cross-entropy of the mask.", low=0.0)
    dice_weight: float = option(5.0, "Dice of the mask.", low=0.0)
    depth_weight: float = option(2.5, "Scale-invariant depth of matched segments.", low=0.0)
    backup_weight: float = option(2.5, "Scale-invariant depth of the backup map.", low=0.0)
    points: int = option(12544, "Points per mask in losses and matching.", low=1)
    oversample: float = option(3.0, "Candidate points per kept point.", low=1.0)
    importance: float = option(0.75, "Share of points chosen by uncertainty.", low=0.0, high=1.0)
    semantic_to_depth_weight: float = option(0.0, "Guidance Eqs. 3-5; 0 switches it off (paper: 0.1).", low=0.0)
    depth_to_semantic_weight: float = option(0.0, "Guidance Eq. 6; 0 switches it off (paper: 0.1).", low=0.0)
    depth_to_semantic_form: Literal["equation", "similarity"] = option("equation", "Which form of Eq. 6.")
    semantic_to_depth_levels: tuple[int, ...] = option(
        (4,), "Strides of the depth decoder's maps that Eqs. 3-5 shape, of 4 (E_depth), 8, 16, 32; their mean.", low=4
    )
    depth_to_semantic_levels: tuple[int, ...] = option(
        (4,), "Strides of the semantic decoder's maps that Eq. 6 shapes, of 4 (E_pixel), 8, 16, 32; their mean.", low=4
    )
    patch: int = option(5, "Side of the guidance patches in pixels; odd.", low=3)
    margin: float = option(0.3, "Margin alpha of Eq. 5.", low=0.0)
    min_negatives: int = option(1, "An anchor counts with at least this many negatives (and positives).", low=1)
    tau: float = option(10.0, "Depth scale tau of Eq. 6 in metres.", low=1e-3)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a linear warm-up and polynomial decay."""

    learning_rate: float = option(1e-4, "Peak learning rate.", low=0.0)
    backbone_factor: float = option(0.1, "Learning rate factor of the backbone.", low=0.0)
    weight_decay: float = option(0.05, "Weight decay; 0 on norms and embeddings.", low=0.0)
    warmup_steps: int = option(500, "Steps of the linear warm-up from 0.1 of the peak.", low=0)
    power: float = option(0.9, "Exponent of the polynomial decay.", low=0.0)
    clip_norm: float = option(0.01, "Full-model gradient clipping norm.", low=0.0)


@dataclass(frozen=True)
class TrainingConfig:
    """The course of one training run."""

    batch_size: int = option(8, "Images per step and device.", low=1)
    accumulate: int = option(1, "Steps whose gradients are added before one update.", low=1)
    max_steps: int = option(90000, "Optimiser steps.", low=1)
    precision: Literal["32", "bf16", "16"] = option("16", "Automatic mixed precision: 16 needs CUDA, bf16 any device.")
    validate_every: int = option(2000, "Steps between validations.", low=1)
    validate_batches: int = option(0, "Validation images; 0: all.", low=0)
    checkpoint_every: int = option(500, "Steps between resumable checkpoints.", low=1)
    log_every: int = option(20, "Steps between logged values.", low=1)
    ema_decay: float = option(
        0.0, "Decay of the moving average of weights that is validated and exported; 0: none.", low=0.0, high=0.9999999
    )
    images: int = option(4, "Validation images drawn into TensorBoard.", low=0)
    seed: int = option(1, "Seed of weights, sampling and augmentation.", low=0)
    check_memory: bool = option(True, "Try one made-up step first, so that memory that does not suffice ends it there.")


# --- the simulated street ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreetConfig:
    """The procedural street and the camera that drives through it."""

    width: int = option(512, "Image width in pixels.", low=32)
    height: int = option(256, "Image height in pixels.", low=32)
    rate: float = option(10.0, "Frames per simulated second.", low=0.1)
    frames: int = option(6, "Frames per sequence; each sequence is another street.", low=1)
    spacing: float = option(0.4, "Seconds between the frames of a rendered sequence.", low=0.01)
    length: float = option(160.0, "Metres of one street before the drive goes on in the next.", low=40.0)
    max_depth: float = option(80.0, "Depth labels end here, in metres.", low=1.0)
    min_focal: float = option(0.55, "Shortest focal length, in image widths.", low=0.1)
    max_focal: float = option(0.95, "Longest focal length, in image widths.", low=0.1)


@dataclass(frozen=True)
class Config:
    """Everything one model needs: what it is, how it is fed, how it is trained."""

    labels: Literal["cityscapes", "semkitti"] = option("cityscapes", "Class table.")
    network: NetworkConfig = field(default_factory=NetworkConfig)
    input: InputConfig = field(default_factory=InputConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    street: StreetConfig = field(default_factory=StreetConfig)


@dataclass(frozen=True)
class PairConfig:
    """Two networks of transformers instead of one of ours: ``pair.yaml`` of a model folder."""

    segmentation: str = option("", "Mask2Former with panoptic classes: folder, also beside the file, or hub name.")
    depth: str = option("", "Metric Depth Anything or ZoeDepth: folder, also beside the file, or hub name.")
    labels: str = option(
        "", "YAML that says which classes are things, drivable and sky; empty: a known one (config/labels) that fits."
    )
    depth_size: int = option(
        0, "One side of the depth network's input in pixels, the other in proportion; 0: what it was trained at.", low=0
    )
    input: InputConfig = field(default_factory=InputConfig)
    merge: MergeConfig = field(default_factory=MergeConfig)
    track: TrackConfig = field(default_factory=TrackConfig)


# --- the nodes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PerceptionConfig:
    """Parameters of the perception node, one ROS parameter each; those marked runtime may be set while it runs."""

    model: str = option(
        "models/street",
        "Model folder: absolute, or relative to the working directory or the package's share folder; or pair, for the "
        "two networks that segmentation and depth name.",
    )
    segmentation: str = option("", "With model pair: a Mask2Former of transformers, folder or hub name.")
    depth: str = option("", "With model pair: a metric depth network of transformers, folder or hub name.")
    allow_programs: bool = option(False, "The model may be an exported program, which is code of whoever made it.")
    device: str = option("auto", "Where the network runs: auto, cpu, cuda or cuda:N.")
    precision: Literal["auto", "32", "16", "bf16"] = option("auto", "Arithmetic; auto: 16 on CUDA, 32 elsewhere.")
    autostart: bool = option(False, "Configure and activate without a lifecycle manager.")
    input_transport: Literal["raw", "compressed"] = option("raw", "Type of the image topic: Image or CompressedImage.")
    camera_info_mode: Literal["synced", "latest"] = option(
        "synced", "Pair each image with the camera_info of its stamp, or use the latest one."
    )
    sync_slop: float = option(0.0, "Stamps of a pair may differ by this many seconds; 0: exactly equal.", low=0.0)
    camera_info_timeout: float = option(
        1.0, "Seconds without a fitting camera_info after which images go on without one.", low=0.0, runtime=True
    )
    rectified: bool = option(False, "The image is rectified although camera_info has distortion: use P, not K and D.")
    reliability: Literal["auto", "reliable", "best_effort"] = option(
        "auto", "Of the input subscriptions; auto: what the publishers offer."
    )
    max_age: float = option(
        0.0, "Frames whose stamp is older than this many seconds are dropped; 0: none.", low=0.0, runtime=True
    )
    max_rate: float = option(0.0, "At most this many frames per second are taken; 0: all.", low=0.0, runtime=True)
    max_pixels: int = option(33554432, "Images with more pixels are refused.", low=1)
    max_consecutive_errors: int = option(
        10, "The node deactivates itself after this many failed frames in a row.", low=1, runtime=True
    )
    score_threshold: float = option(
        -1.0, "Queries scoring at most this are dropped; negative: the model's own.", low=-1.0, high=1.0, runtime=True
    )
    mask_threshold: float = option(
        -1.0,
        "A pixel belongs to a segment where its mask probability reaches this; negative: the model's own.",
        low=-1.0,
        high=1.0,
        runtime=True,
    )
    overlap_threshold: float = option(
        -1.0,
        "Segments that win a smaller share of their own mask are dropped; negative: the model's own.",
        low=-1.0,
        high=1.0,
        runtime=True,
    )
    output_scale: float = option(
        1.0, "Size of the output images, as a factor of the input's.", low=0.05, high=1.0, runtime=True
    )
    max_depth: float = option(80.0, "Depth and clouds end here, in metres.", low=0.1, runtime=True)
    depth_encoding: Literal["32FC1", "16UC1"] = option("32FC1", "Depth in metres (float) or millimetres (uint16).")
    organized: bool = option(False, "points has the image's shape with NaN holes, instead of valid points only.")
    points_stride: int = option(1, "Every this many pixels in each direction becomes a point.", low=1, runtime=True)
    edge_threshold: float = option(
        0.1, "Points at relative depth jumps above this are left out as flying pixels; 0: none.", low=0.0, runtime=True
    )
    instance_gap: float = option(
        1.0,
        "Points of an instance beyond a gap of this many times its size are left out of instances and boxes; 0: none.",
        low=0.0,
        runtime=True,
    )
    box_percentile: float = option(
        1.0,
        "Boxes leave out this share of an instance's points at each end, in percent.",
        low=0.0,
        high=25.0,
        runtime=True,
    )
    voxel_size: float = option(0.1, "Edge of the grid that thins obstacles, in metres.", low=0.01, runtime=True)
    diagnostics_rate: float = option(1.0, "Diagnostics per second.", low=0.1, high=100.0)


@dataclass(frozen=True)
class SimCameraConfig:
    """Parameters of the simulated camera node, one ROS parameter each."""

    seed: int = option(1, "Which street.", low=0)
    rate: float = option(10.0, "Frames per second; runs as fast as rendering allows below that.", low=0.1, runtime=True)
    width: int = option(512, "Image width in pixels.", low=32)
    height: int = option(256, "Image height in pixels.", low=32)
    frame_id: str = option("sim_camera_optical_frame", "Name of the camera's optical frame.")
    street_seconds: float = option(20.0, "At most this many simulated seconds on one street before the next.", low=1.0)
    reliability: Literal["reliable", "best_effort"] = option("reliable", "Offered by all publishers.")


@dataclass(frozen=True)
class ObserverConfig:
    """Parameters of the observer node of the demo, one ROS parameter each."""

    folder: str = option("demo", "Where montage.png and recording.mcap are written.")
    seconds: float = option(60.0, "Length of the run from the first answer on.", low=1.0)
    patience: float = option(90.0, "Seconds without any answer after which the run is given up.", low=1.0)
    record_rate: float = option(2.0, "At most this many frames per second are recorded.", low=0.1)
    max_depth: float = option(80.0, "Stands for +Inf in the depth scores, and ends the color scale; metres.", low=1.0)


@dataclass(frozen=True)
class SoakConfig:
    """Parameters of the soak node of ``dvps soak``, one ROS parameter each."""

    folder: str = option("soak", "Where samples.json is written.")
    pid: int = option(0, "Process of the perception node; 0: its memory, threads and files are not looked at.", low=0)
    seconds: float = option(600.0, "Length of the run, the warm-up left out.", low=5.0)
    patience: float = option(120.0, "Seconds without any answer after which the run is given up.", low=1.0)
    warm_up: float = option(0.1, "The warm-up lasts at least this share of the run.", low=0.0, high=1.0)
    rounds: int = option(2, "The warm-up lasts at least until every picture was answered this often.", low=0)
    overload: float = option(5.0, "Frames of the middle third, as a multiple of what the node answers.", low=1.0)
    frames: int = option(24, "Different pictures, rendered before the run and sent in turn.", low=1)
    seed: int = option(1, "Which street they show.", low=0)


@dataclass(frozen=True)
class LabelConfig:
    """How ``dvps label`` makes a training set of pictures that a model labels."""

    confidence: float = option(
        0.8, "Pixels that the model labels with less confidence stay without label.", low=0.0, high=1.0
    )
    min_share: float = option(
        0.5, "Segments of which a smaller share is that sure stay without label as a whole.", low=0.0, high=1.0
    )
    every: float = option(0.5, "Seconds between the labelled pictures of a recording or video; 0: all.", low=0.0)
    max_gap: float = option(2.0, "Seconds without a picture after which a new sequence begins.", low=0.01)
    length: int = option(20, "Most frames in one sequence; each is written whole or not at all.", low=1)
    val: float = option(
        0.1, "Share of the frames, the last of each source, held out for validation.", low=0.0, high=0.9
    )
    sheet: int = option(10, "Frames on the contact sheet; 0: no sheet.", low=0, high=100)


# --- loading and writing ----------------------------------------------------------------------------------------------


def load_config(path: str | Path, cls: type = Config) -> Any:
    """Read a YAML configuration.

    Parameters
    ----------
    path : a ``.yaml`` file; keys left out keep their defaults, ``base: name.yaml`` starts from a file beside it (of a
        list of files, the later ones win).
    cls : the dataclass that it fills.

    Raises
    ------
    FileNotFoundError : naming a missing file.
    ValueError : naming the path of an unknown key, a value of the wrong type, or one outside its range.
    """
    return from_dict(cls, _read(Path(path)), str(path))


def save_config(config: Config, path: str | Path) -> None:
    """Write ``config`` whole, so that a later change of a default does not change a trained model."""
    Path(path).write_text(yaml.safe_dump(_plain(asdict(config)), sort_keys=False))


def apply_overrides(config: Config, assignments: Iterable[str]) -> Config:
    """A configuration with ``section.key=value`` assignments applied, values read as YAML.

    Raises ``ValueError`` naming the assignment that is malformed, unknown or out of range.
    """
    tree = _plain(asdict(config))
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"{assignment!r} is not of the form section.key=value")
        *sections, key = path.split(".")
        node = tree
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if not isinstance(node, dict) or key not in node:
            raise ValueError(f"unknown key {path!r}")
        node[key] = yaml.safe_load(text)
    return from_dict(Config, tree, "overrides")


def from_dict(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """Build the dataclass ``cls`` from a mapping; ``ValueError`` messages begin with ``where`` and the key's path."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {type(values).__name__}")
    known = {f.name: f for f in fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")
    given = {key: _convert(value, hints[key], f"{where}: {key}") for key, value in values.items()}
    for key, value in given.items():
        check_range(value, known[key].metadata, f"{where}: {key}")
    return cls(**given)


def check_range(value: Any, metadata: Mapping[str, Any], where: str) -> None:
    """Raise ``ValueError`` beginning with ``where`` when a number (or one of a tuple) leaves its declared bounds."""
    low, high = metadata.get("low"), metadata.get("high")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if (low is not None and not number >= low) or (high is not None and not number <= high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            raise ValueError(f"{where} is {number}, must be {bounds}")


def describe(cls: type, prefix: str = "") -> list[dict[str, Any]]:
    """One row per leaf option of a configuration dataclass: path, type, default, description, low, high, runtime."""
    rows, hints = [], typing.get_type_hints(cls)
    for f in fields(cls):
        path = f"{prefix}{f.name}"
        if is_dataclass(hints[f.name]):
            rows += describe(hints[f.name], f"{path}.")
        else:
            default = f.default if f.default is not MISSING else f.default_factory()
            rows.append({"path": path, "type": hints[f.name], "default": default, **f.metadata})
    return rows


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}")
    if path.resolve() in seen:
        raise ValueError(f"{path}: its base leads back to itself")
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected a mapping, got {type(tree).__name__}")
    bases = tree.pop("base", None) or []
    if not isinstance(bases, str | list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: base must be a file name or a list of them, got {bases!r}")
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = _merged(merged, _read(path.parent / base, (*seen, path.resolve())))
    return _merged(merged, tree)


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(lower)
    for key, value in upper.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result


def _convert(value: Any, hint: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_dict(hint, {} if value is None else value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if str(value) in arguments and isinstance(value, str | int):  # `precision: 16` reads as a number
            return str(value)
        raise ValueError(f"{where} is {value!r}, must be one of {', '.join(map(str, arguments))}")
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _convert(value, arguments[0], where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{where} must be a number, got {value!r}") from None
    if type(value) is hint:
        return value
    raise ValueError(f"{where} must be of type {hint.__name__}, got {value!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
