"""Parameter groups and the schedule."""

import pytest
import torch
from torch import nn
from training_scenes import small_network

from dvps_ros.config import OptimizerConfig
from dvps_ros.network import build
from dvps_ros.training.optimizer import build_optimizer, learning_rate_factor, parameter_groups

CONFIG = OptimizerConfig(learning_rate=1e-3, backbone_factor=0.1, weight_decay=0.05, warmup_steps=10)


def rates(model):
    groups = parameter_groups(model, CONFIG)
    return {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_norms_and_embeddings_do_not_decay():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
            self.attention = nn.MultiheadAttention(8, 2)
            self.norm = nn.LayerNorm(8)
            self.query = nn.Embedding(4, 8)
            self.level = nn.Parameter(torch.zeros(3, 8))

    model = Model()
    got = rates(model)
    assert got[id(model.backbone[0].weight)] == pytest.approx((1e-4, 0.05))
    assert got[id(model.backbone[1].weight)] == pytest.approx((1e-4, 0.0))
    assert got[id(model.attention.in_proj_weight)] == pytest.approx((1e-3, 0.05))
    for still in (model.norm.weight, model.norm.bias, model.query.weight, model.level):
        assert got[id(still)] == pytest.approx((1e-3, 0.0))


def test_every_parameter_of_the_network_is_in_one_group():
    net = build(small_network())
    groups = parameter_groups(net, CONFIG)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())
    got = rates(net)
    assert {got[id(p)][0] for p in net.backbone.parameters()} == {1e-4}
    assert got[id(net.query_decoder.content)] == pytest.approx((1e-3, 0.0))


def test_frozen_parameters_are_left_out():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(model, CONFIG)] == [1]


def test_warm_up_then_polynomial_decay():
    assert learning_rate_factor(0, CONFIG, 100) == pytest.approx(0.1)
    assert learning_rate_factor(5, CONFIG, 100) == pytest.approx(0.55 * 0.95**0.9)
    assert learning_rate_factor(10, CONFIG, 100) == pytest.approx(0.9**0.9)
    assert learning_rate_factor(99, CONFIG, 100) == pytest.approx(0.01**0.9)
    assert learning_rate_factor(100, CONFIG, 100) == 0
    assert learning_rate_factor(0, OptimizerConfig(warmup_steps=0), 100) == 1


def test_the_schedule_moves_every_group():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    optimizer, schedule = build_optimizer(model, CONFIG, 100)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-4, 1e-4])
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3 * 0.9**0.9] * 2)
