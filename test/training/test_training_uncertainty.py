"""The likelihood of depth: what it is, what it trains, and that it ends where the spread is true."""

import math
from dataclasses import replace

import pytest
import torch
from test_training_criterion import perfect_prediction
from training_scenes import street_target

from dvps_ros.config import LossConfig
from dvps_ros.structures import DEVIATION, log_spread
from dvps_ros.training.criterion import Criterion
from dvps_ros.training.depth_totals import negative_log_likelihood


def told(target, segments=0.3, backup=-0.4):
    """A prediction whose depth is off by noise, and whose one depth channel makes the spread too."""
    prediction = perfect_prediction(target)
    noise = 0.3 * torch.randn(prediction.depth_features.shape, generator=torch.Generator().manual_seed(4))
    count = len(target.classes)
    return replace(
        prediction,
        depth_features=prediction.depth_features + noise,
        spread_embedding=torch.linspace(0.1, segments, count)[None, :, None],
        backup_spread_embedding=torch.full((1, 1, 1), backup),
    )


def test_the_likelihood_is_that_of_a_laplace_distribution_of_ln_depth():
    pred, true = torch.tensor([2.0, 10.0, 40.0]), torch.tensor([2.2, 7.0, 40.0])
    spread = torch.tensor([-1.0, 0.5, 4.0])
    expected = -torch.distributions.Laplace(pred.log(), log_spread(spread).exp()).log_prob(true.log())
    torch.testing.assert_close(negative_log_likelihood(pred, spread, true), expected)


@pytest.mark.parametrize("detach", [True, False])
def test_it_trains_the_spread_and_only_if_wanted_the_depth(detach):
    pred, spread = torch.tensor([3.0], requires_grad=True), torch.tensor([0.2], requires_grad=True)
    negative_log_likelihood(pred, spread, torch.tensor([5.0]), detach).sum().backward()
    assert spread.grad.abs() > 0
    assert (pred.grad is None) is detach


def test_trained_it_holds_68_percent_of_the_errors():
    torch.manual_seed(1)
    pred = torch.full((20000,), 10.0)
    true = torch.distributions.Laplace(pred.log(), 0.08).sample().exp()
    spread = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([spread], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        negative_log_likelihood(pred, spread.expand(len(pred)), true).mean().backward()
        optimizer.step()
    scale = log_spread(spread.detach()).exp()
    assert float(scale) == pytest.approx(0.08, rel=0.05)
    deviation = DEVIATION * scale * pred
    assert float(((pred - true).abs() <= deviation).float().mean()) == pytest.approx(0.683, abs=0.02)


def by_hand(prediction, target):
    """Pixel by pixel: each segment's inside its true mask, the backup's everywhere; one mean over all of them."""
    true = target.depth[2::4, 2::4]
    maps = torch.cat([prediction.depth[0], prediction.backup_depth[0]])
    deviations = torch.cat([prediction.deviation[0], prediction.backup_deviation[0]])
    masks = torch.cat([target.masks[:, 2::4, 2::4], torch.ones_like(target.masks[:1, 2::4, 2::4])])
    values = []
    for depth, deviation, mask in zip(maps, deviations, masks, strict=True):
        for row, column in (mask & (true > 0)).nonzero().tolist():
            scale = float(deviation[row, column]) / DEVIATION
            error = abs(math.log(float(true[row, column])) - math.log(float(depth[row, column])))
            values.append(math.log(2 * scale) + error / scale)
    return sum(values) / len(values)


def test_the_criterion_takes_the_mean_over_all_pixels_with_depth():
    target = street_target(3)[1]
    prediction = told(target)
    got = Criterion(LossConfig(points=512, uncertainty_weight=0.7), 19)(prediction, [target])
    assert got["uncertainty"].item() == pytest.approx(0.7 * by_hand(prediction, target), rel=1e-4)


def test_without_depth_labels_nothing_is_trained_and_without_a_spread_there_is_no_such_loss():
    target = street_target(3)[1]
    criterion = Criterion(LossConfig(points=512), 19)
    assert criterion(told(target), [replace(target, has_depth=False)])["uncertainty"].item() == 0
    assert "uncertainty" not in criterion(perfect_prediction(target), [target])


def test_an_image_without_segments_trains_the_backups_spread():
    target = replace(street_target(3)[1], has_panoptic=False)
    prediction = told(target)
    prediction.backup_spread_embedding.requires_grad_()
    prediction.spread_embedding.requires_grad_()
    Criterion(LossConfig(points=512), 19)(prediction, [target])["uncertainty"].backward()
    assert prediction.backup_spread_embedding.grad.abs().sum() > 0
    assert prediction.spread_embedding.grad is None
