"""``make gpu``: refused without a device; all that a CPU can run of it is run on a small network."""

import json
from pathlib import Path

import pytest
import torch
from small_network import SMALL_NETWORK

from dvps_ros import checkpoints
from dvps_ros.benchmarks import gpu, stages
from dvps_ros.config import Config, TrainingConfig, save_config
from dvps_ros.network import build
from dvps_ros.runtime import DeviceMemoryError, Perceiver

ROOT = Path(__file__).resolve().parents[2]
SMALL = Config(
    network=SMALL_NETWORK,
    training=TrainingConfig(batch_size=1),
)


def test_without_a_cuda_device_it_refuses_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "gpu")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"make gpu needs a CUDA device, torch {torch.__version__} finds none")
    assert error.count("\n") == 1
    assert not (tmp_path / "gpu").exists()


def test_what_it_runs_is_there():
    assert (ROOT / gpu.TESTS).is_file()
    assert "-m dvps_ros.benchmarks.gpu" in (ROOT / "Makefile").read_text()
    for source in (*(case.source for case in gpu.STANDARD.cases.values()), gpu.STANDARD.recipe):
        assert (ROOT / source).exists()
    net, config = gpu.network_of("models/street")
    assert config.network == net.config


def test_the_report_of_a_small_network_on_the_cpu(tmp_path, monkeypatch):
    torch.manual_seed(0)
    checkpoints.save(build(SMALL.network), tmp_path / "model", SMALL)
    save_config(SMALL, tmp_path / "small.yaml")
    monkeypatch.setattr(stages, "random_pair", lambda *_: Perceiver.load(tmp_path / "model", "cpu", runtime="torch"))
    plan = gpu.Plan(
        {
            "folder": gpu.Case(str(tmp_path / "model"), (64, 96)),
            "broken": gpu.Case(str(tmp_path / "model"), (64, 96), ("unknown",)),
            "in part": gpu.Case(str(tmp_path / "model"), (64, 96), ("unknown", "torch")),
            "random": gpu.Case(str(tmp_path / "small.yaml"), (64, 96)),
        },
        frames=2,
        minutes=0.5,
        training=0.0,
        recipe=str(tmp_path / "small.yaml"),
        crop=(64, 64),
    )
    monkeypatch.setattr(gpu, "training", lambda *_: {"images_per_second": 3.0, "peak_gib": 0.1, "steps": 1})
    *partial, report = [json.loads(json.dumps(found)) for found in gpu.measure(plan, torch.device("cpu"), "32")]
    assert [len(found["times"]) for found in partial] == [1, 2, 3, 4]
    assert set(report["parity"]) == {"folder", "in part", "random"}
    for found in report["parity"].values():
        assert found["32"] == {"ids": 1.0, "depth": 1.0, "good": True}
        assert set(found) == {"16", "bf16", "32"}
    assert set(report["times"]["random"]["runs"]) == {"torch", "pair"}
    assert "unknown" in report["times"]["broken"]["error"]
    assert "unknown" in report["times"]["in part"]["refused"]["unknown"]
    assert set(report["times"]["in part"]["runs"]) == {"torch", "pair"}
    for shown in (*partial, report):
        assert "folder, peak" in gpu.table({"tests": 0, "recovery": {"reported": True}, **shown})
    text = gpu.table({"tests": 0, "recovery": {"reported": True}, **report})
    for word in ("broken: ", "preprocess", "images_per_second", "bf16: ids", "tests: 0"):
        assert word in text


def test_cases_without_time_are_reported():
    plan = gpu.Plan({"late": gpu.Case("models/street", (64, 96))}, minutes=0.0, training=1.0)
    found = gpu.measure(plan, torch.device("cpu"), "32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "training", lambda *_: {})
        (report,) = found
    assert report["times"] == {"late": {"error": "not measured: 0 minutes were over"}}


def test_training_has_a_throughput():
    found = gpu.training(SMALL, (64, 64), torch.device("cpu"), 0.0)
    assert found["steps"] == 1
    assert found["images_per_second"] > 0


@pytest.mark.parametrize("says", [True, False])
def test_recovery_is_told_from_its_absence(says, monkeypatch):
    class Fake:
        device, steps = torch.device("cpu"), 0

        def step(self, picture):
            self.steps += 1
            if says and self.steps == 2:
                raise DeviceMemoryError("full")
            return type("Scene", (), {"panoptic": torch.zeros(picture.shape[:2])})

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    assert gpu.recovery(Fake(), (4, 6)) == {"reported": says, "works again": True}
