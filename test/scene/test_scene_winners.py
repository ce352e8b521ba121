"""Merging block by block against the plain form, which has every query's map at full size."""

import math

import pytest
import torch
from test_scene_merge import class_logits, random_prediction
from torch.nn import functional as F

from dvps_ros.config import MergeConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.scene import winners
from dvps_ros.scene.merge import merge
from dvps_ros.scene.resampling import Nearest
from dvps_ros.structures import Prediction


def upsampled(maps, size):
    return F.interpolate(maps[None].float(), scale_factor=4, mode="bilinear")[0, :, : size[0], : size[1]]


def plain_winners(mask_logits, scores, size, config):
    """``win_pixels`` without blocks: (N, H, W) all at once."""
    masks = upsampled(mask_logits, size).sigmoid()
    best, winner = (masks * scores[:, None, None]).max(0)
    probability = best / scores[winner]
    inside = probability >= config.mask_threshold
    won = torch.bincount(winner[inside], minlength=len(scores))
    stays = (won > 0) & (won >= config.overlap_threshold * (masks >= config.mask_threshold).flatten(1).sum(1))
    inside &= stays[winner]
    return (
        winner.where(inside, len(scores)),
        probability.where(inside, 0),
        torch.bincount(winner[inside], minlength=len(scores)),
    )


def street_like(seed, queries=24, h=40, w=70):
    """(N, h, w) mask logits: a few large regions, many that nearly nobody sees, and blobs; (N,) scores."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(queries, 4, 6, generator=generator)
    masks = 6 * F.interpolate(coarse[None], (h, w), mode="bicubic")[0] - 2
    masks[queries // 2 :] -= 8  # their masks are weak everywhere, yet may win from a weaker score
    return masks, torch.rand(queries, generator=generator).sort(descending=True).values


@pytest.mark.parametrize("mask_threshold", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("size", "cells"), [((160, 280), (40, 70)), ((37, 50), (16, 16)), ((65, 129), (24, 40))])
def test_blocks_give_what_the_whole_gives(mask_threshold, size, cells):
    config = MergeConfig(mask_threshold=mask_threshold, overlap_threshold=0.3 if mask_threshold else 0.0)
    for seed in range(4):
        masks, scores = street_like(seed, h=cells[0], w=cells[1])
        winner, probability, pixels = winners.win_pixels(masks, scores, size, config)
        expected, likely, owned = plain_winners(masks, scores, size, config)
        assert torch.equal(winner, expected)
        assert torch.equal(pixels, owned)
        torch.testing.assert_close(probability, likely, rtol=1e-6, atol=1e-7)
        assert len(winner.unique()) > 2


def padded_candidates(masks, scores):
    return winners._candidates(F.pad(masks[None], (1, 1, 1, 1), mode="replicate")[0], scores, 0.5)[0]


def test_a_block_has_fewer_than_two_candidates_in_the_mean():
    masks, scores = street_like(0)
    masks[4:], scores = masks[4:] - 12, 0.5 + scores / 2
    pairs = padded_candidates(masks, scores)
    assert len(pairs.block) < 2 * 20 * 35 < 0.1 * len(scores) * 20 * 35


@pytest.mark.parametrize("mask_threshold", [0.5, 1.0])
@pytest.mark.parametrize("offset", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("queries", [1, 24])
def test_nobody_and_everybody_may_win(queries, offset, mask_threshold):
    """With -30 no query is a candidate anywhere, with 30 all cover all."""
    config = MergeConfig(mask_threshold=mask_threshold, overlap_threshold=0.3)
    masks, scores = street_like(3, queries=max(queries, 2))
    masks, scores = masks[:queries] + offset, scores[:queries]
    found, expected = (form(masks, scores, (157, 279), config) for form in (winners.win_pixels, plain_winners))
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=1e-7)
    if offset < 0:
        assert (found[0] == queries).all()


def test_many_candidates_are_compared_in_parts(monkeypatch):
    masks, scores = street_like(2)
    whole = winners.win_pixels(masks, scores, (160, 280), MergeConfig())
    split = winners._Pairs.split
    monkeypatch.setattr(winners._Pairs, "split", lambda pairs, _: split(pairs, 50))
    assert all(map(torch.equal, winners.win_pixels(masks, scores, (160, 280), MergeConfig()), whole))


def test_the_arithmetic_of_training_changes_nothing():
    """Validation merges under autocast, where matrix products would be bf16."""
    masks, scores = street_like(1)
    expected = winners.win_pixels(masks, scores, (157, 279), MergeConfig())
    with torch.autocast("cpu", torch.bfloat16):
        found = winners.win_pixels(masks, scores, (157, 279), MergeConfig())
    assert all(map(torch.equal, found, expected))


def test_values_that_are_not_finite_spoil_no_others():
    masks, scores = street_like(1)
    masks[:4, 10, 20] = math.inf
    masks[4, 12, 30] = -math.inf
    expected = winners.win_pixels(masks.clamp(-1e3, 1e3), scores, (160, 280), MergeConfig())
    assert all(map(torch.equal, winners.win_pixels(masks, scores, (160, 280), MergeConfig()), expected))
    masks[0, 10, 20] = math.nan
    winner, probability, _ = winners.win_pixels(masks, scores, (160, 280), MergeConfig())
    assert probability.isfinite().all()
    far = torch.ones_like(winner, dtype=torch.bool)
    far[24:64, 64:104] = False
    assert torch.equal(winner[far], expected[0][far])


def test_both_forms_agree():
    """Block by block, as on a CPU, and all at once, as on CUDA."""
    masks, scores = street_like(1)
    winner, best, own_mask = winners._compare_blocks(masks, scores, (157, 279), 0.5)
    expected, largest, pixels = winners._compare_all(masks, scores, (157, 279), 0.5)
    reached = largest >= 0.5 * scores[expected]
    assert torch.equal(winner[reached], expected[reached])
    torch.testing.assert_close(best[reached], largest[reached], rtol=1e-6, atol=1e-7)
    assert torch.equal(own_mask, pixels)


def plain_merge(prediction, size, output, extent, config):
    """Panoptic, depth and confidence of image 0 with nothing saved: every map whole, then one picked per pixel."""
    scores, classes = prediction.class_logits[0].softmax(-1).max(-1)
    kept = [q for q in scores.argsort(descending=True, stable=True) if classes[q] < 19]
    kept = torch.tensor([q for q in kept if scores[q] > config.score_threshold])
    winner, probability, _ = plain_winners(prediction.mask_logits[0, kept], scores[kept], size, config)
    at = [
        ((torch.arange(n) + 0.5) * (e / n)).long().clamp(max=s - 1)
        for n, e, s in zip(output, extent, size, strict=True)
    ]
    winner, probability = (x[at[0][:, None], at[1]] for x in (winner, probability))
    ids, numbers = torch.full((len(kept) + 1,), VOID), {}
    for index, class_id in enumerate(classes[kept].tolist()):
        if (winner == index).any():
            numbers[class_id] = numbers.get(class_id, 0) + 1
        ids[index] = class_id * 1000 + numbers.get(class_id, 0) * CITYSCAPES.is_thing[class_id]
    maps = torch.cat([prediction.depth[0, kept], prediction.backup_depth[0]])
    rows, columns = (
        ((torch.arange(n) + 0.5) * (e / n) / 4 - 0.5).clamp(0, c - 1)
        for n, e, c in zip(output, extent, maps.shape[1:], strict=True)
    )
    low, left = rows.floor().long(), columns.floor().long()
    down, right = ((x + 1).clamp(max=n - 1) for x, n in zip((low, left), maps.shape[1:], strict=True))
    y, x = (rows - low)[:, None], (columns - left)[None]
    depth = sum(
        maps[winner, r[:, None], c[None]] * weight
        for r, c, weight in (
            (low, left, (1 - y) * (1 - x)),
            (low, right, (1 - y) * x),
            (down, left, y * (1 - x)),
            (down, right, y * x),
        )
    )
    return ids[winner].int(), depth, torch.cat([scores[kept], torch.zeros(1)])[winner] * probability


@pytest.mark.parametrize(
    ("output", "extent"), [((37, 50), (37.0, 50.0)), ((101, 133), (37.6, 50.9)), ((20, 33), (37.0, 50.5))]
)
def test_scenes_of_any_size_are_those_of_the_plain_form(output, extent):
    config = MergeConfig(score_threshold=0.3, overlap_threshold=0.2)
    found = 0
    for seed in range(4):
        prediction = random_prediction(seed=seed)
        scene = merge(prediction, 0, (37, 50), output, CITYSCAPES, config, extent=extent)
        panoptic, depth, confidence = plain_merge(prediction, (37, 50), output, extent, config)
        assert torch.equal(scene.panoptic, panoptic)
        torch.testing.assert_close(scene.depth, depth, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scene.confidence, confidence, rtol=1e-6, atol=1e-7)
        for segment in scene.segments:
            own = scene.panoptic == segment.id
            assert segment.area == own.sum()
            whole = float(depth[own].median())
            if output == (37, 50):
                assert segment.median_depth == pytest.approx(whole, rel=1e-5)
            else:  # one pixel of the output for each of the network's
                assert segment.median_depth == pytest.approx(whole, rel=0.1)
        found += len(scene.segments)
    assert found > 4


def test_the_parts_of_one_frame_are_small_beside_every_query_at_full_size(monkeypatch):
    """100 queries at 1/4 of 128 x 256, merged into 1080 x 1920: nothing of N x H x W, nor several maps of H x W."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    features = F.interpolate(normal(1, 8, 4, 6), (32, 64), mode="bicubic")
    prediction = Prediction(
        class_logits([q % 19 for q in range(100)]),
        normal(1, 100, 8),
        features,
        normal(1, 100, 8),
        normal(1, 1, 8),
        features,
        80.0,
    )
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        merge(prediction, 0, (128, 256), (1080, 1920), CITYSCAPES, MergeConfig())
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= 1080 * 1920 * 4
    assert math.prod((100, 128, 256, 4)) > 1.5 * largest


def test_nearest_reads_centres_and_counts_its_readers():
    nearest = Nearest.of((4, 3), (8, 2), (4.0, 3.0), torch.device("cpu"))
    assert nearest.rows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert nearest.columns.tolist() == [0, 2]
    assert nearest(torch.arange(12).view(4, 3))[2].tolist() == [3, 5]
    assert nearest.readers.tolist() == [2, 0, 2] * 4
    rows, columns = nearest.samples
    assert rows.tolist() == [1, 3, 5, 7]
    assert columns.tolist() == [0, 1]
    assert nearest.rows[rows].tolist() == [0, 1, 2, 3]
