"""dvps ablate: several configurations and seeds end to end, resumption, the table's arithmetic, a user's mistakes."""

import contextlib
import json

import numpy as np
import pytest
import yaml
from small_network import TRAINED_NETWORK

from dvps_ros.benchmarks import ablation
from dvps_ros.benchmarks.ablation import Run, summary, table
from dvps_ros.cli.main import main
from dvps_ros.config import Config, load_config
from dvps_ros.datasets.cityscapes_dvps import CityscapesDvps, split_folder, write_frame
from dvps_ros.datasets.module import TrainingFrames

COMMON = {
    "network": TRAINED_NETWORK,
    "input": {"pixels": 32 * 64},
    "data": {"crop_height": 32, "crop_width": 64, "min_scale": 1.0, "max_scale": 1.0, "workers": 0},
    "loss": {"points": 64},
    "training": {"batch_size": 2, "max_steps": 2, "precision": "32", "validate_every": 2},
}


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    panoptic = np.where(np.arange(32)[:, None] < 12, 2_000, 0) + np.zeros((32, 64), int)
    for split in ("train", "val"):
        for sequence in range(3):
            rgb = rng.integers(0, 255, (32, 64, 3), dtype=np.uint8)
            write_frame(split_folder(tmp_path / "data", split), sequence, 0, rgb, panoptic, np.full((32, 64), 20.0))
    return tmp_path / "data"


@pytest.fixture
def command(tmp_path, data):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "common.yaml").write_text(yaml.safe_dump(COMMON | {"data": COMMON["data"] | {"root": str(data)}}))
    (folder / "1_dense.yaml").write_text("base: common.yaml\nnetwork:\n  depth_head: dense\n")
    (folder / "2_thirds.yaml").write_text("base: common.yaml\ndata:\n  supervision: thirds\n")

    def run(*arguments):
        return main(
            ["ablate", "--configs", str(folder), "--data", str(data), "--out", str(tmp_path / "out"), *arguments]
        )

    return run


@pytest.fixture
def in_process(monkeypatch):
    """Runs start no interpreters of their own, which would import Lightning anew each."""

    def dvps(arguments, log):
        with log.open("a") as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            assert main(arguments) == 0

    monkeypatch.setattr(ablation, "_dvps", dvps)


@pytest.mark.usefixtures("in_process")
def test_every_variant_is_trained_measured_and_tabled_once(command, tmp_path, capsys):
    assert command("--seeds", "1") == 0
    out = tmp_path / "out"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["1_dense seed 1", "2_thirds seed 1"]
    assert (out / "ablation.md").read_text().splitlines() == lines[2:]
    figures = json.loads((out / "ablation.json").read_text())
    report = json.loads((out / "2_thirds-1" / "heldout.json").read_text())
    assert figures["2_thirds"]["absRel"]["values"] == [report["depth"]["absRel"]]
    assert load_config(out / "1_dense-1" / "model" / "config.yaml").network.depth_head == "dense"

    assert command("--seeds", "1") == 0  # all is there already
    assert capsys.readouterr().out.splitlines() == lines[2:]


@pytest.mark.usefixtures("in_process")
def test_an_evaluation_that_was_interrupted_is_done_again_without_training(command, tmp_path, capsys):
    assert command("--seeds", "1") == 0
    table_of_all = capsys.readouterr().out.splitlines()[2:]
    report = tmp_path / "out" / "1_dense-1" / "heldout.json"
    report.unlink()
    assert command("--seeds", "1") == 0
    assert report.exists()
    assert capsys.readouterr().out.splitlines()[1:] == table_of_all


@pytest.mark.usefixtures("in_process")
def test_reports_of_other_settings_are_not_taken_for_these(command, data, tmp_path, capsys):
    assert command("--seeds", "1") == 0
    other = tmp_path / "other"
    other.symlink_to(data.parent)
    capsys.readouterr()
    for arguments, said in (
        (["--set", "loss.points=32"], "config.loss.points 64, now 32"),
        (["--data", str(other)], f"data {data}, now {data.parent}"),
    ):
        assert command("--seeds", "1", *arguments) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "choose another --out" in error
    (tmp_path / "out" / "1_dense-1" / "settings.json").unlink()
    assert command("--seeds", "1") == 2
    assert "does not tell the settings" in capsys.readouterr().err


def test_a_failed_run_says_why_and_is_taken_up_again(command, tmp_path, capsys):
    assert command("--seeds", "1", "--set", "network.width=48") == 2
    error = capsys.readouterr().err
    assert "network.width is 48" in error
    assert "log.txt" in error
    assert not (tmp_path / "out" / "ablation.md").exists()


def test_mean_and_deviation_are_over_the_seeds(tmp_path):
    def report(quality):
        row = {"PQ": quality}
        return {
            "PQ": {"all": row, "thing": row, "stuff": {"PQ": None}},
            "DPQ": {"mean": {"all": quality / 2}},
            "depth": {"absRel": 0.1, "RMSE": 4.0},
        }

    runs = {Run("a", tmp_path, seed, tmp_path / str(seed)): report(value) for seed, value in ((1, 30.0), (2, 34.0))}
    columns = summary(runs)["a"]
    assert columns["PQ"] == {"values": [30.0, 34.0], "mean": 32.0, "deviation": pytest.approx(8**0.5)}
    row = table(runs).splitlines()[-1]
    assert row == "| a | 32.0 ± 2.8 | 32.0 ± 2.8 | nan ± nan | 16.0 ± 1.4 | 0.100 ± 0.000 | 4.00 ± 0.00 |"


def test_mistakes_are_one_line(command, tmp_path, capsys):
    assert command("--set", "loss.nothing=1") == 2
    assert capsys.readouterr().err == "dvps ablate: unknown key 'loss.nothing'\n"
    assert main(["ablate", "--configs", str(tmp_path), "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"dvps ablate: no configuration in {tmp_path}\n"


def test_thirds_leave_each_kind_of_label_to_two_of_three_sequences(data):
    config = Config()
    frames = {}
    for supervision in ("full", "thirds"):
        section = type(config.data)(**COMMON["data"], root=str(data), supervision=supervision)
        reader = CityscapesDvps(data, "train", 100.0)
        frames[supervision] = TrainingFrames(reader, type(config)(data=section))
    targets = [frames["thirds"][(position, 0, 0)][1] for position in range(3)]
    assert [(t.has_panoptic, t.has_depth) for t in targets] == [(True, False), (False, True), (True, True)]
    assert all(frames["full"][(position, 0, 0)][1].has_depth for position in range(3))
