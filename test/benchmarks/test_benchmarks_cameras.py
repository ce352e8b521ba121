"""The camera table: right columns for a perceiver whose depth is the truth times a known factor."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("mujoco")

from dvps_ros.benchmarks import cameras
from dvps_ros.cli import evaluate_simulated
from dvps_ros.cli.main import main
from dvps_ros.config import Config, StreetConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.simulation import sequence
from dvps_ros.structures import Scene

SMALL = {
    "small": {"width": 128, "height": 64},
    "low": {"width": 128, "height": 64, "min_height": 0.5, "max_height": 0.5},
}


class Scaled:
    """Tells true labels, and true distances times 1.3."""

    labels, config = CITYSCAPES, Config()

    def __init__(self):
        self.truth = {}
        for change in SMALL.values():
            for frame in sequence(cameras.FIRST_SEED, replace(StreetConfig(), frames=1, **change)):
                self.truth[frame.rgb.tobytes()] = frame

    def reset_tracks(self):
        pass

    def step(self, rgb, intrinsics):
        frame = self.truth[rgb.tobytes()]
        depth = torch.from_numpy(frame.depth.copy()).float() * 1.3
        return Scene(torch.from_numpy(frame.panoptic.astype("int32")), depth, torch.ones_like(depth))


def test_the_anchor_takes_the_factor_away(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cameras, "CAMERAS", SMALL)
    report = tmp_path / "cameras.json"
    assert evaluate_simulated.cameras(Scaled(), SimpleNamespace(cameras=1, model="m", json=report)) == 0
    figures = json.loads(report.read_text())["cameras"]
    assert list(figures) == list(SMALL)
    for row in figures.values():
        assert row["PQ"] == pytest.approx(100)
        assert row["free"]["scale"] == pytest.approx(1.3, rel=2e-3)
        assert row["free"]["absRel"] == pytest.approx(0.3, rel=1e-3)
        assert row["height and up"]["scale"] == pytest.approx(1, abs=0.05)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| camera | PQ | depth, free | depth, height | depth, height and up |"
    assert lines[2].startswith("| small | 100.0 | 0.300 x1.30 | ")
    last = re.fullmatch(
        r"root mean square of ln .* of all frames: free (\S+), height (\S+), height and up (\S+)", lines[4]
    )
    assert [float(value) for value in last.groups()] == pytest.approx([math.log(1.3), 0, 0], abs=0.02)


def test_data_or_cameras(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--model", "models/street"])
    assert ended.value.code == 2
    assert "one of the arguments --data --cameras --drives is required" in capsys.readouterr().err
