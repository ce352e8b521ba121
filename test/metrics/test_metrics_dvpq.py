"""DPQ and DVPQ on cases calculated by hand."""

import math

import numpy as np
import pytest

from dvps_ros.labels import CITYSCAPES, SEMKITTI, VOID
from dvps_ros.metrics import DepthAwareVideoPanopticQuality, PanopticQuality

ROAD, CAR = 0, 13_000


def sequence(*rows):
    return np.array(rows)[:, None, :]


def measured(pred, true, depth_pred, depth_true, frames=(1,), thresholds=(None, 0.5, 0.25, 0.1)):
    metric = DepthAwareVideoPanopticQuality(CITYSCAPES, frames, thresholds)
    metric.update(pred, true, np.asarray(depth_pred), np.asarray(depth_true))
    return metric


def test_perfect_is_100_for_every_window_and_threshold():
    true = sequence(*[[ROAD] * 4 + [CAR + 1] * 3 + [VOID]] * 4)
    depth = np.full(true.shape, 7.0)
    metric = DepthAwareVideoPanopticQuality(CITYSCAPES)
    metric.update(true, true, depth, depth)
    values = metric.compute()
    assert set(values) == {f"k{k}/{limit}" for k in (1, 2, 3, 4) for limit in ("none", "0.5", "0.25", "0.1")}
    for value in values.values():
        assert value["all"] == value["thing"] == value["stuff"] == 100.0
        assert value["per_class"] == {"road": 100.0, "car": 100.0}
        assert len(value["absent"]) == 17
    assert metric.means() == {name: dict.fromkeys(("all", "thing", "stuff"), 100.0) for name in ("DPQ", "DVPQ")}


def test_wrong_depth_takes_pixels_from_a_segment_without_a_false_positive():
    # road: 10 pixels of 10 m; the prediction is 30 % off on four, exact elsewhere
    true = sequence([ROAD] * 10)
    depth_true = np.full(true.shape, 10.0)
    depth_pred = depth_true.copy()
    depth_pred[..., :4] = 13.0
    values = measured(true, true, depth_pred, depth_true).compute()
    assert values["k1/none"]["all"] == 100.0
    assert values["k1/0.5"]["all"] == 100.0
    assert values["k1/0.25"]["all"] == pytest.approx(60.0)
    assert values["k1/0.1"]["all"] == pytest.approx(60.0)
    assert values["k1/0.1"]["per_class"] == {"road": pytest.approx(60.0)}


def test_segment_losing_half_its_pixels_is_missed_and_its_rest_false():
    true = sequence([ROAD] * 6 + [CAR + 1] * 4)
    depth_true = np.full(true.shape, 10.0)
    depth_pred = depth_true.copy()
    depth_pred[..., 6:8] = 20.0  # half of the car: IoU 0.5 is no match
    quality = measured(true, true, depth_pred, depth_true).quality(1, 0.5).compute()["per_class"]["car"]
    assert (quality["TP"], quality["FP"], quality["FN"]) == (0, 1, 1)
    depth_pred[..., 6:] = 20.0  # the whole car: nothing is left that could be false
    quality = measured(true, true, depth_pred, depth_true).quality(1, 0.5).compute()["per_class"]["car"]
    assert (quality["TP"], quality["FP"], quality["FN"]) == (0, 0, 1)


def test_error_is_relative_to_the_true_depth_and_must_exceed_the_threshold():
    true = sequence([ROAD] * 4)
    depth_true = np.full(true.shape, 8.0)
    at_limit = measured(true, true, [[[12.0, 4.0, 12.0, 4.0]]], depth_true, thresholds=(0.5,)).compute()
    assert at_limit["k1/0.5"]["all"] == 100.0  # |12 - 8| / 8 is 0.5, not more
    over = measured(true, true, [[[12.1, 8.0, 8.0, 8.0]]], depth_true, thresholds=(0.5,)).compute()
    assert over["k1/0.5"]["all"] == pytest.approx(75.0)


def test_pixels_without_depth_label_are_not_tested():
    true = sequence([ROAD] * 4)
    values = measured(true, true, [[[500.0, 500.0, 10.0, 10.0]]], [[[0.0, 0.0, 10.0, 10.0]]]).compute()
    assert values["k1/0.1"]["all"] == 100.0


def test_a_prediction_that_is_not_a_number_is_wrong():
    true = sequence([ROAD] * 4)
    values = measured(true, true, [[[np.nan, 10.0, 10.0, np.inf]]], np.full(true.shape, 10.0)).compute()
    assert values["k1/none"]["all"] == 100.0
    assert values["k1/0.5"]["all"] == 0.0  # two of four pixels left


def test_unsigned_depth_does_not_wrap_around():
    # 10 - 12 in uint16 is 65534, which would count as an enormous error
    true = sequence([ROAD] * 3)
    pred = np.array([[[10, 12, 12]]], np.uint16)
    values = measured(true, true, pred, np.full((1, 1, 3), 12, np.uint16)).compute()
    assert values["k1/0.25"]["all"] == 100.0
    assert values["k1/0.1"]["all"] == pytest.approx(200 / 3)


def test_a_changed_track_id_breaks_the_tube_only():
    # the car is found in both frames, under another number in the second
    true = sequence([ROAD] * 4 + [CAR + 1] * 4, [ROAD] * 4 + [CAR + 1] * 4)
    pred = sequence([ROAD] * 4 + [CAR + 1] * 4, [ROAD] * 4 + [CAR + 2] * 4)
    depth = np.ones(true.shape)
    metric = measured(pred, true, depth, depth, frames=(1, 2))
    values = metric.compute()
    assert values["k1/0.1"]["per_class"] == {"road": 100.0, "car": 100.0}
    # as a tube each half has IoU 4/8: none matches; one missed, two false
    car = metric.quality(2, 0.1).compute()["per_class"]["car"]
    assert (car["TP"], car["FP"], car["FN"]) == (0, 2, 1)
    assert values["k2/0.1"]["all"] == 50.0
    assert metric.means()["DPQ"]["all"] == 100.0
    assert metric.means()["DVPQ"]["all"] == 75.0


def test_windows_slide_inside_each_sequence_only():
    metric = DepthAwareVideoPanopticQuality(CITYSCAPES, frames=(1, 2, 4), thresholds=(None,))
    for length in (3, 2):
        metric.update(*[np.zeros((length, 2, 2), int)] * 2)
    assert metric.windows == {1: 5, 2: 3, 4: 0}
    assert metric.quality(2, None).compute()["per_class"]["road"]["TP"] == 3
    assert math.isnan(metric.compute()["k4/none"]["all"])


def test_a_window_is_the_maps_side_by_side():
    rng = np.random.default_rng(0)
    true = rng.choice([0, 1000, 2000, CAR + 1, CAR + 2, VOID], (4, 6, 6))
    pred = np.where(rng.random(true.shape) < 0.2, rng.choice([0, 1000, CAR + 1], true.shape), true)
    metric = DepthAwareVideoPanopticQuality(CITYSCAPES, frames=(3,), thresholds=(None,))
    metric.update(pred, true)
    plain = PanopticQuality(CITYSCAPES)
    for start in (0, 1):
        plain.update(*(np.concatenate(list(m[start : start + 3]), axis=1) for m in (pred, true)))
    assert np.array_equal(metric.quality(3, None).state(), plain.state())


def test_k1_without_depth_test_is_pq():
    rng = np.random.default_rng(1)
    true = rng.choice([0, 8000, 13001, VOID], (3, 8, 8))
    pred = np.where(rng.random(true.shape) < 0.2, 8000, true)
    plain = PanopticQuality(SEMKITTI)
    for p, t in zip(pred, true, strict=True):
        plain.update(p, t)
    metric = DepthAwareVideoPanopticQuality(SEMKITTI, frames=(1,), thresholds=(None,))
    metric.update(pred, true)
    assert metric.compute()["k1/none"]["all"] == plain.compute()["all"]["PQ"]


def test_sequences_of_several_processes_merge():
    rng = np.random.default_rng(2)
    data = []
    for _ in range(4):
        true = rng.choice([0, 1000, CAR + 1], (4, 5, 5))
        depth = rng.uniform(1, 9, true.shape)
        data.append((np.roll(true, 1, 2), true, depth * rng.uniform(0.7, 1.3, true.shape), depth))
    whole, first, second = (DepthAwareVideoPanopticQuality(CITYSCAPES) for _ in range(3))
    for n, item in enumerate(data):
        whole.update(*item)
        (first, second)[n % 2].update(*item)
    second.merge(first)
    assert second.compute() == whole.compute()
    assert second.windows == whole.windows == {1: 16, 2: 12, 3: 8, 4: 4}
    with pytest.raises(ValueError, match="merge"):
        whole.merge(DepthAwareVideoPanopticQuality(CITYSCAPES, frames=(1,)))


def test_bad_input_is_refused():
    metric = DepthAwareVideoPanopticQuality(CITYSCAPES)
    maps, depth = np.zeros((2, 3, 3), int), np.ones((2, 3, 3))
    with pytest.raises(ValueError, match="one shape"):
        metric.update(maps, maps, depth, depth[:, :2])
    with pytest.raises(ValueError, match="depth"):
        metric.update(maps, maps)
    with pytest.raises(ValueError, match="1 or more"):
        DepthAwareVideoPanopticQuality(CITYSCAPES, frames=(0,))


def pixelwise(sequences, k, threshold):
    """The definition, segment by segment on whole maps: slow, and sharing no code with the metric."""
    iou_sum, tp, fp, fn = (np.zeros(256) for _ in range(4))
    for pred, true, depth_pred, depth_true in sequences:
        if threshold is not None:
            wrong = (depth_true > 0) & (np.abs(depth_pred - depth_true) > threshold * depth_true)
            pred = np.where(wrong, VOID, pred)
        for start in range(len(pred) - k + 1):
            p, t = pred[start : start + k], true[start : start + k]
            found, hits = set(), set()
            for segment in set(np.unique(p)) - {VOID}:
                for truth in set(np.unique(t)) - {VOID}:
                    a, b = p == segment, t == truth
                    iou = (a & b).sum() / ((a | b) & (b | (t != VOID))).sum()
                    if segment // 1000 == truth // 1000 and iou > 0.5:
                        iou_sum[truth // 1000] += iou
                        tp[truth // 1000] += 1
                        found.add(truth)
                        hits.add(segment)
                if segment not in hits and (t[p == segment] == VOID).mean() <= 0.5:
                    fp[segment // 1000] += 1
            for truth in set(np.unique(t)) - {VOID} - found:
                fn[truth // 1000] += 1
    seen = (tp + fp + fn) > 0
    return (100 * iou_sum[seen] / (tp + fp / 2 + fn / 2)[seen]).mean()


def test_equals_the_definition_on_random_sequences():
    rng = np.random.default_rng(3)
    sequences = []
    for _ in range(2):
        true = rng.choice([0, 1000, 10_000, 11_001, 11_002, CAR + 1, VOID], (4, 5, 5))
        true[1:] = np.where(rng.random(true[1:].shape) < 0.7, true[0], true[1:])
        pred = np.where(rng.random(true.shape) < 0.25, rng.choice([0, 2000, 11_001, CAR + 1, VOID], true.shape), true)
        depth = rng.uniform(1, 80, true.shape) * (rng.random(true.shape) < 0.8)
        guess = np.where(depth > 0, depth * np.exp(rng.normal(0, 0.15, true.shape)), 5.0)
        sequences.append([m.repeat(3, 1).repeat(3, 2) for m in (pred, true, guess, depth)])
    metric = DepthAwareVideoPanopticQuality(CITYSCAPES)
    for maps in sequences:
        metric.update(*maps)
    values = metric.compute()
    for k in (1, 2, 4):
        for threshold in (None, 0.5, 0.1):
            name = f"k{k}/{'none' if threshold is None else threshold}"
            assert values[name]["all"] == pytest.approx(pixelwise(sequences, k, threshold), abs=1e-8)
    assert 0 < values["k2/0.1"]["all"] < values["k2/none"]["all"] < 100


def test_frames_without_depth_count_for_pq_alone():
    """Without true depth no depth is wrong: such a frame must not raise DPQ."""
    true = np.full((1, 10), ROAD)
    metric = DepthAwareVideoPanopticQuality(CITYSCAPES, (1, 2))
    far, right = np.full(true.shape, 1e6), np.full(true.shape, 5.0)
    metric.update_frame(true, true, far, None)
    assert metric.compute()["k1/none"]["all"] == 100.0
    assert metric.means() == {}
    metric.update_frame(true, true, far, right)
    metric.update_frame(true, true, far, right)
    values = metric.compute()
    assert [values[f"{k}/{limit}"]["all"] for k in ("k1", "k2") for limit in ("none", "0.1")] == [
        100.0,
        0.0,
        100.0,
        0.0,
    ]
    assert metric.quality(2, None).state()[1].sum() == 2  # windows of frames 1-2 and 2-3
    assert metric.quality(2, 0.1).state()[3].sum() == 1  # of 2-3 alone: one segment is missed


def test_a_mean_leaves_out_lengths_that_have_no_window_with_depth():
    """Depth on the first two of four frames: no window of three or four frames has depth, and theirs is not NaN."""
    labels, depth = np.full((4, 4), 1), np.full((4, 4), 5.0)
    metric = DepthAwareVideoPanopticQuality(CITYSCAPES)
    for number in range(4):
        metric.update_frame(labels, labels, depth, depth if number < 2 else None)
    assert metric.windows == {1: 4, 2: 3, 3: 2, 4: 1}
    assert metric.depth_windows == {1: 2, 2: 1, 3: 0, 4: 0}
    assert metric.means()["DPQ"]["all"] == metric.means()["DVPQ"]["all"] == 100
    again = DepthAwareVideoPanopticQuality(CITYSCAPES)
    again.load_state(metric.state())
    assert (again.windows, again.depth_windows) == (metric.windows, metric.depth_windows)
    without = DepthAwareVideoPanopticQuality(CITYSCAPES)
    without.update_frame(labels, labels, None, None)
    assert without.means() == {}
