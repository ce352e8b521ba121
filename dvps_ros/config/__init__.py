"""Configuration: frozen dataclasses, the only place where a default is written, and their strict YAML loading."""

from dvps_ros.config.data import DataConfig, SourceConfig
from dvps_ros.config.fields import check_range, describe, from_dict, option, save_config
from dvps_ros.config.ground import GroundConfig
from dvps_ros.config.look import LookConfig
from dvps_ros.config.model import PAIR_FILE, Config, PairConfig, apply_overrides, load_config
from dvps_ros.config.network import BackboneConfig, InputConfig, MergeConfig, NetworkConfig
from dvps_ros.config.node import PerceptionConfig, SimCameraConfig
from dvps_ros.config.rig import RigConfig, check_rig
from dvps_ros.config.tools import LabelConfig, ObserverConfig, PredictConfig, SoakConfig, StreetConfig
from dvps_ros.config.track import TrackConfig
from dvps_ros.config.training import LossConfig, OptimizerConfig, TrainingConfig

__all__ = [
    "PAIR_FILE",
    "BackboneConfig",
    "Config",
    "DataConfig",
    "GroundConfig",
    "InputConfig",
    "LabelConfig",
    "LookConfig",
    "LossConfig",
    "MergeConfig",
    "NetworkConfig",
    "ObserverConfig",
    "OptimizerConfig",
    "PairConfig",
    "PerceptionConfig",
    "PredictConfig",
    "RigConfig",
    "SimCameraConfig",
    "SoakConfig",
    "SourceConfig",
    "StreetConfig",
    "TrackConfig",
    "TrainingConfig",
    "apply_overrides",
    "check_range",
    "check_rig",
    "describe",
    "from_dict",
    "load_config",
    "option",
    "save_config",
]
