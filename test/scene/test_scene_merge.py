"""Merging against a slow, literal reading of the rules, and by hand on small cases."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dvps_ros.config import MergeConfig
from dvps_ros.labels import CITYSCAPES, SEMKITTI, VOID
from dvps_ros.scene.merge import grouped_median, merge
from dvps_ros.structures import Prediction

ROAD, SKY, PERSON, CAR = (CITYSCAPES.index(name) for name in ("road", "sky", "person", "car"))
MAX_DEPTH = 80.0


def class_logits(classes, confidence=10.0):
    """(1, Q, 20) logits; None is "no object"."""
    logits = torch.zeros(1, len(classes), len(CITYSCAPES) + 1)
    for query, class_id in enumerate(classes):
        logits[0, query, len(CITYSCAPES) if class_id is None else class_id] = confidence
    return logits


def hand_made(classes, masks, depths, backup=40.0, confidence=10.0):
    """A prediction whose query q has mask logits ``masks[q]`` (h, w) and constant depth ``depths[q]``."""
    masks = torch.stack(masks).float()
    count = len(classes)

    def embedding(metres):
        share = torch.as_tensor(metres, dtype=torch.float32) / MAX_DEPTH
        return torch.logit(share)[None, :, None]  # one depth channel, which is 1 everywhere

    return Prediction(
        class_logits(classes, confidence),
        torch.eye(count)[None],
        masks[None],
        embedding(depths),
        embedding([backup]),
        torch.ones(1, 1, *masks.shape[1:]),
        MAX_DEPTH,
    )


def box(h, w, top, left, bottom, right, inside=12.0):
    mask = torch.full((h, w), -12.0)
    mask[top:bottom, left:right] = inside
    return mask


def random_prediction(h=10, w=14, queries=12, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    logits = normal(2, queries, len(CITYSCAPES) + 1)
    logits.scatter_add_(2, torch.randint(0, 20, (2, queries, 1), generator=generator), torch.full((2, queries, 1), 8.0))
    smooth = F.interpolate(normal(2, 8, 3, 4), (h, w), mode="bicubic")
    depth = F.interpolate(normal(2, 8, 3, 4), (h, w), mode="bicubic")
    return Prediction(logits, 3 * normal(2, queries, 8), smooth, normal(2, queries, 8), normal(2, 1, 8), depth, 80.0)


def literal_merge(prediction, index, size, labels, config):
    """Section 2 of the method read sentence by sentence, with loops over queries."""
    up = lambda maps: F.interpolate(maps, scale_factor=4, mode="bilinear")[index, :, : size[0], : size[1]]  # noqa: E731
    masks, depths, backup = (up(x) for x in (prediction.mask_logits, prediction.depth, prediction.backup_depth))
    scores, classes = prediction.class_logits[index].softmax(-1).max(-1)
    kept = [q for q in range(len(scores)) if classes[q] < len(labels) and scores[q] > config.score_threshold]
    panoptic, depth = torch.full(size, VOID, dtype=torch.int32), backup[0].clone()
    if not kept:
        return panoptic, depth
    winner = torch.tensor(kept)[torch.stack([scores[q] * masks[q].sigmoid() for q in kept]).argmax(0)]
    counts = {}
    for q in sorted(kept, key=lambda q: -scores[q]):
        mask = masks[q].sigmoid() >= config.mask_threshold
        own = mask & (winner == q)
        class_id = int(classes[q])
        if own.sum() == 0 or own.sum() / mask.sum() < config.overlap_threshold:
            continue
        counts[class_id] = counts.get(class_id, 0) + 1
        instance = counts[class_id] if labels.is_thing[class_id] else 0
        panoptic[own] = class_id * 1000 + instance
        depth[own] = depths[q][own]
    return panoptic, depth


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("overlap_threshold", [0.0, 0.2, 0.4])
def test_agrees_with_a_literal_reading(seed, overlap_threshold):
    prediction, size = random_prediction(seed=seed), (37, 50)
    config = MergeConfig(score_threshold=0.3, overlap_threshold=overlap_threshold)
    found = 0
    for index in (0, 1):
        scene = merge(prediction, index, size, None, CITYSCAPES, config)
        panoptic, depth = literal_merge(prediction, index, size, CITYSCAPES, config)
        assert torch.equal(scene.panoptic, panoptic)
        assert torch.allclose(scene.depth, depth, atol=1e-3)
        found += len(scene.segments)
    assert found >= 2


def test_the_score_of_a_segment_is_the_mean_over_its_pixels():
    """Two parts of the road, the left one twice as large and surer, become one segment; the car stays apart."""
    h, w = 6, 12
    masks = [box(h, w, 0, 0, 4, 8), box(h, w, 0, 8, 4, 12), box(h, w, 4, 0, 6, 12)]
    prediction = hand_made([ROAD, ROAD, CAR], masks, [10.0, 10.0, 20.0])
    logits = prediction.class_logits.clone()
    logits[0, :, :][logits[0] > 0] = torch.tensor([6.0, 4.0, 5.0])
    prediction = replace(prediction, class_logits=logits)
    left, right, car = logits[0].softmax(-1).amax(-1).tolist()
    scene = merge(prediction, 0, (4 * h, 4 * w), None, CITYSCAPES, MergeConfig(score_threshold=0.5))
    road, car_segment = scene.segments
    assert road.class_id == ROAD
    assert road.area == pytest.approx(16 * 48, abs=8)  # borders fall on either side
    assert road.score == pytest.approx((2 * left + right) / 3, abs=2e-3)
    assert car_segment.score == pytest.approx(car, abs=1e-6)
    assert max(left, right) - min(left, right) > 0.05


def test_each_segment_has_the_embedding_of_its_query():
    """Segments are in the order of their ids, queries in any."""
    h, w = 6, 12
    masks = [box(h, w, 0, 0, 2, 12), box(h, w, 2, 0, 4, 12), box(h, w, 4, 0, 6, 12)]
    scene = merge(hand_made([CAR, ROAD, SKY], masks, [20.0, 10.0, 70.0]), 0, (24, 48), None, CITYSCAPES, MergeConfig())
    assert [s.class_id for s in scene.segments] == [ROAD, SKY, CAR]
    assert torch.equal(scene.embeddings, torch.eye(3)[[1, 2, 0]])


def test_the_last_class_of_the_table_may_be_likeliest_too():
    """Without a backup query, depth outside all segments is that of the likeliest query, kept or not."""
    h, w = 4, 8
    last, masks = len(CITYSCAPES) - 1, [box(h, w, 0, 0, 4, 8), box(h, w, 0, 0, 4, 8)]
    prediction = hand_made([ROAD, last], masks, [10.0, 30.0])
    logits = prediction.class_logits.clone()
    logits[0, 0, ROAD] = 5.0
    scene = merge(
        replace(prediction, class_logits=logits), 0, (16, 32), None, CITYSCAPES, MergeConfig(1.0, backup=False)
    )
    assert scene.depth.unique().tolist() == pytest.approx([30.0], abs=1e-3)


def test_the_share_of_a_mask_that_spans_many_blocks():
    """A road over the whole picture, of which a surer building takes the right half: half of the mask is its own."""
    h, w = 96, 160
    masks = [box(h, w, 0, 0, h, w), box(h, w, 0, w // 2, h, w)]
    prediction = hand_made([ROAD, CITYSCAPES.index("building")], masks, [10.0, 20.0])
    logits = prediction.class_logits.clone()
    logits[0, 0, ROAD] = 5.0
    prediction = replace(prediction, class_logits=logits)
    for threshold, classes in ((0.49, [ROAD, CITYSCAPES.index("building")]), (0.51, [CITYSCAPES.index("building")])):
        scene = merge(prediction, 0, (4 * h, 4 * w), None, CITYSCAPES, MergeConfig(0.5, overlap_threshold=threshold))
        assert [s.class_id for s in scene.segments] == classes


def test_uncertainty_is_that_of_each_pixels_own_query():
    h, w = 8, 12
    prediction = hand_made([ROAD, CAR], [box(h, w, 4, 0, 8, 12), box(h, w, 0, 0, 4, 4)], [10.0, 20.0], backup=40.0)
    assert merge(prediction, 0, (32, 48), None, CITYSCAPES, MergeConfig()).depth_std is None
    told = replace(
        prediction,
        spread_embedding=torch.tensor([[[0.0], [3.0]]]),
        backup_spread_embedding=torch.tensor([[[-50.0]]]),
    )
    scene = merge(told, 0, (32, 48), (64, 96), CITYSCAPES, MergeConfig(), depth_scale=2.0)
    share = [float(told.deviation[0, 0, 0, 0]), float(told.deviation[0, 1, 0, 0]), 1.1479 * 0.002]
    for row, column, depth, which in ((60, 50, 20.0, 0), (4, 4, 40.0, 1), (4, 80, 80.0, 2)):
        assert float(scene.depth[row, column]) == pytest.approx(depth, rel=1e-3)
        assert float(scene.depth_std[row, column]) == pytest.approx(depth * share[which], rel=1e-3)
    assert scene.depth_std.shape == scene.depth.shape
    calibrated = merge(told, 0, (32, 48), (64, 96), CITYSCAPES, replace(MergeConfig(), deviation_scale=1.5), 2.0)
    assert torch.allclose(calibrated.depth_std, 1.5 * scene.depth_std)
    assert torch.equal(calibrated.depth, scene.depth)


def test_hand_made_scene():
    h, w = 8, 12
    prediction = hand_made(
        [ROAD, CAR, CAR, None],
        [box(h, w, 4, 0, 8, 12), box(h, w, 0, 0, 3, 4), box(h, w, 0, 6, 3, 12), box(h, w, 0, 0, 8, 12)],
        [10.0, 20.0, 30.0, 5.0],
    )
    scene = merge(prediction, 0, (32, 48), None, CITYSCAPES, MergeConfig())
    assert scene.panoptic.dtype == torch.int32
    assert scene.depth.dtype == scene.confidence.dtype == torch.float32
    assert [s.id for s in scene.segments] == [ROAD * 1000, CAR * 1000 + 1, CAR * 1000 + 2]
    assert [round(s.median_depth, 3) for s in scene.segments] == [10, 20, 30]
    for segment in scene.segments:
        own = scene.panoptic == segment.id
        assert segment.area == own.sum()
        assert torch.allclose(scene.depth[own], torch.tensor(segment.median_depth))
    void = scene.panoptic == VOID
    assert void.any()
    assert torch.allclose(scene.depth[void], torch.tensor(40.0))
    assert (scene.confidence[void] == 0).all()
    assert (scene.confidence[~void] >= 0.5 * 0.8).all()
    assert scene.confidence.max() <= 1


def test_without_the_backup_query_the_likeliest_query_tells_the_depth():
    h, w = 8, 12
    prediction = hand_made(
        [ROAD, CAR, None],
        [box(h, w, 0, 0, 8, 4), box(h, w, 0, 4, 8, 8), box(h, w, 0, 8, 8, 12)],
        [10.0, 20.0, 30.0],
    )
    config = MergeConfig(score_threshold=1.0, backup=False)  # nothing is kept
    depth = merge(prediction, 0, (32, 48), None, CITYSCAPES, config).depth
    assert torch.allclose(depth[:, 2:14], torch.tensor(10.0))
    assert torch.allclose(depth[:, 18:30], torch.tensor(20.0))


def test_stuff_of_one_class_is_one_segment_with_its_own_depths():
    h, w = 4, 8
    prediction = hand_made([ROAD, ROAD], [box(h, w, 0, 0, 4, 4), box(h, w, 0, 4, 4, 8)], [10.0, 30.0])
    scene = merge(prediction, 0, (16, 32), None, CITYSCAPES, MergeConfig())
    (segment,) = scene.segments
    assert (segment.id, segment.instance, segment.area) == (ROAD * 1000, 0, 16 * 32)
    assert math.isclose(scene.depth[8, 2], 10, rel_tol=1e-4)
    assert math.isclose(scene.depth[8, 29], 30, rel_tol=1e-4)


def test_a_segment_that_loses_most_of_its_mask_is_dropped():
    h, w = 4, 10
    whole, part = box(h, w, 0, 0, 4, 10, inside=20.0), box(h, w, 0, 0, 4, 8, inside=3.0)
    prediction = hand_made([ROAD, CAR], [whole, part], [10.0, 20.0])
    scene = merge(prediction, 0, (16, 40), None, CITYSCAPES, MergeConfig())
    assert [s.class_id for s in scene.segments] == [ROAD]
    half = hand_made([CAR, ROAD], [box(h, w, 0, 0, 4, 5, inside=20.0), whole - 10], [20.0, 10.0])
    assert len(merge(half, 0, (16, 40), None, CITYSCAPES, MergeConfig(overlap_threshold=0.4)).segments) == 2
    dropped = merge(half, 0, (16, 40), None, CITYSCAPES, MergeConfig(overlap_threshold=0.6))
    assert [s.class_id for s in dropped.segments] == [CAR]
    assert dropped.panoptic[0, -1] == VOID
    assert math.isclose(dropped.depth[0, -1], 40, rel_tol=1e-4)


def test_nothing_kept_leaves_the_backup_depth():
    prediction = hand_made([None, CAR], [box(4, 4, 0, 0, 4, 4)] * 2, [10.0, 10.0], confidence=1.0)
    scene = merge(prediction, 0, (15, 13), (30, 26), CITYSCAPES, MergeConfig(), depth_scale=0.5)
    assert scene.segments == ()
    assert (scene.panoptic == VOID).all()
    assert scene.panoptic.shape == (30, 26)
    assert torch.allclose(scene.depth, torch.tensor(20.0))


def test_all_kept_queries_may_lose_their_pixels():
    everywhere = torch.full((4, 4), -3.0)
    prediction = hand_made([CAR, ROAD], [everywhere, everywhere], [10.0, 20.0])
    scene = merge(prediction, 0, (16, 16), None, CITYSCAPES, MergeConfig())
    assert scene.segments == ()
    assert (scene.panoptic == VOID).all()


def test_median_of_a_large_picture():
    h, w = 8, 8
    prediction = hand_made([ROAD, CAR], [box(h, w, 0, 0, 8, 8, 0.5), box(h, w, 0, 0, 3, 3, 20.0)], [10.0, 60.0])
    scene = merge(prediction, 0, (32, 32), (800, 800), CITYSCAPES, MergeConfig())
    assert [round(s.median_depth) for s in scene.segments] == [10, 60]
    assert [s.area for s in scene.segments] == [int((scene.panoptic == s.id).sum()) for s in scene.segments]


def test_output_size_keeps_borders_sharp_and_areas_true():
    h, w = 8, 8
    prediction = hand_made([ROAD, CAR], [box(h, w, 0, 0, 8, 4), box(h, w, 0, 4, 8, 8)], [10.0, 60.0])
    for output in ((64, 96), (17, 11), (32, 32)):
        scene = merge(prediction, 0, (32, 32), output, CITYSCAPES, MergeConfig())
        assert scene.panoptic.shape == scene.depth.shape == scene.confidence.shape == output
        # No pixel between the two: depth is each segment's own, up to its border.
        assert set(scene.depth.round().unique().tolist()) <= {10.0, 40.0, 60.0}
        assert {s.id: s.area for s in scene.segments} == {
            int(i): int(n) for i, n in zip(*scene.panoptic.unique(return_counts=True), strict=True) if i != VOID
        }


def test_depth_at_another_size_follows_the_network_map():
    prediction = random_prediction(h=8, w=8, seed=3)
    config = MergeConfig(score_threshold=1.0)  # nothing kept: the backup map alone, smooth everywhere
    doubled = merge(prediction, 0, (32, 32), (64, 64), CITYSCAPES, config).depth
    plain = merge(prediction, 0, (32, 32), None, CITYSCAPES, config).depth
    resized = F.interpolate(plain[None, None], (64, 64), mode="bilinear")[0, 0]
    assert (doubled - resized).abs().max() < 0.05 * plain.max()
    assert torch.allclose(F.avg_pool2d(doubled[None], 2)[0][4:-4, 4:-4], plain[4:-4, 4:-4], atol=0.5)


def test_scale_and_unknown_camera():
    prediction = hand_made([CAR], [box(4, 4, 0, 0, 4, 4)], [10.0])
    scaled = merge(prediction, 0, (16, 16), None, CITYSCAPES, MergeConfig(), depth_scale=1.5)
    assert math.isclose(scaled.segments[0].median_depth, 15, rel_tol=1e-4)
    relative = merge(prediction, 0, (16, 16), None, CITYSCAPES, MergeConfig(), metric=False)
    assert not relative.metric
    assert math.isnan(relative.segments[0].median_depth)
    assert math.isclose(relative.depth[0, 0], 10, rel_tol=1e-4)


def test_another_class_table_is_refused():
    prediction = hand_made([CAR], [box(4, 4, 0, 0, 4, 4)], [10.0])
    short = type(SEMKITTI)("short", SEMKITTI.names[:3], SEMKITTI.is_thing[:3], SEMKITTI.colors[:3])
    with pytest.raises(ValueError, match="19 classes, short has 3"):
        merge(prediction, 0, (16, 16), None, short, MergeConfig())


def test_grouped_median_is_torch_median():
    generator = torch.Generator().manual_seed(1)
    values, group = torch.rand(1001, generator=generator) * 80, torch.randint(0, 7, (1001,), generator=generator)
    expected = torch.stack([values[group == g].median() for g in range(7)])
    assert torch.equal(grouped_median(values, group, torch.bincount(group)), expected)


def test_far_parts_of_a_thing_are_things_with_its_class_score_embedding_and_depth():
    two = torch.maximum(box(16, 32, 2, 2, 8, 8), box(16, 32, 2, 20, 14, 30))
    prediction = hand_made([CAR, ROAD], [two, -two], [10.0, 20.0])
    apart = replace(MergeConfig(), split_gap=16)
    one, split = (merge(prediction, 0, (64, 128), None, CITYSCAPES, config) for config in (MergeConfig(), apart))
    assert [s.id for s in one.segments] == [ROAD * 1000, CAR * 1000 + 1]
    assert [s.id for s in split.segments] == [ROAD * 1000, CAR * 1000 + 1, CAR * 1000 + 2]
    larger, smaller = split.segments[1:]
    assert larger.area > smaller.area
    assert larger.area + smaller.area == one.segments[1].area
    assert larger.score == smaller.score == one.segments[1].score
    assert larger.median_depth == smaller.median_depth == pytest.approx(10, rel=1e-4)
    assert torch.equal(split.depth, one.depth)
    assert torch.equal(split.confidence, one.confidence)
    assert torch.equal(split.embeddings, one.embeddings[[0, 1, 1]])
    assert (split.panoptic[:, 64:] == CAR * 1000 + 1).sum() == larger.area


def test_narrow_things_of_a_large_picture_have_a_median_depth():
    """Samples of many pixels must not lie in the same few columns."""
    height, width, sky = 256, 512, 60
    ragged = torch.rand(sky, width // 4, generator=torch.Generator().manual_seed(0)) < 0.5
    masks = torch.full((2, height, width), 12.0)
    masks[:, :sky, : width // 4][:, ragged] = -12
    for left in range(1, 500, 40):
        masks[1] = -12.0
        masks[1, 70:200, left : left + 2] = 12.0
        masks[0, 70:200, left : left + 2] = -12.0
        prediction = hand_made([ROAD, CAR], list(masks), [10.0, 20.0])
        scene = merge(prediction, 0, (4 * height, 4 * width), None, CITYSCAPES, MergeConfig())
        assert [s.median_depth for s in scene.segments] == pytest.approx([10, 20], rel=1e-3)
        masks[0, 70:200, left : left + 2] = 12.0
