import pytest
import torch

from dvps_ros.network.deformable import DeformableAttention, DeformableLayer, reference_points


def identity_attention(points=1, levels=1) -> DeformableAttention:
    """Two heads of two channels that read the values as they are, at the query's own place."""
    attention = DeformableAttention(4, heads=2, levels=levels, points=points)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        attention.value.weight.copy_(torch.eye(4))
        attention.output.weight.copy_(torch.eye(4))
    return attention


def test_reference_points_are_pixel_centres_rows_first():
    points = reference_points([(1, 2), (2, 1)], "cpu", torch.float64)
    assert points.tolist() == [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]


def test_without_offsets_every_pixel_reads_itself():
    sizes = [(3, 5)]
    value = torch.randn(2, 15, 4)
    read = identity_attention()(torch.zeros(2, 15, 4), value, reference_points(sizes, "cpu", torch.float32), sizes)
    torch.testing.assert_close(read, value)


def test_an_offset_of_one_reads_the_neighbour_and_zero_outside():
    sizes = [(2, 3)]
    attention = identity_attention()
    with torch.no_grad():
        attention.offsets.bias.copy_(torch.tensor([1.0, 0.0, 0.0, -1.0]))  # head 0 to the right, head 1 upwards
    value = torch.arange(24.0).view(1, 6, 4)
    read = attention(torch.zeros(1, 6, 4), value, reference_points(sizes, "cpu", torch.float32), sizes)
    grid, expected = value.view(2, 3, 4), torch.zeros(2, 3, 4)
    expected[:, :2, :2] = grid[:, 1:, :2]
    expected[1:, :, 2:] = grid[:1, :, 2:]
    torch.testing.assert_close(read.view(2, 3, 4), expected)


def test_half_an_offset_reads_the_mean_of_two():
    sizes = [(1, 2)]
    attention = identity_attention()
    with torch.no_grad():
        attention.offsets.bias.copy_(torch.tensor([0.5, 0.0, 0.5, 0.0]))
    value = torch.tensor([[[2.0] * 4, [6.0] * 4]])
    read = attention(torch.zeros(1, 2, 4), value, reference_points(sizes, "cpu", torch.float32), sizes)
    torch.testing.assert_close(read[0, :, 0], torch.tensor([4.0, 3.0]))  # beyond the border half of it is zero


def test_levels_are_averaged_at_the_same_relative_place():
    sizes = [(1, 1), (2, 2)]
    value = torch.tensor([10.0, 1, 2, 3, 4]).view(1, 5, 1).expand(1, 5, 4)
    read = identity_attention(levels=2)(
        torch.zeros(1, 5, 4), value, reference_points(sizes, "cpu", torch.float32), sizes
    )
    # the single pixel sees itself and, at its own centre, the mean of the four
    torch.testing.assert_close(read[0, 0, 0], torch.tensor((10 + 2.5) / 2))
    # at the centre of one of the four the single pixel has faded to 0.75 along either axis
    expected = torch.tensor([(10 * 0.75**2 + corner) / 2 for corner in (1, 2, 3, 4)])
    torch.testing.assert_close(read[0, 1:, 0], expected)


def test_heads_start_in_eight_directions_one_pixel_further_each_point():
    bias = DeformableAttention(64, heads=8, levels=3, points=4).offsets.bias.view(8, 3, 4, 2)
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(directions):
        for point in range(4):
            expected = torch.tensor(direction, dtype=torch.float32) * (point + 1)
            torch.testing.assert_close(bias[head, :, point], expected.expand(3, 2), atol=1e-5, rtol=0)


def test_gradients_are_those_of_the_function():
    torch.manual_seed(0)
    attention = DeformableAttention(4, heads=2, levels=2, points=2).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    sizes = [(2, 2), (3, 4)]
    query, value = torch.randn(1, 16, 4).double(), torch.randn(1, 16, 4).double()
    reference = reference_points(sizes, "cpu", torch.float64)
    assert torch.autograd.gradcheck(
        lambda q, v: attention(q, v, reference, sizes), (query.requires_grad_(), value.requires_grad_())
    )


def test_training_and_running_agree():
    layer = DeformableLayer(8, heads=2, levels=2, points=3, hidden=16)
    torch.nn.init.normal_(layer.attention.offsets.weight, std=0.5)
    sizes = [(2, 3), (4, 6)]
    tokens, position = torch.randn(2, 30, 8), torch.randn(1, 30, 8)
    reference = reference_points(sizes, "cpu", torch.float32)
    trained = layer(tokens, position, reference, sizes)
    before = tokens.clone()
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens, position, reference, sizes), trained)
    assert torch.equal(tokens, before)


def test_bf16_keeps_the_places():
    """A map wider than bf16 can count: its last pixels must still be told apart."""
    sizes = [(1, 600)]
    value = torch.arange(600.0).remainder(7).view(1, 600, 1).expand(1, 600, 4)
    reference = reference_points(sizes, "cpu", torch.float32)
    read = identity_attention().bfloat16()(torch.zeros(1, 600, 4).bfloat16(), value.bfloat16(), reference, sizes)
    assert read.dtype == torch.bfloat16
    torch.testing.assert_close(read.float(), value, atol=0.05, rtol=0)


def test_width_must_be_a_multiple_of_heads():
    with pytest.raises(ValueError, match="width 10 is not a multiple of heads 4"):
        DeformableAttention(10, heads=4, levels=3, points=4)
