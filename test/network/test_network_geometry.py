"""Geometric query enhancement and the backup query against a slow, plain form: one query, one head, one key at a time.

Written from He et al., ICCV 2023, section 3.2 (and Cheng et al., CVPR 2022, for the masks), with NumPy alone.
"""

import numpy as np
import pytest
import torch

from dvps_ros.network.geometry import BackupQuery, GeometricDepth, GeometryDecoder
from dvps_ros.network.heads import DepthHead
from dvps_ros.network.pixel_decoder import PixelFeatures
from dvps_ros.network.query_decoder import SegmentQueries

WIDTH, HEADS, HIDDEN, QUERIES, LAYERS = 8, 2, 12, 3, 7
#: Keys of strides 32, 16, 8.
SIZES = (2, 6, 12)


def array(values):
    return values.detach().double().numpy()


def linear(module, x):
    return array(module.weight) @ x + array(module.bias)


def layer_norm(module, x):
    return (x - x.mean()) / np.sqrt(x.var() + module.eps) * array(module.weight) + array(module.bias)


def attended(attention, query, keys, values):
    """What one query (C,) reads of N keys and values, head by head."""
    size = WIDTH // HEADS
    q = linear(attention.query, query)
    read = np.zeros(WIDTH)
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        worth = np.array([q[part] @ linear(attention.key, key)[part] / np.sqrt(size) for key in keys])
        share = np.exp(worth - worth.max())
        share /= share.sum()
        for weight, value in zip(share, values, strict=True):
            read[part] += weight * linear(attention.value, value)[part]
    return linear(attention.output, read)


def feed_forward(block, x):
    return layer_norm(block.norm, x + linear(block.contract, np.maximum(linear(block.expand, x), 0)))


def enhanced(decoder, level_vectors, segments, query_position, tokens, codes, mask_levels):
    """D_i (Q, C) of every layer i; ``tokens``, ``codes`` (N_l, C) and ``mask_levels`` (C, N_l) of the levels."""
    latents, position = array(decoder.latents), array(decoder.position)
    result = []
    for i, layer in enumerate(decoder.layers):
        level = (0, 1, 2)[i % 3]  # strides 32, 16, 8 in turn
        values = [token + array(level_vectors)[level] for token in tokens[level]]
        keys = [value + code for value, code in zip(values, codes[level], strict=True)]
        read = []
        for q in range(QUERIES):
            inside = [segments[i].mask_embedding[q] @ mask_levels[level][:, n] >= 0 for n in range(len(keys))]
            seen = [n for n in range(len(keys)) if inside[n]] or list(range(len(keys)))
            found = attended(
                layer.encode.attention, latents[q] + position[q], [keys[n] for n in seen], [values[n] for n in seen]
            )
            read.append(layer_norm(layer.encode.norm, latents[q] + found))
        placed = [latent + place for latent, place in zip(read, position, strict=True)]
        latents = np.array(
            [
                layer_norm(layer.process.norm, read[q] + attended(layer.process.attention, placed[q], placed, read))
                for q in range(QUERIES)
            ]
        )
        placed = [latent + place for latent, place in zip(latents, position, strict=True)]
        decoded = []
        for q in range(QUERIES):
            query = segments[i].queries[q]
            found = attended(layer.decode.attention, query + query_position[q], placed, latents)
            decoded.append(feed_forward(layer.feedforward, layer_norm(layer.decode.norm, query + found)))
        result.append(np.array(decoded))
    return result


def backup_states(backup, level_vectors, tokens, codes):
    """The backup query (C,) after each layer: no mask, each level's own weights, its position on the query alone."""
    query, position = array(backup.content)[0], array(backup.position)[0]
    history = []
    for i in range(backup.steps):
        level = i % 3
        weights = backup.levels[level]
        values = [token + array(level_vectors)[level] for token in tokens[level]]
        keys = [value + code for value, code in zip(values, codes[level], strict=True)]
        found = attended(weights.cross.attention, query + position, keys, values)
        query = feed_forward(weights.feedforward, layer_norm(weights.cross.norm, query + found))
        history.append(query)
    return history


@pytest.fixture
def case():
    """A module with random weights and norms, and random inputs of two images, in float64."""
    torch.manual_seed(3)
    module = GeometricDepth(
        GeometryDecoder(QUERIES, WIDTH, HEADS, LAYERS, HIDDEN),
        BackupQuery(WIDTH, HEADS, LAYERS, HIDDEN),
        DepthHead(WIDTH),
        WIDTH,
    ).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    segments = [SegmentQueries(*torch.randn(2, 2, QUERIES, WIDTH).double()) for _ in range(LAYERS)]
    with torch.no_grad():
        segments[2].mask_embedding[0, 1] = 0  # on the edge: everything is inside
        segments[4].mask_embedding[1, 2] *= 50
    tokens = [torch.randn(2, size, WIDTH).double() for size in SIZES]
    codes = [torch.randn(1, size, WIDTH).double() for size in SIZES]
    masks = [torch.randn(2, WIDTH, size).double() for size in SIZES]
    masks[1][1] = -segments[4].mask_embedding[1, 2][:, None].abs() * segments[4].mask_embedding[1, 2].sign()[:, None]
    return module, segments, torch.randn(QUERIES, WIDTH).double(), tokens, codes, masks


def test_every_layer_equals_the_slow_form(case):
    module, segments, query_position, tokens, codes, masks = case
    pixels = PixelFeatures(tuple(tokens), torch.randn(2, WIDTH, 4, 4).double(), torch.randn(2, WIDTH, 4, 4).double())
    found = module(segments, query_position, pixels, codes, masks, every=True)
    for image in range(2):
        of_image = [SegmentQueries(array(s.queries[image]), array(s.mask_embedding[image])) for s in segments]
        inputs = [array(t[image]) for t in tokens], [array(c[0]) for c in codes]
        slow = enhanced(
            module.decoder, module.level, of_image, array(query_position), *inputs, [array(m[image]) for m in masks]
        )
        backups = backup_states(module.backup, module.level, *inputs)
        for i in range(LAYERS):
            expected = module.head(torch.from_numpy(slow[i])[None])[0]
            torch.testing.assert_close(found.segments[i][image], expected, rtol=0, atol=1e-10)
            expected = module.head(torch.from_numpy(backups[i])[None, None])[0]
            torch.testing.assert_close(found.backups[i][image], expected, rtol=0, atol=1e-10)


def test_the_last_layer_alone_is_the_last_of_all(case):
    module, segments, query_position, tokens, codes, masks = case
    pixels = PixelFeatures(tuple(tokens), torch.randn(2, WIDTH, 4, 4).double(), torch.randn(2, WIDTH, 4, 4).double())
    every, last = (module(segments, query_position, pixels, codes, masks, every=e) for e in (True, False))
    assert (len(every.segments), len(last.segments), len(last.backups)) == (LAYERS, 1, 1)
    torch.testing.assert_close(every.segments[-1], last.segments[0], rtol=0, atol=0)
    torch.testing.assert_close(every.backups[-1], last.backups[0], rtol=0, atol=0)
