"""Parameters of the simulated street and of the tools: demo, soak, labelling."""

from __future__ import annotations

from dataclasses import dataclass

from dvps_ros.config.fields import option
from dvps_ros.config.look import LookConfig
from dvps_ros.config.rig import RigConfig


@dataclass(frozen=True)
class StreetConfig(RigConfig, LookConfig):
    """The procedural street and the camera that drives through it."""

    width: int = option(512, "Image width in pixels.", low=32)
    height: int = option(256, "Image height in pixels.", low=32)
    rate: float = option(10.0, "Frames per simulated second.", low=0.1)
    frames: int = option(6, "Frames per sequence; each sequence is another street.", low=1)
    spacing: float = option(0.4, "Seconds between the frames of a rendered sequence.", low=0.01)
    length: float = option(160.0, "Metres of one street before the drive goes on in the next.", low=40.0)
    max_depth: float = option(80.0, "Depth labels end here, in metres.", low=1.0)


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
class PredictConfig:
    """How ``dvps predict`` goes through pictures, and where its clouds end."""

    every: float = option(0.0, "Seconds between the pictures taken of a recording or video; 0: all.", low=0.0)
    max_gap: float = option(2.0, "Seconds without a picture after which objects get new numbers.", low=0.01)
    max_depth: float = option(80.0, "Clouds end here, in metres.", low=0.1)
    edge_threshold: float = option(
        0.1, "Points at relative depth jumps above this are left out of clouds as flying pixels; 0: none.", low=0.0
    )
    video_rate: float = option(
        10.0, "Pictures per second of an overlay video whose pictures have no times.", low=1.0, high=1000.0
    )


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
