"""Parameters of the nodes that run on a robot, and of the simulated camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvps_ros.config.fields import option
from dvps_ros.config.rig import RigConfig


@dataclass(frozen=True)
class PerceptionConfig:
    """Parameters of the perception node, one ROS parameter each; those marked runtime may be set while it runs."""

    model: str = option(
        "models/street",
        "Model folder: absolute, or relative to the working directory or the package's share folder; or pair, for the "
        "two networks that segmentation and depth name.",
    )
    segmentation: str = option("", "With model pair: a panoptic network of transformers, folder or hub name.")
    depth: str = option("", "With model pair: a metric depth network of transformers, folder or hub name.")
    allow_programs: bool = option(False, "Allow exported programs as models; a program is code of its author.")
    device: str = option("auto", "Device of the network: auto, cpu, cuda or cuda:N.")
    precision: Literal["auto", "32", "16", "bf16"] = option("auto", "Arithmetic; auto: 16 on CUDA, 32 elsewhere.")
    runtime: Literal["auto", "torch", "compile", "cudagraph", "openvino", "onnxruntime", "tensorrt"] = option(
        "auto",
        "Run time of the network; auto: cudagraph on CUDA, OpenVINO on a CPU in 32 bit if it is installed, else torch. "
        "All but torch prepare the network once for each image size; cudagraph takes seconds, the others up to "
        "minutes.",
    )
    input_pixels: int = option(
        0,
        "Area of the network's input, e.g. 204800 for 640 x 320; 0: as in the model. More pixels show smaller things "
        "and take longer, about in proportion.",
        low=0,
    )
    autostart: bool = option(False, "Configure and activate without a lifecycle manager.")
    input_transport: Literal["auto", "raw", "compressed"] = option(
        "auto", "Type of the image topic: Image or CompressedImage; auto: what its publisher sends."
    )
    camera_info_mode: Literal["synced", "latest"] = option(
        "synced",
        "synced: each image gets the camera_info with its stamp; if that is late, the last one with its frame and size "
        "is used, unless the calibration has just changed. latest: always the last one.",
    )
    sync_slop: float = option(0.0, "Stamps of a pair may differ by this many seconds; 0: exactly equal.", low=0.0)
    camera_info_timeout: float = option(
        1.0, "Seconds without a matching camera_info after which images are used without one.", low=0.0, runtime=True
    )
    rectified: bool = option(
        False,
        "The image is rectified although camera_info has distortion: use P, not K and D. Always on for topics with a "
        "rectified name (image_rect).",
    )
    bits: int = option(
        0,
        "Number of significant bits of 16-bit pixels, e.g. 12; 0: all.",
        low=0,
        high=16,
        runtime=True,
    )
    camera_height: float = option(
        0.0,
        "Height of the camera above the ground in metres, which sets the scale of depth; 0: unknown.",
        low=0.0,
        high=100.0,
        runtime=True,
    )
    base_frame: str = option(
        "",
        "Frame on the ground, z up, e.g. base_footprint. The transform of the image's frame gives the up direction "
        "and, if camera_height is 0, the camera's height. Needs tf2_ros.",
    )
    fixed_frame: str = option(
        "",
        "Frame that does not move with the robot and does not jump, e.g. odom: the camera's motion comes from its "
        "transform at the image's stamp. Empty, or without the transform: it is estimated from the picture. Needs "
        "tf2_ros.",
    )
    target_frame: str = option(
        "",
        "Frame in which clouds, boxes, markers and objects are published, e.g. base_link. Empty, or without a "
        "transform at the image's stamp: the image's frame. Needs tf2_ros.",
    )
    transform_timeout: float = option(
        0.05, "Seconds to wait for a transform at the image's stamp.", low=0.0, high=1.0, runtime=True
    )
    view_frame: str = option(
        "",
        "Name of a frame for viewers, published on /tf_static: at the camera, x ahead, z up. Empty: none. Needs "
        "tf2_msgs.",
    )
    reliability: Literal["auto", "reliable", "best_effort"] = option(
        "auto", "Reliability of the input subscriptions; auto: as the publishers offer."
    )
    max_age: float = option(
        0.0, "Frames whose stamp is older than this many seconds are dropped; 0: none.", low=0.0, runtime=True
    )
    max_rate: float = option(0.0, "Largest number of frames processed per second; 0: all.", low=0.0, runtime=True)
    max_pixels: int = option(33554432, "Images with more pixels are refused.", low=1)
    max_consecutive_errors: int = option(
        10, "The node deactivates itself after this many failed frames in a row.", low=1, runtime=True
    )
    score_threshold: float = option(
        -1.0,
        "Queries with a score of at most this are dropped; negative: as in the model.",
        low=-1.0,
        high=1.0,
        runtime=True,
    )
    mask_threshold: float = option(
        -1.0,
        "Smallest mask probability of a segment's pixels; negative: as in the model.",
        low=-1.0,
        high=1.0,
        runtime=True,
    )
    overlap_threshold: float = option(
        -1.0,
        "Segments that win a smaller share of their own mask are dropped; negative: as in the model.",
        low=-1.0,
        high=1.0,
        runtime=True,
    )
    output_scale: float = option(
        1.0, "Size of the output images, relative to the input.", low=0.05, high=1.0, runtime=True
    )
    max_depth: float = option(80.0, "Largest depth of images and clouds, in metres.", low=0.1, runtime=True)
    depth_encoding: Literal["32FC1", "16UC1"] = option("32FC1", "Depth in metres (float) or millimetres (uint16).")
    organized: bool = option(False, "points has the image's shape with NaN holes, instead of valid points only.")
    points_stride: int = option(
        1, "Distance in pixels between points of clouds, in both directions.", low=1, runtime=True
    )
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
        "Percentage of an instance's points that boxes leave out at each end.",
        low=0.0,
        high=25.0,
        runtime=True,
    )
    max_uncertainty: float = option(
        0.0,
        "Points whose depth has a larger standard deviation, in metres, are not obstacles; 0: all are. Needs a model "
        "with uncertainty.",
        low=0.0,
        runtime=True,
    )
    voxel_size: float = option(
        0.1, "Edge of the grid that thins obstacles and ground, in metres.", low=0.01, runtime=True
    )
    diagnostics_rate: float = option(1.0, "Diagnostics per second.", low=0.1, high=100.0)


@dataclass(frozen=True)
class SimCameraConfig(RigConfig):
    """Parameters of the simulated camera node, one ROS parameter each."""

    seed: int = option(1, "Which street.", low=0)
    rate: float = option(10.0, "Frames per second; runs as fast as rendering allows below that.", low=0.1, runtime=True)
    width: int = option(512, "Image width in pixels.", low=32)
    height: int = option(256, "Image height in pixels.", low=32)
    frame_id: str = option("sim_camera_optical_frame", "Name of the camera's optical frame.")
    street_seconds: float = option(20.0, "At most this many simulated seconds on one street before the next.", low=1.0)
    reliability: Literal["reliable", "best_effort"] = option("reliable", "Offered by all publishers.")
