"""Two networks of transformers where a model folder is asked for: dvps predict, label, evaluate and bench."""

import json

import cv2
import numpy as np
import pytest
from pair_models import save_depth, save_segmentation

from dvps_ros.cli.main import main
from dvps_ros.datasets import png


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    save_segmentation(folder / "segmentation")
    save_depth(folder / "depth")
    # every query is kept: a random network is sure of little
    merge = "{score_threshold: 0.0, mask_threshold: 0.0, overlap_threshold: 0.0}"
    (folder / "pair.yaml").write_text(f"segmentation: segmentation\ndepth: depth\nmerge: {merge}\n")
    return str(folder)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        smooth = np.random.default_rng(i).integers(0, 256, (4, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(smooth, (96, 64), interpolation=cv2.INTER_CUBIC))
    return str(folder)


def test_predict(model, pictures, tmp_path):
    assert main(["predict", pictures, "--model", model, "--out", str(tmp_path / "out"), "--fx", "80"]) == 0
    for i in range(4):
        assert (tmp_path / "out" / f"{i}_cloud.ply").stat().st_size > 1000
        assert (png.read_depth(tmp_path / "out" / f"{i}_depth.png") > 0).all()


def test_labels_by_a_pair_are_what_the_pair_scores_full_marks_on(model, pictures, tmp_path):
    out, report = str(tmp_path / "data"), tmp_path / "report.json"
    sure = ["--confidence", "0", "--min-share", "0", "--val", "0.5", "--every", "0"]
    assert main(["label", pictures, "--model", model, "--out", out, "--fx", "80", "--sheet", "0", *sure]) == 0
    data = ["--data", out, "--format", "folder", "--split", "val"]
    assert main(["evaluate", "--model", model, *data, "--json", str(report)]) == 0
    said = json.loads(report.read_text())
    assert said["frames"] == 2
    assert said["depth"]["absRel"] < 0.01
    assert said["PQ"]["all"]["PQ"] == pytest.approx(100, abs=1)


def test_bench(model, capsys):
    assert main(["bench", "--model", model, "--size", "64x96", "--frames", "2", "--warm-up", "1"]) == 0
    assert "network" in capsys.readouterr().out
