"""Costs pair by pair, and assignments against trying them all."""

import itertools

import numpy as np
import pytest
import torch

from dvps_ros.config import LossConfig
from dvps_ros.training.matcher import assign, cost


def test_cost_of_every_pair():
    rng = np.random.default_rng(0)
    class_logits, mask_logits = rng.normal(size=(2, 4, 6)), rng.normal(size=(2, 4, 30)) * 2
    classes, masks = np.array([1, 1, 4]), rng.random((3, 30)) < 0.5
    config = LossConfig(class_weight=2.0, mask_weight=5.0, dice_weight=3.0)
    got = cost(*map(torch.from_numpy, (class_logits, mask_logits, classes, masks)), config)
    for layer, query, segment in np.ndindex(2, 4, 3):
        e = np.exp(class_logits[layer, query])
        p = 1 / (1 + np.exp(-mask_logits[layer, query]))
        t = masks[segment]
        bce = -np.where(t, np.log(p), np.log(1 - p)).mean()
        dice = 1 - (2 * p[t].sum() + 1) / (p.sum() + t.sum() + 1)
        expected = 5 * bce + 3 * dice - 2 * e[classes[segment]] / e.sum()
        assert got[layer, query, segment].item() == pytest.approx(expected)


@pytest.mark.parametrize(("queries", "segments"), [(5, 3), (4, 4), (3, 5), (4, 0)])
def test_assignment_is_the_cheapest(queries, segments):
    table = np.random.default_rng(queries).normal(size=(2, queries, segments))
    rows, columns = assign(torch.from_numpy(table))
    assert rows.shape == columns.shape == (2, min(queries, segments))
    for layer in range(2):
        got = table[layer, rows[layer], columns[layer]].sum()
        assert len(set(rows[layer].tolist())) == len(set(columns[layer].tolist())) == min(queries, segments)
        wide = table[layer] if queries <= segments else table[layer].T
        every = itertools.permutations(range(wide.shape[1]), wide.shape[0])
        assert got == pytest.approx(min(sum(wide[i, j] for i, j in enumerate(p)) for p in every))


def test_costs_that_are_not_finite_are_avoided():
    table = torch.tensor([[[float("nan"), 1.0], [2.0, float("inf")]]])
    rows, columns = assign(table)
    assert dict(zip(rows[0].tolist(), columns[0].tolist(), strict=True)) == {0: 1, 1: 0}
