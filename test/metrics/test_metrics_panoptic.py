"""PQ on perfect, degenerate and hand-calculated label maps, and against torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.detection import PanopticQuality as Reference

from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.metrics import PanopticQuality
from dvps_ros.metrics.panoptic import add_pairs, count_pairs

ROAD, SKY, PERSON, CAR = 0, 10_000, 11_000, 13_000


def measured(pred, true):
    quality = PanopticQuality(CITYSCAPES)
    quality.update(np.asarray(pred), np.asarray(true))
    return quality.compute()


def random_maps(seed, count=3, void=True):
    """Blocky maps with every class, and predictions that agree with most of their blocks."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        true = rng.integers(0, 19, (8, 8)) * 1000
        true += np.where(true // 1000 >= 11, rng.integers(1, 3, true.shape), 0)
        other = rng.integers(0, 19, (8, 8)) * 1000
        other += np.where(other // 1000 >= 11, rng.integers(1, 3, true.shape), 0)
        pred = np.where(rng.random(true.shape) < 0.2, other, true)
        if void:
            true = np.where(rng.random(true.shape) < 0.15, VOID, true)
        yield np.kron(pred, np.ones((4, 4), int)), np.kron(true, np.ones((4, 4), int))


def test_perfect_is_100():
    true = np.array([[ROAD, SKY, CAR + 1], [ROAD, CAR + 2, VOID]])
    result = measured(true, true)
    for group in ("all", "thing", "stuff"):
        assert result[group] == {"PQ": 100.0, "SQ": 100.0, "RQ": 100.0}
    assert set(result["per_class"]) == {"road", "sky", "car"}
    assert result["per_class"]["car"]["TP"] == 2
    assert len(result["absent"]) == 16
    assert "person" in result["absent"]


def test_all_wrong_is_0_and_absent_classes_do_not_count():
    result = measured(np.full((4, 4), SKY), np.full((4, 4), ROAD))
    assert result["all"]["PQ"] == 0.0
    assert set(result["per_class"]) == {"road", "sky"}
    assert math.isnan(result["thing"]["PQ"])


def test_nothing_is_nan_not_0():
    assert math.isnan(PanopticQuality(CITYSCAPES).compute()["all"]["PQ"])
    result = measured(np.full((2, 2), VOID), np.full((2, 2), VOID))
    assert math.isnan(result["all"]["PQ"])
    assert len(result["absent"]) == 19


def test_by_hand():
    # car 1: 6 true pixels, 5 of 7 predicted ones hit it -> IoU 5/8; car 2: missed; one car invented
    true = np.array([CAR + 1] * 6 + [ROAD] * 8 + [CAR + 2] * 2)
    pred = np.array([CAR + 9] * 5 + [ROAD] + [CAR + 9] * 2 + [ROAD] * 4 + [CAR + 8] * 2 + [ROAD] * 2)
    result = measured(pred[None], true[None])
    car = result["per_class"]["car"]
    assert (car["TP"], car["FP"], car["FN"]) == (1, 1, 1)
    assert car["SQ"] == pytest.approx(62.5)
    assert car["RQ"] == pytest.approx(50.0)
    assert car["PQ"] == pytest.approx(31.25)
    # road: 4 shared, 8 true, 7 predicted -> IoU 4/11: no match
    assert result["per_class"]["road"] == {"PQ": 0.0, "SQ": 0.0, "RQ": 0.0, "TP": 0, "FP": 1, "FN": 1}
    assert result["thing"]["PQ"] == pytest.approx(31.25)
    assert result["all"]["PQ"] == pytest.approx(31.25 / 2)


def test_iou_of_exactly_half_is_no_match():
    true = np.array([[CAR + 1, CAR + 1, ROAD, ROAD]])
    pred = np.array([[CAR + 1, ROAD, ROAD, ROAD]])
    car = measured(pred, true)["per_class"]["car"]
    assert (car["TP"], car["FP"], car["FN"]) == (0, 1, 1)


def test_prediction_over_void_leaves_the_union():
    true = np.array([[CAR + 1, CAR + 1, VOID, VOID, VOID, ROAD]])
    pred = np.array([[CAR + 1, CAR + 1, CAR + 1, CAR + 1, CAR + 1, ROAD]])
    assert measured(pred, true)["per_class"]["car"]["SQ"] == 100.0


@pytest.mark.parametrize(("on_void", "false_positives"), [(3, 0), (2, 1)])
def test_unmatched_segment_mostly_on_void_is_no_false_positive(on_void, false_positives):
    true = np.array([[VOID] * on_void + [ROAD] * (4 - on_void) + [ROAD] * 8])
    pred = np.array([[CAR + 1] * 4 + [ROAD] * 8])
    cars = measured(pred, true)["per_class"].get("car", {"FP": 0})
    assert cars["FP"] == false_positives


def test_unlabelled_prediction_is_no_segment():
    true = np.full((1, 10), ROAD)
    pred = np.where(np.arange(10) < 7, ROAD, VOID)[None]
    result = measured(pred, true)
    assert list(result["per_class"]) == ["road"]
    assert result["all"]["SQ"] == pytest.approx(70.0)


def test_unsigned_maps_do_not_wrap_around():
    true = np.array([[11001, 11001, 13001]], np.uint16)
    assert measured(true, true.astype(np.int64))["all"]["PQ"] == 100.0


def test_other_shape_or_float_is_refused():
    quality = PanopticQuality(CITYSCAPES)
    with pytest.raises(ValueError, match="shape"):
        quality.update(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(ValueError, match="integers"):
        quality.update(np.zeros((2, 3)), np.zeros((2, 3), int))


@pytest.mark.parametrize("seed", range(5))
def test_equals_torchmetrics_by_class(seed):
    quality = PanopticQuality(CITYSCAPES)
    reference = Reference(
        things=set(CITYSCAPES.things),
        stuffs=set(CITYSCAPES.stuff),
        allow_unknown_preds_category=True,
        return_sq_and_rq=True,
        return_per_class=True,
    )
    for pred, true in random_maps(seed):
        quality.update(pred, true)
        reference.update(*(torch.tensor(np.stack([m // 1000, m % 1000], -1)[None]) for m in (pred, true)))
    # torchmetrics lists things, then stuff, each by ascending class
    expected = dict(
        zip((*CITYSCAPES.things, *CITYSCAPES.stuff), reference.compute().reshape(-1, 3).tolist(), strict=True)
    )
    rows = quality.compute()["per_class"]
    assert len(rows) == 19
    for index, (pq, sq, rq) in expected.items():
        row = rows[CITYSCAPES.names[index]]
        assert (row["PQ"], row["SQ"], row["RQ"]) == pytest.approx((100 * pq, 100 * sq, 100 * rq), abs=1e-3)
    assert 0 < quality.compute()["all"]["PQ"] < 100


def test_parts_in_any_order_merge_to_the_same_bits():
    maps = list(random_maps(7, count=12))
    whole = PanopticQuality(CITYSCAPES)
    for pred, true in maps:
        whole.update(pred, true)
    parts = [PanopticQuality(CITYSCAPES) for _ in range(3)]
    for n, (pred, true) in enumerate(reversed(maps)):
        parts[n % 3].update(pred, true)
    total = PanopticQuality(CITYSCAPES)
    total.load_state(parts[2].state())
    total.merge(parts[0])
    total.merge(parts[1])
    assert np.array_equal(total.state(), whole.state())
    assert total.compute() == whole.compute()


def test_foreign_state_is_refused():
    with pytest.raises(ValueError, match="shape"):
        PanopticQuality(CITYSCAPES).load_state(np.zeros((4, 3)))


def test_joined_counts_equal_the_counts_of_joined_maps():
    maps = list(random_maps(3))
    joined = count_pairs(np.concatenate([p for p, _ in maps], 1), np.concatenate([t for _, t in maps], 1))
    added = add_pairs([count_pairs(p, t) for p, t in maps])
    assert np.array_equal(added.keys, joined.keys)
    assert np.array_equal(added.areas, joined.areas)
