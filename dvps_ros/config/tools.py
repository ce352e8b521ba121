"""Parameters of the simulated street and of the tools: demo, soak test, prediction, labelling."""

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
    length: float = option(
        160.0, "Length of one street in metres, after which the drive continues in the next.", low=40.0
    )
    max_depth: float = option(80.0, "Largest depth of labels in metres.", low=1.0)


@dataclass(frozen=True)
class ObserverConfig:
    """Parameters of the observer node of the demo, one ROS parameter each."""

    folder: str = option("demo", "Folder of montage.png and recording.mcap.")
    seconds: float = option(60.0, "Length of the run after the first answer.", low=1.0)
    patience: float = option(90.0, "Seconds without any answer after which the run ends with an error.", low=1.0)
    record_rate: float = option(2.0, "Largest number of recorded frames per second.", low=0.1)
    max_depth: float = option(80.0, "Metres that replace +Inf in the depth scores; end of the color scale.", low=1.0)


@dataclass(frozen=True)
class SoakConfig:
    """Parameters of the soak node of ``dvps soak``, one ROS parameter each."""

    folder: str = option("soak", "Folder of samples.json.")
    pid: int = option(0, "Process id of the perception node; 0: its memory, threads and files are not measured.", low=0)
    seconds: float = option(600.0, "Length of the run without the warm-up.", low=5.0)
    patience: float = option(120.0, "Seconds without any answer after which the run ends with an error.", low=1.0)
    warm_up: float = option(0.1, "Smallest length of the warm-up, as a share of the run.", low=0.0, high=1.0)
    rounds: int = option(2, "The warm-up also lasts until every picture was answered this many times.", low=0)
    overload: float = option(5.0, "Input rate in the middle third, as a multiple of the node's answers.", low=1.0)
    frames: int = option(24, "Number of different pictures, rendered before the run and sent in turn.", low=1)
    seed: int = option(1, "Seed of the street in the pictures.", low=0)


@dataclass(frozen=True)
class PredictConfig:
    """Settings of ``dvps predict``."""

    every: float = option(0.0, "Seconds between the pictures used of a recording or video; 0: all.", low=0.0)
    max_gap: float = option(2.0, "Seconds without a picture after which objects get new numbers.", low=0.01)
    max_depth: float = option(80.0, "Largest depth of points in clouds, in metres.", low=0.1)
    edge_threshold: float = option(
        0.1, "Points at relative depth jumps above this are left out of clouds as flying pixels; 0: none.", low=0.0
    )
    video_rate: float = option(
        10.0, "Frames per second of an overlay video if the pictures have no times.", low=1.0, high=1000.0
    )


@dataclass(frozen=True)
class LabelConfig:
    """Settings of ``dvps label``."""

    confidence: float = option(0.8, "Pixels with a lower confidence stay unlabelled.", low=0.0, high=1.0)
    min_share: float = option(
        0.5, "Segments with a smaller share of confident pixels stay unlabelled as a whole.", low=0.0, high=1.0
    )
    every: float = option(0.5, "Seconds between the labelled pictures of a recording or video; 0: all.", low=0.0)
    max_gap: float = option(2.0, "Seconds without a picture after which a new sequence begins.", low=0.01)
    length: int = option(20, "Largest number of frames in one sequence, which is written as a unit.", low=1)
    val: float = option(0.1, "Share of frames for validation, the last ones of each continuous run.", low=0.0, high=0.9)
    sheet: int = option(10, "Number of frames on the contact sheet; 0: no sheet.", low=0, high=100)
