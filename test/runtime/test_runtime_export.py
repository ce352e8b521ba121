"""Exported programs: the same scene as the live network, in a folder that loads as any other model."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_network import SMALL_NETWORK

from dvps_ros import checkpoints
from dvps_ros.cli import convert
from dvps_ros.cli.main import main
from dvps_ros.config import BackboneConfig, Config, InputConfig, MergeConfig
from dvps_ros.network import build
from dvps_ros.runtime import Perceiver, export, exported, load_perceiver, run_times
from dvps_ros.structures import Intrinsics

SIZE = 64, 96
CONFIG = Config(
    input=InputConfig(64 * 96),
    # Untrained queries are never sure, and all say much the same class.
    merge=MergeConfig(score_threshold=0.0, overlap_threshold=0.0),
    network=SMALL_NETWORK,
)
SWIN = BackboneConfig(kind="swin", depths=(1, 1, 1, 1), embedding=8, heads=(1, 1, 2, 2), window=2)
CAMERA = Intrinsics(100.0, 100.0, 59.5, 39.5, 120, 80)
PICTURE = np.random.default_rng(3).integers(0, 256, (80, 120, 3), dtype=np.uint8)


def network(config=CONFIG.network):
    torch.manual_seed(6)
    net = build(config).eval()
    torch.nn.init.normal_(net.segment_head.classify.weight, std=3.0)  # queries of several classes
    return net


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model folder, and the torch.export program that ``dvps convert`` made of it."""
    root = tmp_path_factory.mktemp("export")
    checkpoints.save(network(), root / "live", CONFIG)
    assert main(["convert", str(root / "live"), "--to", "torch-export", "--out", str(root / "program")]) == 0
    return root / "live", root / "program"


def same_scene(live: Perceiver, program: Perceiver) -> None:
    ours, theirs = live.step(PICTURE, CAMERA), program.step(PICTURE, CAMERA)
    assert len(ours.segments) > 1
    assert theirs.panoptic.shape == theirs.depth.shape == (80, 120)
    assert (ours.panoptic == theirs.panoptic).float().mean() >= 0.999
    assert ((ours.depth - theirs.depth).abs() <= 1e-3 * ours.depth).float().mean() >= 0.999


def test_exported_folder_gives_the_scene_of_the_live_one(folders):
    live, program = folders
    assert sorted(p.name for p in program.iterdir()) == ["README.md", "config.yaml", "model.pt2", "program.yaml"]
    card = (program / "README.md").read_text()
    assert "checked against the network: same ids on" in card
    loaded = load_perceiver(program, "cpu")
    assert isinstance(loaded.network, exported.ExportedNetwork)
    assert loaded.digest == checkpoints.file_hash(program / "model.pt2")
    same_scene(load_perceiver(live, "cpu"), loaded)
    loaded.warm_up()


@pytest.mark.parametrize("change", [{"depth_head": "dense"}, {"backbone": SWIN}], ids=["dense", "swin"])
def test_every_kind_of_network_can_be_exported(tmp_path, change):
    config = replace(CONFIG, network=replace(CONFIG.network, **change))
    net = network(config.network)
    agreement = export.write(net, tmp_path, config, "torch-export", SIZE)
    assert agreement.segments > 1
    same_scene(Perceiver(net, config, "cpu"), load_perceiver(tmp_path, "cpu"))


def test_onnx_program_gives_the_scene_of_the_network(tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    config = replace(CONFIG, network=replace(CONFIG.network, backbone=SWIN))
    net = network(config.network)
    agreement = export.write(net, tmp_path, config, "onnx", SIZE)
    assert agreement.segments > 1
    same_scene(Perceiver(net, config, "cpu"), load_perceiver(tmp_path))


@pytest.mark.skipif("DVPS_SLOW_TESTS" not in os.environ, reason="compiles C++ for over a minute; set DVPS_SLOW_TESTS=1")
@pytest.mark.slow
def test_compiled_program_gives_the_scene_of_the_network(tmp_path):
    net = network()
    export.write(net, tmp_path, CONFIG, "aotinductor", SIZE)
    same_scene(Perceiver(net, CONFIG, "cpu"), load_perceiver(tmp_path))


def test_a_program_that_disagrees_is_refused(tmp_path, monkeypatch):
    """The check loads another network than the one that was exported."""
    changed = network()
    torch.nn.init.normal_(changed.segment_head.mask.layers[2].weight, std=1.0)
    monkeypatch.setitem(export._MAKE, "torch-export", lambda net, images, path: path.touch())
    monkeypatch.setattr(exported, "load", lambda folder, device: Perceiver(changed, CONFIG, device))
    with pytest.raises(ValueError, match="the exported program differs from the network: same ids on"):
        export.write(network(), tmp_path, CONFIG, "torch-export", SIZE)


def test_agreement_needs_ids_and_depth():
    assert export.Agreement(0.999, 1.0, 3).good
    assert not export.Agreement(0.9989, 1.0, 3).good
    assert not export.Agreement(1.0, 0.9989, 3).good


def test_forms_of_the_command_are_those_of_the_runtime():
    assert tuple(exported.FORMS) == convert.PROGRAMS == tuple(export._MAKE) == tuple(exported._OPEN)


def test_size_is_needed_and_nothing_is_left(tmp_path, capsys):
    checkpoints.save(network(), tmp_path / "live", replace(CONFIG, input=InputConfig()))
    command = ["convert", str(tmp_path / "live"), "--to", "torch-export", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "a fixed input size: set --height and --width" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["live"]


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"onnx and onnxscript: pip install onnx onnxscript"):
        export.check_possible("onnx")
    monkeypatch.setattr(run_times.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler"):
        export.check_possible("aotinductor")


def _truncate(folder):
    path = folder / "model.pt2"
    path.write_bytes(path.read_bytes()[:-100])


def _resize(folder):
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("pixels: 6144", "pixels: 8192"))


def _unknown(folder):
    path = folder / "program.yaml"
    path.write_text(path.read_text().replace("torch-export", "tape"))


def _not_a_program(folder):
    path, record = folder / "model.pt2", folder / "program.yaml"
    before = checkpoints.file_hash(path)
    path.write_bytes(b"no archive")
    record.write_text(record.read_text().replace(before, checkpoints.file_hash(path)))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_truncate, ValueError, "model.pt2 is damaged or was replaced"),
        (lambda folder: (folder / "model.pt2").unlink(), FileNotFoundError, "has no model.pt2"),
        (_resize, ValueError, r"takes images of 96x64 pixels alone, .*config.yaml says 8192 pixels"),
        (_unknown, ValueError, "form is 'tape', must be one of"),
        (_not_a_program, ValueError, "model.pt2, made with torch .* does not load here"),
    ],
    ids=["truncated", "missing", "other size", "other form", "no program"],
)
def test_broken_folders_are_named(folders, tmp_path, damage, error, message):
    shutil.copytree(folders[1], tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(error, match=message) as caught:
        load_perceiver(tmp_path / "copy", "cpu")
    assert "\n" not in str(caught.value)


def test_other_precision_and_device_are_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="exported in 32 bit, precision bf16 is not possible"):
        load_perceiver(folders[1], "cpu", "bf16")
    shutil.copytree(folders[1], tmp_path / "copy")
    (tmp_path / "copy" / "model.pt2").rename(tmp_path / "copy" / "model.onnx")
    record = tmp_path / "copy" / "program.yaml"
    record.write_text(record.read_text().replace("torch-export", "onnx"))
    with pytest.raises(ValueError, match=r"exported for the CPU \(onnx\), device meta is not possible"):
        load_perceiver(tmp_path / "copy", "meta")


def test_another_number_of_input_pixels_is_for_live_networks_alone(folders):
    live, program = folders
    usual, larger = load_perceiver(live, "cpu"), load_perceiver(live, "cpu", input_pixels=4 * 64 * 96)
    assert usual.resizing((80, 120)).size == (64, 96)
    assert larger.resizing((80, 120)).size == (128, 192)
    assert larger.step(PICTURE, CAMERA).panoptic.shape == (80, 120)
    with pytest.raises(ValueError, match="takes pictures of one size: input_pixels is not possible"):
        load_perceiver(program, "cpu", input_pixels=1000)
