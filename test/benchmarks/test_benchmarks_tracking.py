"""The tracking tables: counts by hand, and a drive whose truth a perceiver tells with shuffled numbers."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

from dvps_ros.benchmarks import tracking
from dvps_ros.benchmarks.drives import Moment, cached_drive
from dvps_ros.cli import evaluate_simulated
from dvps_ros.config import Config, StreetConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.scene.track import Tracker
from dvps_ros.structures import Intrinsics, Scene, Segment

CAMERA = Intrinsics(40.0, 40.0, 31.5, 15.5, 64, 32)
CAR = 13


class Numbered:
    """A tracker that gives the numbers it is told, frame by frame, to what lies at the rows of the left column."""

    labels = CITYSCAPES

    def __init__(self, *frames):
        self.frames = iter(frames)

    def update(self, scene, camera, stamp, view):
        panoptic = scene.panoptic.clone()
        for value, number in next(self.frames).items():
            panoptic[self.truth == value] = CAR * 1000 + number
        return replace(scene, panoptic=panoptic)


def moment(panoptic, stamp=0.0):
    empty = np.zeros(0, np.int64), np.zeros((0, 3))
    return Moment(stamp, np.zeros((32, 64, 3), np.uint8), np.full((32, 64), 9.0, np.float32), panoptic, np.eye(4),
                  *empty, CAMERA)  # fmt: skip


def two_cars():
    truth = np.zeros((32, 64), np.int32)
    truth[4:12, 4:20] = CAR * 1000 + 1
    truth[4:12, 30:50] = CAR * 1000 + 2
    truth[20:24, 2:6] = CAR * 1000 + 3  # 16 pixels: too small
    return truth


def test_switches_are_counted_against_the_last_time():
    truth = two_cars()
    tracker = Numbered({13001: 5, 13002: 6}, {13001: 6, 13002: 5}, {13001: 6, 13002: 5})
    tracker.truth = truth
    counts = tracking.TrueMasks()
    tracking.follow_true_masks([moment(truth)] * 3, tracker, counts)
    assert len(counts.seconds) == 3
    counts.seconds = [0.004, 0.009, 0.005]
    assert counts.figures() == pytest.approx(
        {"switches": 2, "instances": 6, "percent": 100 / 3, "velocity_error": float("nan"), "milliseconds": 5.0},
        nan_ok=True,
    )


def test_shuffled_is_the_truth_under_other_numbers():
    truth = two_cars()
    scene, names = tracking.shuffled(moment(truth), CITYSCAPES, np.random.default_rng(3))
    assert sorted(names.values()) == [13001, 13002]
    for value, name in names.items():
        assert (scene.panoptic.numpy() == value).tolist() == (truth == name).tolist()
    assert (scene.panoptic[20:24, 2:6] == VOID).all()
    assert [(s.id, s.area, s.median_depth) for s in scene.segments if s.class_id == CAR] == [
        (value, int((truth == names[value]).sum()), 9.0) for value in sorted(names)
    ]


class Truthful:
    """Tells the truth of drives under shuffled numbers, then tracks them."""

    labels, config = CITYSCAPES, Config()

    def __init__(self, drive):
        self.tracker = Tracker(CITYSCAPES)
        self.truth = {one.rgb.tobytes(): one for one in drive}
        self.random = np.random.default_rng(1)

    def reset_tracks(self):
        self.tracker.reset()

    def step(self, rgb, intrinsics, stamp):
        one = self.truth[rgb.tobytes()]
        scene, _ = tracking.shuffled(one, CITYSCAPES, self.random)
        return self.tracker.update(scene, intrinsics, stamp, None, one.pose)


def test_true_numbers_go_to_the_things_that_cover_them_most():
    truth = two_cars()
    truth[20:24, 2:6] = 11 * 1000 + 1  # a person
    truth[26:30, 2:6] = CAR * 1000  # a group of cars
    truth[26:30, 20:30] = 7 * 1000  # road
    found = np.zeros_like(truth)
    things = {
        1: (slice(4, 12), slice(4, 8)),  # a quarter of the first car
        2: (slice(4, 12), slice(8, 40)),  # the rest of it, and half of the second
        3: (slice(4, 12), slice(40, 50)),  # the other half of that
        4: (slice(20, 24), slice(2, 6)),  # the person, taken for a car
        5: (slice(26, 30), slice(2, 6)),  # the group
    }
    for number, place in things.items():
        found[place] = CAR * 1000 + number
    found[26:30, 20:30] = 7 * 1000
    segments = tuple(Segment(CAR * 1000 + k, CAR, k, 1.0, 1, 9.0) for k in things)
    segments += (Segment(7000, 7, 0, 1.0, 40, 9.0),)
    maps = torch.from_numpy(found), torch.full(truth.shape, 9.0), torch.ones(truth.shape)
    spare = iter([2, 999, 998, 997, 996])  # 2 is a true number here
    numbered = tracking.with_true_numbers(Scene(*maps, segments), truth, CITYSCAPES, spare).panoptic.numpy()
    expected = np.zeros_like(truth)
    for old, new in ((1, 999), (2, 1), (3, 2), (4, 998), (5, 997)):
        expected[found == CAR * 1000 + old] = CAR * 1000 + new
    expected[26:30, 20:30] = 7 * 1000
    assert (numbered == expected).all()
    assert list(spare) == [996]


def test_the_command_on_a_drive_that_is_told_truly(tmp_path, capsys, monkeypatch):
    small = StreetConfig(width=192, height=96)
    monkeypatch.setattr(tracking, "RATES", (4.0,))
    monkeypatch.setattr(tracking, "FRAMES", 6)
    monkeypatch.setattr(tracking, "LEAST_PIXELS", 1)
    monkeypatch.setattr(tracking, "StreetConfig", lambda: small)
    drive = cached_drive(tracking.FIRST_SEED, small, [k / 4 for k in range(6)], tmp_path)
    report = tmp_path / "drives.json"
    arguments = SimpleNamespace(drives=1, keep=tmp_path, model="m", json=report)
    assert evaluate_simulated.drives(Truthful(drive), arguments) == 0
    assert len(list(tmp_path.glob("drive_*.npz"))) == 1  # rendered once
    figures = json.loads(report.read_text())
    tracked, untracked = figures["network"]["tracked"], figures["network"]["untracked"]
    assert tracked["DVPQ"]["k1/0.1"] == untracked["DVPQ"]["k1/0.1"] == pytest.approx(100)
    assert tracked["STQ"]["AQ"] > untracked["STQ"]["AQ"] + 20
    assert tracked["DVPQ"]["k4/0.1"] > untracked["DVPQ"]["k4/0.1"] + 10
    assert figures["network"]["true numbers"]["STQ"]["AQ"] == pytest.approx(100)
    assert figures["true"]["4"]["instances"] >= 12
    assert figures["true"]["4"]["percent"] < 20
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| true masks, shuffled numbers | 4 Hz |"
    assert lines[6] == "| the model's output at 4 Hz | tracked | untracked | true numbers |"
    assert [line.split(" |")[0] for line in lines[8:]] == [
        *("| STQ", "| AQ", "| SQ", "| id switches", "| fragments"),
        *(f"| DVPQ λ {limit}, k 1 and 4" for limit in ("0.5", "0.25", "0.1")),
    ]


def test_a_kept_drive_is_that_which_was_rendered(tmp_path):
    bent = StreetConfig(
        width=96, height=64, distortion_model="equidistant", distortion=(0.05, 0.0, 0.0, 0.0), distorted=1.0
    )
    first = cached_drive(4, bent, [0.0, 0.5], tmp_path)
    [kept] = tmp_path.iterdir()
    again = cached_drive(4, bent, [0.0, 0.5], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    assert first[1].intrinsics == again[1].intrinsics
    assert first[1].intrinsics.distortion_model == "equidistant"
    assert (first[1].rgb == again[1].rgb).all()
