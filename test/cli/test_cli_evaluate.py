"""dvps evaluate: an oracle scores 100, known mistakes score as calculated, bad input writes nothing."""

import json
import pickle
import subprocess
import sys
import weakref
from argparse import Namespace
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dvps_ros.cli.evaluate import _open, measure, table
from dvps_ros.cli.main import main
from dvps_ros.cli.torchrun import Process, share
from dvps_ros.config import BackboneConfig, Config, InputConfig, NetworkConfig
from dvps_ros.datasets import cityscapes_dvps, png
from dvps_ros.datasets.formats import open_split
from dvps_ros.datasets.frames import split_folder
from dvps_ros.datasets.predictions import PredictionWriter
from dvps_ros.metrics import DepthAwareVideoPanopticQuality, DepthErrors
from dvps_ros.structures import Intrinsics, Scene

CAMERA = Intrinsics(60.0, 60.0, 31.5, 15.5, 64, 32)
PANOPTIC = np.where(np.arange(32)[:, None] < 12, 10_000, 0) + np.zeros((32, 64), int)
PANOPTIC[14:26, 8:24] = 13_001
PANOPTIC[14:26, 40:56] = 13_002
DEPTH = np.where(PANOPTIC == 10_000, 0.0, 20.0)


class Oracle:
    """Answers with the truth, its depth ``factor`` times too large; numbers tracks anew where told to."""

    def __init__(self, factor=1.0, forgetful=False):
        self.factor, self.forgetful = factor, forgetful
        self.age, self.ages, self.seen, self.frame = 0, [], [], 0

    def reset_tracks(self):
        self.age = 0

    def step(self, image, intrinsics, stamp=None):
        self.seen.append(intrinsics)
        self.frame += 1
        self.age += 1
        self.ages.append(self.age)
        shift = self.frame * 10 * self.forgetful
        panoptic = torch.from_numpy(PANOPTIC + np.where(PANOPTIC > 13_000, shift, 0)).int()
        depth = torch.from_numpy(DEPTH * self.factor).float()
        return Scene(panoptic, depth, torch.ones(32, 64))


@pytest.fixture
def root(tmp_path):
    folder = split_folder(tmp_path / "data", "val")
    rgb = np.random.default_rng(0).integers(0, 255, (32, 64, 3), dtype=np.uint8)
    for sequence, frame in ((0, 0), (0, 1), (1, 0)):
        cityscapes_dvps.write_frame(folder, sequence, frame, rgb, PANOPTIC, DEPTH)
    cityscapes_dvps.write_cameras(folder, {0: CAMERA, 1: CAMERA})
    return tmp_path / "data"


def open_val(root):
    return cityscapes_dvps.CityscapesDvps(root, "val", 100.0)


def test_the_truth_scores_100(root):
    oracle = Oracle()
    report = measure(oracle, open_val(root))
    assert (report["frames"], report["sequences"]) == (3, 2)
    assert oracle.ages == [1, 2, 1]  # each sequence begins with tracks forgotten
    assert oracle.seen == [CAMERA] * 3
    assert report["PQ"]["all"] == {"PQ": 100.0, "SQ": 100.0, "RQ": 100.0}
    assert set(report["per_class"]) == {"road", "sky", "car"}
    assert report["DPQ"]["mean"] == {"all": 100.0, "thing": 100.0, "stuff": 100.0}
    assert set(report["DVPQ"]) == {"k2/0.5", "k2/0.25", "k2/0.1", "mean"}  # no sequence has three frames
    assert report["depth"]["absRel"] == 0.0
    assert report["depth"]["pixels"] == 3 * np.count_nonzero(DEPTH)


def test_depth_30_percent_off_fails_the_strict_thresholds_only(root):
    report = measure(Oracle(factor=1.3), open_val(root))
    assert report["PQ"]["all"]["PQ"] == 100.0
    assert report["DPQ"]["0.5"]["all"] == 100.0
    assert report["DPQ"]["0.25"] == {"all": pytest.approx(100 / 3), "thing": 0.0, "stuff": 50.0}  # sky has no depth
    assert report["depth"]["absRel"] == pytest.approx(0.3, abs=1e-6)


def test_new_numbers_in_each_frame_cost_dvpq_alone(root):
    report = measure(Oracle(forgetful=True), open_val(root))
    assert report["DPQ"]["mean"]["thing"] == 100.0
    assert report["VPQ"]["k2"]["thing"] == 0.0
    assert report["VPQ"]["k2"]["stuff"] == 100.0


def test_a_frame_without_labels_ends_a_window(root):
    next(split_folder(root, "val").glob("000000_000001*instanceTrainIds.png")).unlink()
    report = measure(Oracle(), open_val(root))
    assert "DVPQ" not in report
    assert report["per_class"]["road"]["TP"] == 2
    assert report["depth"]["pixels"] == 3 * np.count_nonzero(DEPTH)


def test_predictions_are_written_frame_by_frame(root, tmp_path):
    reader = open_val(root)
    measure(Oracle(), reader, PredictionWriter(tmp_path / "out", reader.labels))
    names = {files.name for files in reader.files}
    for part in ("panoptic", "depth"):
        assert {path.stem for path in (tmp_path / "out" / part).iterdir()} == names
    pixels = png.read_rgb(tmp_path / "out" / "panoptic" / f"{reader.files[0].name}.png")
    assert pixels[0, 0].tolist() == [10, 0, 0]
    assert pixels[20, 10].tolist() == [13, 1, 0]


# --- memory ----------------------------------------------------------------------------------------------------------


def test_frames_are_let_go_one_by_one(root):
    """However long a split: of everything read and predicted at most the last frame is still there at the next."""
    folder = split_folder(root, "val")
    rgb = np.zeros((32, 64, 3), np.uint8)
    for frame in range(2, 12):
        cityscapes_dvps.write_frame(folder, 0, frame, rgb, PANOPTIC, DEPTH)
    seen, alive = [], []

    class Watched(Oracle):
        def step(self, image, intrinsics, stamp=None):
            scene = super().step(image, intrinsics)
            seen.extend(map(weakref.ref, (image, scene.panoptic, scene.depth)))
            alive.append(sum(reference() is not None for reference in seen))
            return scene

    measure(Watched(), open_val(root))
    assert len(alive) == 13
    assert max(alive) <= 6, alive


def test_counts_do_not_grow_with_the_split():
    """k frames' joint counts and the sums over the split are all that is kept, whatever the number of frames."""
    quality, errors = DepthAwareVideoPanopticQuality(cityscapes_dvps.CITYSCAPES, frames=(1, 2, 4)), DepthErrors()
    sizes = []
    for _ in range(24):
        quality.update_frame(PANOPTIC, PANOPTIC, DEPTH, DEPTH)
        errors.update(DEPTH, DEPTH)
        sizes.append(len(pickle.dumps((quality, errors))))
    assert sizes[3] > sizes[0]  # the window fills
    assert max(sizes[4:]) <= sizes[3] + 64  # digits of whole numbers alone


# --- several processes -----------------------------------------------------------------------------------------------


def test_every_sequence_has_one_process_and_loads_are_even():
    sequences = {name: range(length) for name, length in enumerate((5, 1, 9, 4, 4, 1))}
    shares = [share(sequences, Process(rank, 3)) for rank in range(3)]
    assert sorted(name for own in shares for name in own) == list(sequences)
    assert [sum(map(len, own.values())) for own in shares] == [9, 7, 8]
    assert share(sequences, Process()) == sequences
    assert share({4: [0]}, Process(1, 2)) == {}


def test_two_processes_give_the_same_figures_and_files(root, tmp_path):
    model = tiny_model(tmp_path / "model")
    folder, rng = split_folder(root, "val"), np.random.default_rng(1)
    for sequence, frame in ((2, 0), (2, 1), (2, 2), (3, 0)):
        rgb = rng.integers(0, 255, (32, 64, 3), dtype=np.uint8)
        cityscapes_dvps.write_frame(folder, sequence, frame, rgb, PANOPTIC, DEPTH)

    def arguments(name):
        files = ["--json", str(tmp_path / f"{name}.json"), "--predictions", str(tmp_path / name)]
        return ["evaluate", "--model", str(model), "--data", str(root), "--device", "cpu", *files]

    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*launch, "-m", "dvps_ros.cli.main", *arguments("two")]
    torchrun = subprocess.run(command, timeout=300, capture_output=True, text=True, check=False)
    assert torchrun.returncode == 0, torchrun.stderr
    assert torchrun.stdout.count("absRel") == 1  # one table
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as torchrun's processes have
    try:
        assert main(arguments("one")) == 0
    finally:
        torch.set_num_threads(threads)

    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    del one["seconds_per_frame"], two["seconds_per_frame"]
    assert json.dumps(one) == json.dumps(two)  # each digit
    assert one["depth"]["absRel"] > 0
    first, second = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.png")}
        for name in ("one", "two")
    )
    assert len(first) == 14
    assert first == second


def test_table_names_what_was_left_out(root):
    report = {"model": "m", "data": "d", "split": "val", "device": "cpu", **measure(Oracle(1.3), open_val(root))}
    text = table(report)
    assert "DPQ 0.25        33.3     0.0    50.0" in text
    assert "neither labelled nor predicted: sidewalk" in text
    assert "absRel 0.300" in text


def tiny_model(folder):
    from dvps_ros.checkpoints import save
    from dvps_ros.network import build

    torch.manual_seed(0)
    backbone = BackboneConfig(depths=(1, 1, 1, 1), stem=8, widths=(8, 16, 24, 32), block="basic")
    network = NetworkConfig(
        backbone=backbone,
        width=32,
        heads=2,
        points=2,
        encoder_layers=1,
        encoder_feedforward=32,
        queries=8,
        decoder_layers=3,
        feedforward=32,
    )
    config = Config(network=network, input=InputConfig(32 * 64))
    config = replace(config, merge=replace(config.merge, score_threshold=0.0, overlap_threshold=0.0))
    save(build(network), folder, config)
    return folder


def test_the_command_end_to_end(root, tmp_path, capsys):
    model = tiny_model(tmp_path / "model")
    arguments = ["evaluate", "--model", str(model), "--data", str(root), "--device", "cpu", "--limit", "2"]
    outputs = ["--json", str(tmp_path / "out.json"), "--predictions", str(tmp_path / "png")]
    assert main([*arguments, *outputs]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["frames"], report["sequences"]) == (2, 1)
    assert 0.0 <= report["PQ"]["all"]["PQ"] <= 100.0
    assert report["depth"]["absRel"] > 0.0
    assert len(list((tmp_path / "png" / "depth").iterdir())) == 2
    assert "absRel" in capsys.readouterr().out


@pytest.mark.parametrize(("settings", "focal"), [({"focal_widths": 0.8}, 0.8), ({"focal": 30.0}, None), ({}, None)])
def test_cameras_that_the_data_lack_are_those_of_the_training(root, tmp_path, settings, focal):
    (split_folder(root, "val") / "cameras.json").unlink(missing_ok=True)
    config = replace(Config(), data=replace(Config().data, root=str(root), **settings))
    args = Namespace(data=str(root), split="val", format=None, semantic_table="", include=[], exclude=[])
    args.focal = args.focal_widths = 0.0
    reader = _open(args, SimpleNamespace(config=config))
    expected = open_split(config.data, "val")[0].intrinsics
    assert reader[0].intrinsics == expected
    if focal is not None:
        assert expected.fx == focal * expected.width


@pytest.mark.parametrize("missing", ["model", "data", "split", "empty"])
def test_bad_input_is_one_line_and_writes_nothing(root, tmp_path, capsys, missing):
    model = tmp_path / "no_model" if missing == "model" else tiny_model(tmp_path / "model")
    data = tmp_path / "no_data" if missing == "data" else root
    if missing == "empty":
        for path in split_folder(root, "val").glob("*.png"):
            path.unlink()
    before = sorted(tmp_path.rglob("*"))
    arguments = ["evaluate", "--model", str(model), "--data", str(data), "--json", str(tmp_path / "out" / "a.json")]
    arguments += ["--predictions", str(tmp_path / "out"), "--split", "test" if missing == "split" else "val"]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert {"model": "no_model", "data": "no_data", "split": "test", "empty": "val"}[missing] in captured.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--cameras", "1", "--camera-height", "1.5"),
            "--cameras renders its own streets: --camera-height is not possible",
        ),
        (("--cameras", "1", "--split", "train"), "--cameras renders its own streets: --split is not possible"),
        (("--drives", "1", "--limit", "3"), "--drives renders its own streets: --limit is not possible"),
        (("--data", "x", "--keep", "y"), "--keep goes with --drives"),
    ],
)
def test_options_that_would_be_ignored_are_refused(options, message, capsys):
    assert main(["evaluate", "--model", "models/street", *options]) == 2
    assert message in capsys.readouterr().err
