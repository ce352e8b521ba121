"""The small networks that the repository trains: how large they are, and that one can start from the other."""

from dataclasses import replace
from pathlib import Path

import torch

from dvps_ros.checkpoints import load, take_over
from dvps_ros.config import load_config
from dvps_ros.network import build

ROOT = Path(__file__).resolve().parents[1]
#: What a model that ships may have in half precision.
MEGABYTES = 25


def test_the_lite0_network_is_what_ships_and_starts_from_the_resnet():
    config = load_config(ROOT / "config" / "small_lite0.yaml").network
    resnet = build(load_config(ROOT / "config" / "street.yaml").network)
    assert config.canonical_focal == resnet.config.canonical_focal
    assert config.max_depth == resnet.config.max_depth
    net = build(config)
    for model in ("street", "road"):
        assert set(load(ROOT / "models" / model).state_dict()) == set(net.state_dict())
    size = 2 * sum(value.numel() for value in net.state_dict().values())
    assert size < 2 * sum(value.numel() for value in resnet.state_dict().values()) < MEGABYTES * 1e6
    done = take_over(net, resnet.state_dict())
    # of the decoder, only what reads the backbone's maps of other widths
    readers = ("semantic_decoder.project.", "semantic_decoder.lateral.")
    others = ("backbone.", "geometry.spread.")
    assert all(name.startswith((*readers, *others)) for name in done.kept)
    assert all(any(name.startswith(part) for name in done.kept) for part in (*readers, *others))
    assert torch.equal(net.query_decoder.content, resnet.query_decoder.content)
    same = {"backbone": resnet.config.backbone, "decoder_layers": resnet.config.decoder_layers}
    assert replace(config, depth_decoder="own", uncertainty=False, **same) == resnet.config
