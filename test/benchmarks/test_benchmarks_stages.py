"""The table of stages: figures by hand, turns taken frame by frame, and the command with its JSON."""

import json

import numpy as np
import pytest
import torch
from small_network import SMALL_NETWORK

from dvps_ros import checkpoints
from dvps_ros.benchmarks import stages
from dvps_ros.cli.main import main
from dvps_ros.config import Config, MergeConfig
from dvps_ros.network import build
from dvps_ros.runtime import Perceiver, run_times

CONFIG = Config(
    merge=MergeConfig(score_threshold=0.0, overlap_threshold=0.0),
    network=SMALL_NETWORK,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "model"
    checkpoints.save(build(CONFIG.network), folder, CONFIG)
    return folder


def test_a_summary_by_hand():
    def times(*total):
        return {stage: list(total) for stage in stages.STAGES}

    found = stages.summary(
        {"torch": times(0.2, 0.4, 0.6), "openvino": times(0.1, 0.1, 0.2), "pair": times(2.0, 4.0, 6.0)}
    )
    assert found["torch"]["stages"]["merge"] == {"p50": 400.0, "p99": pytest.approx(596.0)}
    assert [row["speedup"] for row in found.values()] == [1.0, 3.0, 0.1]  # medians of 2, 4, 3 and of 0.1
    lines = stages.stage_table(found).splitlines()
    assert lines[0].split() == [*stages.STAGES, "per", "s", "speedup"]
    assert lines[2].split()[:3] == ["openvino", "100.0", "(198.0)"]
    assert lines[3].split()[-2:] == ["0.2", "0.10"]


def test_perceivers_take_turns(model):
    perceivers, turns = {name: Perceiver.load(model, "cpu", runtime="torch") for name in ("a", "b")}, []
    for name, perceiver in perceivers.items():
        perceiver.network.register_forward_hook(lambda *_, name=name: turns.append(name))
    picture = np.zeros((64, 96, 3), np.uint8)
    times = stages.time_stages(perceivers, [picture], frames=2, warm_up=1)
    assert turns == ["a", "b"] * 3
    for stage_times in times.values():
        assert {stage: len(seconds) for stage, seconds in stage_times.items()} == dict.fromkeys(stages.STAGES, 2)
        for frame in range(2):
            parts = [stage_times[stage][frame] for stage in stages.STAGES[:-1]]
            assert stage_times["total"][frame] == pytest.approx(sum(parts))


def test_the_pair_makes_the_whole_trip():
    pair = stages.random_pair((64, 96), "cpu", "32")
    scene = pair.step(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    assert scene.panoptic.shape == scene.depth.shape == (64, 96)
    assert set(pair.timings) == {"preprocess", "network", "merge", "track"}
    assert pair.network.segmentation.network.config.num_queries == 100


def test_bench_writes_json(model, tmp_path, capsys):
    report = tmp_path / "figures" / "bench.json"
    command = ["bench", "--model", str(model), "--device", "cpu", "--size", "64x96", "--frames", "2", "--warm-up", "1"]
    assert main([*command, "--runtime", "torch", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert (found["size"], found["frames"], list(found["runs"])) == ([64, 96], 2, ["torch"])
    assert found["runs"]["torch"]["speedup"] == 1.0
    assert set(found["runs"]["torch"]["stages"]) == set(stages.STAGES)
    assert f"torch {torch.__version__}" in found["machine"]
    assert found["peak_mib"] > 50
    assert found["tracking"]["things"] == 30
    assert found["tracking"]["p99_ms"] >= found["tracking"]["p50_ms"] > 0
    printed = capsys.readouterr().out
    assert found["machine"] in printed
    assert "tracking 30 synthetic things and the camera, one thread: " in printed


def test_bench_with_a_run_time_that_is_missing_says_so(model, monkeypatch, capsys):
    monkeypatch.setattr(run_times, "_missing", lambda name: ["openvino"])
    assert main(["bench", "--model", str(model), "--device", "cpu", "--runtime", "torch", "openvino"]) == 2
    error = capsys.readouterr().err
    assert "runtime openvino needs openvino: pip install openvino" in error
    assert error.count("\n") == 1
