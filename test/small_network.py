"""The smallest networks that have every part: made with random weights, a step takes milliseconds."""

from dvps_ros.config import BackboneConfig, NetworkConfig

SMALL_BACKBONE = BackboneConfig(block="basic", depths=(1, 1, 1, 1), stem=8, widths=(8, 8, 16, 16))

SMALL_NETWORK = NetworkConfig(
    backbone=SMALL_BACKBONE,
    width=32,
    heads=4,
    encoder_layers=1,
    encoder_feedforward=32,
    queries=6,
    decoder_layers=3,
    feedforward=32,
)

#: Section ``network`` of a configuration file, for tests that train.
TRAINED_NETWORK = {
    "backbone": {"depths": [1, 1, 1, 1], "stem": 16, "widths": [16, 16, 32, 32], "block": "basic"},
    "width": 32,
    "heads": 4,
    "points": 2,
    "encoder_layers": 1,
    "encoder_feedforward": 32,
    "queries": 8,
    "decoder_layers": 2,
    "feedforward": 32,
}
