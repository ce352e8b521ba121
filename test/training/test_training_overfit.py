"""The losses train the real network: two tiny frames are learned."""

import torch
from training_scenes import small_network, street_target

from dvps_ros.config import LossConfig, OptimizerConfig
from dvps_ros.network import build
from dvps_ros.training.criterion import Criterion
from dvps_ros.training.optimizer import build_optimizer


def test_two_frames_are_overfitted():
    torch.manual_seed(0)
    images, targets = zip(*(street_target(seed) for seed in (1, 2)), strict=True)
    net = build(small_network())
    criterion = Criterion(LossConfig(points=256), 19)
    optimizer, _ = build_optimizer(net, OptimizerConfig(learning_rate=1e-3, backbone_factor=1.0, warmup_steps=0), 1000)
    totals = []
    for _ in range(30):
        losses = criterion(net(torch.stack(images), layers=True), list(targets))
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        totals.append(total.item())
    assert sum(totals[-3:]) / 3 < sum(totals[:3]) / 3 / 2
