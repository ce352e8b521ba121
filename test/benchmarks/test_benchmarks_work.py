"""Operations counted by hand; and how pictures of several sizes and with several segments are measured and drawn."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from small_network import SMALL_NETWORK
from torch import nn

from dvps_ros import checkpoints
from dvps_ros.benchmarks import scaling
from dvps_ros.benchmarks.work import matrix_rate, network_flops
from dvps_ros.cli.main import main
from dvps_ros.config import Config, InputConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.network import build
from dvps_ros.runtime import Perceiver

CONFIG = Config(network=SMALL_NETWORK, input=InputConfig(64 * 128))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work") / "model"
    checkpoints.save(build(CONFIG.network), folder, CONFIG)
    return str(folder)


def test_operations_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 24, 7))
    assert network_flops(network, torch.zeros(2, 3, 4, 6)) == 2 * (2 * 24 * 5 * 3 * 9) + 2 * (2 * 120 * 7)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_network_does_four_times_the_work_on_four_times_the_pixels():
    network = build(SMALL_NETWORK).eval()
    small, large = (network_flops(network, torch.zeros(1, 3, side, 2 * side)) for side in (64, 128))
    assert 3 < large / small < 5


def test_the_matrix_rate_is_one_of_a_processor():
    assert 1e8 < matrix_rate(torch.device("cpu"), torch.float32) < 1e15


@pytest.mark.parametrize("count", scaling.SEGMENTS)
def test_as_many_segments_are_seen_as_are_made_up(count):
    perceiver = Perceiver(scaling.MadeUpSegments(count, CITYSCAPES), Config(), "cpu", "32")
    scene = perceiver.step(np.zeros((256, 512, 3), np.uint8))
    things = [s for s in scene.segments if CITYSCAPES.is_thing[s.class_id]]
    assert len(things) == -(-count // 3)
    stuff = [index for index in range(len(CITYSCAPES)) if not CITYSCAPES.is_thing[index]]
    expected = {stuff[k % len(stuff)] for k in range(count) if k % 3}  # one segment of each class
    assert {s.class_id for s in scene.segments} - set(CITYSCAPES.things) == expected
    assert (scene.panoptic == 255000).float().mean() < 0.05


def test_sizes_grow_and_the_perceiver_stays_as_it_was(model):
    perceiver = Perceiver.load(model, "cpu", "32", "torch")
    seen = []
    perceiver.network.register_forward_hook(lambda module, given, output: seen.append(tuple(given[0].shape[-2:])))
    rows = scaling.by_pixels(perceiver, frames=1, warm_up=0)
    assert perceiver.config == replace(CONFIG, labels=perceiver.config.labels)
    assert seen == [(row["height"], row["width"]) for row in rows]
    assert [row["pixels"] / (64 * 128) for row in rows] == pytest.approx(scaling.AREAS, rel=0.6)
    assert sorted(row["pixels"] for row in rows) == [row["pixels"] for row in rows]


def test_the_command_counts_and_draws(model, tmp_path, capsys):
    arguments = ["bench", "--model", model, "--size", "64x128", "--frames", "1", "--warm-up", "1", "--runtime", "torch"]
    plot, figures = tmp_path / "plot.png", tmp_path / "figures.json"
    assert main([*arguments, "--plot", str(plot), "--json", str(figures)]) == 0
    out = capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert f"network: {found['gflop']:.1f} GFLOP; of this machine's" in out
    assert found["share_of_matrix_rate"].keys() == {"torch"}
    assert [row["segments"] for row in found["by_segments"]] == list(scaling.SEGMENTS)
    assert len(found["by_pixels"]) == len(scaling.AREAS)
    assert cv2.imread(str(plot)).std() > 10


@pytest.mark.parametrize(
    ("name", "message"),
    [("plot.gif", "the name must end in .png, .svg or .pdf"), ("nowhere/plot.png", "no folder")],
)
def test_a_plot_that_cannot_be_written_is_refused_first(model, tmp_path, capsys, name, message):
    assert main(["bench", "--model", model, "--plot", str(tmp_path / name)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "frame" not in captured.out
