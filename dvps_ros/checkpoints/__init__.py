"""Models on disk: this project's folder format, and files and weight names of other projects."""

from dvps_ros.checkpoints.folder import CONFIG_FILE, file_hash, load, load_model_config, model_hash, save
from dvps_ros.checkpoints.foreign_names import from_detectron2, from_transformers, to_transformers
from dvps_ros.checkpoints.partial import take_over
from dvps_ros.checkpoints.pretrained import load_pretrained, with_architecture

__all__ = [
    "CONFIG_FILE",
    "file_hash",
    "from_detectron2",
    "from_transformers",
    "load",
    "load_model_config",
    "load_pretrained",
    "model_hash",
    "save",
    "take_over",
    "to_transformers",
    "with_architecture",
]
