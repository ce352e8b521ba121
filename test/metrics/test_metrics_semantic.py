"""mIoU: by hand, with merged classes, with classes of two values or of none, against torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from dvps_ros.labels import CITYSCAPES, VOID, SemanticTable, identity_table
from dvps_ros.metrics import MeanIou, over_all_processes

ROAD, SKY, TREE, GRASS, CAR, TRUCK = 0, 10, 8, 9, 13, 14


def table(**sets):
    return SemanticTable(CITYSCAPES, tuple(range(len(sets))), tuple(sets), tuple(map(frozenset, sets.values())))


def measure(sets, pairs):
    """``pairs``: number of pixels by (row of the truth, predicted class)."""
    metric = MeanIou(table(**sets))
    rows = np.concatenate([np.full(n, row) for (row, _), n in pairs.items()])
    pred = np.concatenate([np.full(n, k * 1000 if k < 19 else VOID) for (_, k), n in pairs.items()])
    metric.update(pred, rows)
    return metric.compute()


def test_by_hand():
    """Road: 6 of 9 found, 1 falsely; sky: 3 of 4, 2 falsely; an unlabelled prediction is a miss, -1 does not count."""
    pairs = {(0, ROAD): 6, (0, SKY): 2, (1, SKY): 3, (1, ROAD): 1, (-1, ROAD): 50, (0, 19): 1}
    found = measure({"road": {ROAD}, "sky": {SKY}}, pairs)
    assert found["per_value"] == {"road": pytest.approx(100 * 6 / 10), "sky": pytest.approx(100 * 3 / 6)}
    assert found["mIoU"] == pytest.approx(55.0)
    assert found["absent"] == []


def test_any_class_of_a_value_is_right():
    """Of ten pixels of car-or-truck, a truck is as good as a car; road is not."""
    sets = {"car": {CAR, TRUCK}, "tree": {TREE, GRASS}}
    pairs = {(0, CAR): 4, (0, TRUCK): 5, (0, ROAD): 1, (1, GRASS): 4, (1, TREE): 2, (1, TRUCK): 2}
    found = measure(sets, pairs)["per_value"]
    assert found == {"car": pytest.approx(100 * 9 / 12), "tree": pytest.approx(100 * 6 / 8)}


def test_a_class_of_two_values_is_right_for_both_and_wrong_for_both():
    """Grass is in both values. On the road it is wrong, and both have claimed it."""
    sets = {"tree": {TREE, GRASS}, "meadow": {GRASS}, "road": {ROAD}}
    pairs = {(0, GRASS): 3, (0, TREE): 1, (1, GRASS): 2, (1, TREE): 2, (2, GRASS): 4, (2, ROAD): 4}
    found = measure(sets, pairs)["per_value"]
    # grass on tree is no false positive of meadow; tree on meadow is one of tree
    assert found["tree"] == pytest.approx(100 * 4 / (4 + 2 + 4))
    assert found["meadow"] == pytest.approx(100 * 2 / (4 + 4))
    assert found["road"] == pytest.approx(100 * 4 / 8)


def test_a_class_of_no_value_is_missed_where_it_is_predicted():
    found = measure({"road": {ROAD}, "sky": {SKY}}, {(0, ROAD): 6, (0, CAR): 4, (1, SKY): 5})["per_value"]
    assert found == {"road": pytest.approx(60.0), "sky": 100.0}


def test_a_value_that_no_label_has_is_left_out():
    found = measure({"road": {ROAD}, "sky": {SKY}}, {(0, ROAD): 3, (0, SKY): 1})
    assert found == {"mIoU": pytest.approx(75.0), "per_value": {"road": pytest.approx(75.0)}, "absent": ["sky"]}
    empty = MeanIou(table(road={ROAD})).compute()
    assert np.isnan(empty["mIoU"])
    assert empty["absent"] == ["road"]


def test_against_torchmetrics():
    rng = np.random.default_rng(0)
    true, pred = rng.integers(0, 19, (2, 3, 40, 50))
    true[rng.random(true.shape) < 0.1] = 255
    metric = MeanIou(identity_table(CITYSCAPES))
    for one, other in zip(pred, true, strict=True):
        metric.update(one * 1000 + 7, np.where(other == 255, -1, other))
    theirs = MulticlassJaccardIndex(19, ignore_index=255)
    assert metric.compute()["mIoU"] == pytest.approx(100 * theirs(torch.tensor(pred), torch.tensor(true)).item())


def test_parts_add_up():
    rng = np.random.default_rng(1)
    pred, rows = rng.integers(0, 19, (4, 10, 10)) * 1000, rng.integers(-1, 19, (4, 10, 10))
    whole, parts = MeanIou(identity_table(CITYSCAPES)), [MeanIou(identity_table(CITYSCAPES)) for _ in range(2)]
    whole.update(pred, rows)
    for n in range(4):
        parts[n % 2].update(pred[n], rows[n])
    parts[0].merge(parts[1])
    assert parts[0].compute() == whole.compute() == over_all_processes(whole).compute()


def test_mistakes_are_named():
    metric = MeanIou(table(road={ROAD}))
    with pytest.raises(ValueError, match="shape"):
        metric.update(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="row 1 of a table with 1 rows"):
        metric.update(np.zeros(2, int), np.array([0, 1]))
    with pytest.raises(ValueError, match="expected"):
        metric.load_state({"counts": np.zeros((2, 2))})
