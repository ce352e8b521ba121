"""Mask and depth losses against their formulas in NumPy."""

import numpy as np
import pytest
import torch

from dvps_ros.training import mask_losses
from dvps_ros.training.depth_losses import scale_invariant, scale_invariant_groups


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def logits_and_masks():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 50)) * 3, (rng.random((3, 50)) < 0.4).astype(float)


def test_mask_cross_entropy(logits_and_masks):
    x, t = logits_and_masks
    expected = -(t * np.log(sigmoid(x)) + (1 - t) * np.log(1 - sigmoid(x))).mean(1)
    got = mask_losses.mask_cross_entropy(torch.tensor(x), torch.tensor(t))
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_dice(logits_and_masks):
    x, t = logits_and_masks
    p = sigmoid(x)
    expected = 1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)
    np.testing.assert_allclose(mask_losses.dice(torch.tensor(x), torch.tensor(t)), expected, atol=1e-12)


def test_dice_of_a_perfect_mask_is_zero():
    t = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    assert mask_losses.dice((t - 0.5) * 1e4, t).item() == pytest.approx(0.0)


def test_no_object_weighs_less():
    rng = np.random.default_rng(1)
    x, classes = rng.normal(size=(2, 4, 6)), np.array([[0, 5, 5, 2], [5, 5, 4, 5]])
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    weight = np.where(classes == 5, 0.1, 1.0)
    picked = np.take_along_axis(log_p, classes[..., None], -1)[..., 0]
    total, weights = mask_losses.class_cross_entropy(torch.tensor(x), torch.tensor(classes), 0.1)
    assert total.item() == pytest.approx((-weight * picked).sum())
    assert weights.item() == pytest.approx(weight.sum())


def numpy_scale_invariant(pred, true, mask):
    values = []
    for p, t, m in zip(pred, true, mask, strict=True):
        m = m & (t > 0)
        if m.any():
            g = np.log(t[m]) - np.log(p[m])
            values.append(10 * np.sqrt((g**2).mean() - 0.85 * g.mean() ** 2 + 1e-6))
    return np.mean(values) if values else 0.0


@pytest.fixture
def depths():
    rng = np.random.default_rng(2)
    pred, true = rng.uniform(1, 80, (4, 6, 8)), rng.uniform(1, 80, (4, 6, 8))
    true[rng.random(true.shape) < 0.3] = 0
    mask = rng.random(true.shape) < 0.5
    mask[2] = False
    true[3] = 0
    return pred, true, mask


def test_scale_invariant(depths):
    got = scale_invariant(*map(torch.from_numpy, depths))
    assert got.item() == pytest.approx(numpy_scale_invariant(*depths), abs=1e-10)


def test_scale_invariant_of_the_truth_is_its_floor(depths):
    _, true, mask = map(torch.from_numpy, depths)
    assert scale_invariant(true.clamp_min(1e-3), true, mask).item() == pytest.approx(10 * 1e-3)


def test_scale_invariant_without_any_depth_is_zero_with_gradient():
    pred = torch.ones(2, 3, 3, requires_grad=True)
    loss = scale_invariant(pred, torch.zeros(2, 3, 3), torch.ones(2, 3, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert pred.grad.abs().sum() == 0


def test_scale_invariant_of_no_maps_is_zero():
    none = torch.zeros(0, 3, 3)
    assert scale_invariant(none, none, none.bool()).item() == 0


def test_scale_invariant_ignores_nan_outside_the_mask(depths):
    pred, true, mask = map(torch.from_numpy, depths)
    spoiled = torch.where(mask & (true > 0), pred, torch.nan).requires_grad_()
    loss = scale_invariant(spoiled, true, mask)
    loss.backward()
    assert loss.item() == pytest.approx(scale_invariant(pred, true, mask).item())
    assert spoiled.grad.isfinite().all()


def test_scale_invariant_of_a_zero_prediction_is_finite():
    pred = torch.zeros(1, 2, 2, requires_grad=True)
    loss = scale_invariant(pred, torch.full((1, 2, 2), 5.0), torch.ones(1, 2, 2).bool())
    loss.backward()
    assert loss.isfinite()
    assert pred.grad.isfinite().all()


def test_scale_invariant_gradient(depths):
    pred, true, mask = map(torch.from_numpy, depths)
    assert torch.autograd.gradcheck(lambda p: scale_invariant(p, true, mask), pred.requires_grad_())


def test_groups_of_several_layers_are_each_their_own():
    rng = np.random.default_rng(3)
    pred, true = torch.tensor(rng.uniform(1, 9, (2, 10))), torch.tensor(rng.uniform(1, 9, 10))
    group = torch.tensor([0, 0, 0, 2, 2, 2, 2, 0, 2, 2])
    values = scale_invariant_groups(pred, true, group, 3)
    for layer in range(2):
        for index in (0, 2):
            one = group == index
            alone = scale_invariant(pred[layer][one][None], true[one][None], torch.ones(1, int(one.sum())).bool())
            assert values[layer, index].item() == pytest.approx(alone.item())
    assert values[:, 1].tolist() == [0, 0]
