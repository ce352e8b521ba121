"""Public checkpoints as files: detectron2's pickles, the DeepDPS authors', and transformers' in several parts."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_checkpoints_folder import SMALL, SWIN, detectron2_state

from dvps_ros.checkpoints import from_transformers, to_transformers
from dvps_ros.checkpoints.foreign_files import load_into, open_checkpoint
from dvps_ros.checkpoints.sizes import difference, infer
from dvps_ros.config import BackboneConfig, NetworkConfig
from dvps_ros.network import build

DEPTH = ("depth", "latent", "backup")


def write(path, state):
    """As detectron2 does: arrays in a .pkl, tensors beside optimizer and counters in a .pth."""
    if path.suffix == ".pkl":
        arrays = {name: value.numpy() for name, value in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "third_party", "matching_heuristics": True}))
    else:
        torch.save({"model": state, "optimizer": {"state": {0: {"step": torch.ones(())}}}, "iteration": 9}, path)
    return str(path)


@pytest.mark.parametrize("config", [SMALL, SWIN], ids=["resnet", "swin"])
@pytest.mark.parametrize("content", ["query_feat", "static_query"])
@pytest.mark.parametrize("ending", [".pkl", ".pth"])
def test_deepdps_with_its_depth_branch_loads_whole(tmp_path, config, content, ending):
    state = detectron2_state(config, content)
    checkpoint = open_checkpoint(write(tmp_path / f"c{ending}", state), replace(NetworkConfig(), heads=config.heads))
    assert checkpoint.naming == "detectron2"
    assert difference(checkpoint.network, config) is None
    net = build(checkpoint.network)
    fit = load_into(net, checkpoint)
    assert fit.missing == fit.left_over == ()
    assert torch.equal(net.geometry.decoder.latents, state["sem_seg_head.predictor.latent"].flatten(0, 1))
    assert torch.equal(net.query_decoder.content, state[f"sem_seg_head.predictor.{content}.weight"])


def test_plain_mask2former_lists_the_depth_half_as_missing(tmp_path):
    state = {name: value for name, value in detectron2_state(SMALL).items() if not any(w in name for w in DEPTH)}
    state["sem_seg_head.predictor.surprise"] = torch.zeros(1)
    checkpoint = open_checkpoint(write(tmp_path / "c.pth", state), SMALL)
    net = build(checkpoint.network)
    fit = load_into(net, checkpoint)
    assert fit.left_over == ("sem_seg_head.predictor.surprise",)
    depth = [name for name in net.state_dict() if name.startswith(("depth_decoder.", "geometry."))]
    assert sorted(fit.missing) == sorted(depth)
    assert sorted((*fit.loaded, *fit.missing)) == sorted(net.state_dict())


def test_a_weight_of_another_shape_is_one_line(tmp_path):
    state = detectron2_state(SMALL)
    state["sem_seg_head.predictor.latent"] = torch.zeros(7, 1, 32)
    checkpoint = open_checkpoint(write(tmp_path / "c.pth", state), SMALL)
    with pytest.raises(ValueError, match=r"is of another architecture: size mismatch for geometry") as caught:
        load_into(build(checkpoint.network), checkpoint)
    assert "\n" not in str(caught.value)
    state["sem_seg_head.predictor.transformer_self_attention_layers.0.self_attn.in_proj_bias"] = torch.zeros(2)
    with pytest.raises(ValueError, match=r"c\.pth is of another architecture"):
        open_checkpoint(write(tmp_path / "c.pth", state), SMALL)


@pytest.mark.parametrize(
    "config",
    [SMALL, SWIN, replace(SMALL, points=2), replace(SMALL, backbone=replace(SMALL.backbone, block="basic"))],
    ids=["resnet", "swin", "points", "basic"],
)
def test_sizes_are_read_off_the_weights(config):
    like = NetworkConfig(heads=config.heads, backbone=BackboneConfig(depths=(9, 9, 9, 9), stem=5))
    state = build(config).state_dict()
    weights = {name: value for name, value in state.items() if not name.startswith(("depth_decoder.", "geometry."))}
    assert difference(infer(weights, like), config) is None


@pytest.mark.parametrize("decoder", ["own", "shared"])
def test_the_kind_of_depth_decoder_is_read_off_the_weights(decoder):
    config = replace(SMALL, depth_decoder=decoder)
    for like in ("own", "shared"):
        assert infer(build(config).state_dict(), replace(SMALL, depth_decoder=like, uncertainty=True)) == config


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"width": 64}, "network.width"),
        ({"classes": 4}, "network.classes"),
        ({"backbone": replace(SMALL.backbone, stem=8)}, "network.backbone.stem"),
        ({"backbone": SWIN.backbone}, "network.backbone.kind"),
        ({"max_depth": 10.0}, None),
        ({"backbone": replace(SMALL.backbone, window=12)}, None),  # means nothing in a ResNet
    ],
)
def test_differences_that_matter(change, key):
    found = difference(SMALL, replace(SMALL, **change))
    assert found is None if key is None else found[0] == key


@pytest.mark.parametrize("config", [SMALL, SWIN], ids=["resnet", "swin"])
def test_to_transformers_and_from_there_are_inverse(config):
    state = build(config).state_dict()
    again = from_transformers(to_transformers(state))
    ours = {name for name in again if not name.endswith("relative_position_index")}
    segments = build(config)
    missing, unexpected = segments.load_state_dict(again, strict=False)
    assert not unexpected
    assert all(name.startswith(("depth_decoder.", "geometry.")) for name in missing)
    loaded = segments.state_dict()
    assert len(ours) == len([name for name in loaded if name not in missing and "relative_position_index" not in name])
    assert [name for name in loaded if name not in missing and not torch.equal(loaded[name], state[name])] == []


@pytest.mark.parametrize("form", ["shards", "bin"])
def test_transformers_folder_in_other_forms(tmp_path, form):
    state = {name: value.contiguous() for name, value in to_transformers(build(SWIN).state_dict()).items()}
    settings = {"model_type": "mask2former", "num_attention_heads": 4, "backbone_config": {"model_type": "swin"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    if form == "bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        names = sorted(state)
        parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        for file, chosen in parts.items():
            save_file({name: state[name].clone() for name in chosen}, tmp_path / file)
        places = {name: file for file, chosen in parts.items() for name in chosen}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    checkpoint = open_checkpoint(str(tmp_path), NetworkConfig())
    assert difference(checkpoint.network, SWIN) is None
    assert load_into(build(checkpoint.network), checkpoint).left_over == ()
    if form == "shards":
        (tmp_path / "model-2.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match=r"no weights file .*model-2\.safetensors"):
            open_checkpoint(str(tmp_path), NetworkConfig())


def test_what_no_network_is_is_told(tmp_path):
    (tmp_path / "c.pkl").write_bytes(pickle.dumps([np.zeros(3)]))
    with pytest.raises(ValueError, match=r"c\.pkl is of another architecture: no names"):
        open_checkpoint(str(tmp_path / "c.pkl"), SMALL)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is no valid JSON"):
        open_checkpoint(str(tmp_path), SMALL)
    (tmp_path / "config.json").write_text('{"model_type": "mask2former"}')
    with pytest.raises(FileNotFoundError, match=r"has neither model\.safetensors nor"):
        open_checkpoint(str(tmp_path), SMALL)
