"""Batch norm shared by processes, here by one: torch's own in every value, gradient and statistic."""

import pytest
import torch
import torch.distributed
from torch import nn

from dvps_ros.training.batch_norm import SharedBatchNorm, share_batch_norms


@pytest.fixture
def alone(tmp_path):
    """A process group of this process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def run(net, steps=2):
    torch.manual_seed(1)
    for _ in range(steps):
        maps = torch.randn(3, 4, 5, 6, dtype=torch.float64) * 3 + 7
        loss = (net(maps) * torch.randn(3, 2, 5, 6)).sum()
        net.zero_grad()
        loss.backward()
    return loss


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2, momentum=0.3), nn.Sequential(nn.BatchNorm2d(2))).double()


def test_it_is_batch_norm(alone):
    plain, shared = make(), make()
    parameters = list(shared.parameters())
    share_batch_norms(shared)
    assert isinstance(shared[1], SharedBatchNorm)
    assert isinstance(shared[2][0], SharedBatchNorm)
    assert all(a is b for a, b in zip(parameters, shared.parameters(), strict=True))  # an optimizer may hold them
    assert plain.state_dict().keys() == shared.state_dict().keys()
    torch.testing.assert_close(run(shared), run(plain))
    for (name, value), other in zip(plain.state_dict().items(), shared.state_dict().values(), strict=True):
        torch.testing.assert_close(other, value, msg=name)
    for (name, p), q in zip(plain.named_parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, msg=name)
    maps = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(shared.eval()(maps), plain.eval()(maps))


def test_half_precision_is_normalized_in_full(alone):
    shared = nn.Sequential(nn.BatchNorm2d(3))
    share_batch_norms(shared)
    maps = torch.randn(4, 3, 8, 8) + 100
    got = shared(maps.bfloat16())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), nn.BatchNorm2d(3)(maps.bfloat16().float()), atol=0.02, rtol=0.02)
