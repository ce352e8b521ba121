"""Depth errors by hand."""

import math

import numpy as np
import pytest

from dvps_ros.metrics import DepthErrors


def measured(pred, true, deviation=None):
    errors = DepthErrors()
    errors.update(np.asarray(pred), np.asarray(true), deviation)
    return errors.compute()


def test_perfect():
    result = measured([[1.0, 5.0, 80.0]], [[1.0, 5.0, 80.0]])
    assert [result[k] for k in ("absRel", "sqRel", "RMSE", "RMSElog", "SILog")] == [0.0] * 5
    assert [result[f"delta{n}"] for n in (1, 2, 3)] == [1.0] * 3
    assert result["pixels"] == 3


def test_by_hand():
    result = measured([[2.0, 6.0, 9.0]], [[1.0, 4.0, 0.0]])  # the third pixel has no label
    logs = np.log([2.0, 1.5])
    assert result["pixels"] == 2
    assert result["absRel"] == pytest.approx((1.0 + 0.5) / 2)
    assert result["sqRel"] == pytest.approx((1.0 + 1.0) / 2)
    assert result["RMSE"] == pytest.approx(math.sqrt((1 + 4) / 2))
    assert result["RMSElog"] == pytest.approx(math.sqrt((logs**2).mean()))
    assert result["SILog"] == pytest.approx(100 * logs.std())
    assert [result[f"delta{n}"] for n in (1, 2, 3)] == [0.0, 0.5, 0.5]  # 1.5 < 1.5625, 2 > 1.953


def test_scale_costs_no_silog():
    true = np.linspace(1, 50, 100)
    result = measured(1.3 * true, true)
    assert result["SILog"] == pytest.approx(0.0, abs=1e-2)
    assert result["absRel"] == pytest.approx(0.3)


def test_unsigned_values_do_not_wrap_around():
    assert measured(np.array([9], np.uint16), np.array([10], np.uint16))["absRel"] == pytest.approx(0.1)


def test_zero_prediction_is_finite_and_nan_is_counted_apart():
    result = measured([0.0, np.nan, 4.0], [4.0, 4.0, 4.0])
    assert result["invalid"] == 1
    assert result["pixels"] == 2
    assert result["absRel"] == pytest.approx(0.5, abs=1e-3)
    assert math.isfinite(result["RMSElog"])


def test_without_labels_nan():
    result = measured(np.ones((2, 2)), np.zeros((2, 2)))
    assert result["pixels"] == 0
    assert math.isnan(result["absRel"])
    assert math.isnan(result["SILog"])
    assert math.isnan(result["delta1"])


def test_the_share_within_one_told_deviation():
    errors = DepthErrors()
    errors.update(np.array([10.0, 12.0, 9.0, 5.0]), np.array([10.5, 10.0, 9.0, 0.0]), np.array([0.5, 1.9, 0.0, 9.0]))
    assert errors.compute()["within"] == pytest.approx(2 / 3)
    errors.update(np.ones(5), np.full(5, 9.0))  # a network that tells none
    assert errors.compute()["within"] == pytest.approx(2 / 3)
    assert "within" not in measured(np.ones(3), np.ones(3))


@pytest.mark.parametrize("too_small", [1.0, 1.4, 3.0])
def test_the_factor_that_calibrates_deviations(too_small):
    rng = np.random.default_rng(0)
    true, deviation = rng.uniform(5, 50, 40_000), rng.uniform(0.1, 3, 40_000)
    pred = true + rng.normal(size=true.size) * deviation
    told = measured(pred, true, deviation / too_small)
    assert told["deviation_scale"] == pytest.approx(too_small, rel=0.02)
    assert measured(pred, true, deviation / too_small * told["deviation_scale"])["within"] == pytest.approx(
        0.683, abs=0.01
    )


def test_deviations_of_zero_and_far_off_ones():
    errors = DepthErrors()
    errors.update(np.array([10.0, 10.0, 10.0]), np.array([10.0, 11.0, 12.0]), np.array([0.0, 0.0, 1e-9]))
    assert errors.compute()["within"] == pytest.approx(1 / 3)
    assert errors.compute()["deviation_scale"] == pytest.approx(math.exp(4))
    exact = measured([10.0, 10.0, 12.0], [10.0, 10.0, 10.0], np.array([0.0, 0.0, 1.0]))
    assert exact["deviation_scale"] == pytest.approx(2, rel=0.01)  # 0.683 of three are more than two
    exact = measured([10.0, 10.0, 10.0, 12.0], [10.0] * 4, np.array([0.0, 0.0, 0.0, 1.0]))
    assert exact["deviation_scale"] == pytest.approx(math.exp(-4))


def test_parts_in_any_order_merge_to_the_same_bits():
    rng = np.random.default_rng(0)
    parts = [tuple(rng.uniform(0.5, 80, (4, 7)) for _ in range(3)) for _ in range(9)]
    whole, first, second = DepthErrors(), DepthErrors(), DepthErrors()
    for part in parts:
        whole.update(*part)
    for n, part in enumerate(reversed(parts)):
        (first, second)[n % 2].update(*part)
    second.merge(first)
    assert second.state() == whole.state()
    assert second.compute() == whole.compute()
    fresh = DepthErrors()
    fresh.load_state(second.state())
    assert fresh.compute() == whole.compute()


def test_other_shape_or_state_is_refused():
    with pytest.raises(ValueError, match="shape"):
        measured(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="entries"):
        DepthErrors().load_state({"abs_rel": 1})


def test_only_positive_and_finite_truth_is_a_label():
    """Sky may be +Inf (REP 118), what is not known NaN, and no label 0."""
    errors = DepthErrors()
    truth = np.array([[10.0, np.inf, np.nan, 0.0, -1.0]], np.float32)
    errors.update(np.full_like(truth, 11.0), truth)
    found = errors.compute()
    assert found["pixels"] == 1
    assert found["absRel"] == pytest.approx(0.1)
