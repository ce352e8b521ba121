import math

import pytest
import torch
from torch import nn

from dvps_ros.network.layers import MLP, Attention, AttentionBlock, FeedForward, sine_position


def packed(attention: Attention, width: int, heads: int) -> nn.MultiheadAttention:
    """PyTorch's attention with the same weights."""
    theirs = nn.MultiheadAttention(width, heads, batch_first=True)
    parts = (attention.query, attention.key, attention.value)
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([part.weight for part in parts]),
            "in_proj_bias": torch.cat([part.bias for part in parts]),
            "out_proj.weight": attention.output.weight,
            "out_proj.bias": attention.output.bias,
        }
    )
    return theirs


@pytest.mark.parametrize("masked", [False, True])
def test_attention_agrees_with_torch(masked):
    ours = Attention(24, 3)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    query, key, value = torch.randn(2, 5, 24), torch.randn(2, 9, 24), torch.randn(2, 9, 24)
    keep = torch.rand(2, 1, 5, 9) > 0.5
    keep[..., 0] = True
    blocked = ~keep.expand(2, 3, 5, 9).flatten(0, 1)
    expected, _ = packed(ours, 24, 3)(query, key, value, attn_mask=blocked if masked else None)
    torch.testing.assert_close(ours(query, key, value, keep if masked else None), expected, atol=1e-5, rtol=1e-5)


def test_blocked_keys_do_not_count():
    attention, query = Attention(8, 2), torch.randn(1, 3, 8)
    key, value = torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    keep = torch.tensor([True, False, True, True]).expand(1, 1, 3, 4)
    rest = [0, 2, 3]
    torch.testing.assert_close(attention(query, key, value, keep), attention(query, key[:, rest], value[:, rest]))


def test_a_memory_can_be_read_again():
    attention, key, value = Attention(8, 2), torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    memory = attention.memory(key, value)
    for _ in range(2):
        query = torch.randn(1, 3, 8)
        assert torch.equal(attention.read(query, memory), attention(query, key, value))


def test_low_precision_attention_on_a_cpu_is_that_of_float32():
    attention, query, memory = Attention(16, 2), torch.randn(1, 6, 16), torch.randn(1, 50, 16)
    expected = attention(query, memory, memory)
    with torch.autocast("cpu", torch.bfloat16):
        low = attention(query, memory, memory)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), expected, atol=0.02, rtol=0.05)


def test_positions_steer_queries_and_keys_but_are_no_content():
    block, queries, position = AttentionBlock(8, 2), torch.randn(1, 3, 8), torch.randn(3, 8)
    with_position = queries + position
    read, _ = packed(block.attention, 8, 2)(with_position, with_position, queries)
    torch.testing.assert_close(block.among(queries, position), block.norm(queries + read), atol=1e-5, rtol=1e-5)
    key, value = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    read, _ = packed(block.attention, 8, 2)(with_position, key, value)
    expected = block.norm(queries + read)
    torch.testing.assert_close(block(queries, position, key, value), expected, atol=1e-5, rtol=1e-5)


def test_first_weights_are_spread_as_mask2former_spreads_them():
    attention = Attention(64, 8)
    stacked = math.sqrt(6 / (64 + 3 * 64))  # Xavier of the (3C, C) matrix
    for part in (attention.query, attention.key, attention.value):
        assert 0.95 * stacked < part.weight.abs().max() <= stacked
        assert not part.bias.any()
    assert 0.95 * math.sqrt(6 / 128) < attention.output.weight.abs().max() <= math.sqrt(6 / 128)


def test_feedforward_and_mlp_by_hand():
    tokens = torch.randn(2, 3, 4)
    block = FeedForward(4, 6)
    hidden = torch.relu(tokens @ block.expand.weight.T + block.expand.bias)
    expected = block.norm(tokens + hidden @ block.contract.weight.T + block.contract.bias)
    torch.testing.assert_close(block(tokens), expected)
    mlp = MLP(4)
    expected = tokens
    for i, layer in enumerate(mlp.layers):
        expected = expected @ layer.weight.T + layer.bias
        expected = torch.relu(expected) if i < 2 else expected
    torch.testing.assert_close(mlp(tokens), expected)


def test_sine_position_by_hand():
    code = sine_position(2, 4, 8, dtype=torch.float64)
    assert code.shape == (1, 8, 8)
    y, x = 2 / (2 + 1e-6) * 2 * math.pi, 3 / (4 + 1e-6) * 2 * math.pi  # row 1, column 2, counted from one
    low = 10000**0.5
    expected = [math.sin(y), math.cos(y), math.sin(y / low), math.cos(y / low)]
    expected += [math.sin(x), math.cos(x), math.sin(x / low), math.cos(x / low)]
    torch.testing.assert_close(code[0, 1 * 4 + 2], torch.tensor(expected, dtype=torch.float64))


def test_sine_position_in_bf16_is_the_rounded_exact_one():
    exact = sine_position(3, 500, 16)
    assert torch.equal(sine_position(3, 500, 16, dtype=torch.bfloat16), exact.bfloat16())


def test_width_must_be_a_multiple_of_heads():
    with pytest.raises(ValueError, match="width 10 is not a multiple of heads 4"):
        Attention(10, 4)
