"""Scores of validation are those of ``dvps evaluate`` on the same labels."""

import math

import pytest
import torch

from dvps_ros.config import Config
from dvps_ros.labels import CITYSCAPES
from dvps_ros.structures import Scene, Target
from dvps_ros.training import validation

ROAD, CAR = (CITYSCAPES.index(name) for name in ("road", "car"))


def scored(monkeypatch, **label):
    """Scores of a road on which the network sees one car too many, 3 % of the road."""
    found = torch.full((10, 10), ROAD * 1000, dtype=torch.int32)
    found[0, :3] = CAR * 1000 + 1
    monkeypatch.setattr(validation, "merge", lambda *_: Scene(found, torch.full((10, 10), 9.0), torch.ones(10, 10)))
    true = torch.full((10, 10), ROAD * 1000, dtype=torch.int32)
    target = Target(torch.tensor([ROAD]), true[None] == ROAD * 1000, true, torch.full((10, 10), 5.0), **label)
    scores = validation.Scores(Config())
    scores.update(None, [target])
    return {name: value.item() for name, value in scores.compute().items()}


def test_a_class_that_the_labels_do_not_segment_is_no_false_positive(monkeypatch):
    assert scored(monkeypatch)["val/PQ"] == pytest.approx(97 / 2)  # the false car is a class with PQ 0
    assert scored(monkeypatch, segmented=frozenset({ROAD}))["val/PQ"] == pytest.approx(97)


def test_a_frame_without_depth_tells_nothing_of_dpq(monkeypatch):
    assert scored(monkeypatch)["val/DPQ"] == 0  # 80 % off
    assert math.isnan(scored(monkeypatch, has_depth=False)["val/DPQ"])
