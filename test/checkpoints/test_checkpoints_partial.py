"""A network that starts from another one's weights, as far as they fit."""

from dataclasses import replace

import pytest
import torch
from test_checkpoints_folder import SMALL

from dvps_ros.checkpoints import take_over
from dvps_ros.network import build


def test_what_fits_by_name_and_shape_is_taken_over():
    torch.manual_seed(5)
    source, net = build(SMALL), build(replace(SMALL, depth_decoder="shared", queries=SMALL.queries + 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    done = take_over(net, source.state_dict())
    after, given = net.state_dict(), source.state_dict()
    assert set(done.kept) == {  # one row for each query
        "query_decoder.content",
        "query_decoder.position",
        "geometry.decoder.latents",
        "geometry.decoder.position",
    }
    assert set(done.taken) | set(done.kept) == set(after)
    assert all(torch.equal(after[name], given[name]) for name in done.taken)
    assert all(torch.equal(after[name], before[name]) for name in done.kept)
    assert set(done.unused) == set(given) - set(after)
    assert all(name.startswith("depth_decoder.") for name in done.unused)
    assert str(done) == (
        f"copied {len(after) - 4} of {len(after)} tensors; "
        "missing or of another shape: query_decoder 2, geometry 2; "
        f"not used: depth_decoder {len(done.unused)}"
    )


def test_a_network_of_the_same_sizes_is_taken_over_whole():
    source, net = build(SMALL), build(SMALL)
    done = take_over(net, source.state_dict())
    assert str(done) == f"copied {len(source.state_dict())} of {len(source.state_dict())} tensors"
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in net.state_dict().items())


def test_nothing_that_fits_is_an_error():
    with pytest.raises(ValueError, match="no weight fits the configured network"):
        take_over(build(SMALL), {"conv1.weight": torch.zeros(3)})
