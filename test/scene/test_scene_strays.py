"""Instance clouds and boxes with points that do not belong: trimmed, while what is thin but connected stays."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from dvps_ros.config import PerceptionConfig
from dvps_ros.scene.boxes import instances
from dvps_ros.scene.strays import sorted_in_groups
from dvps_ros.structures import SegmentCloud

SETTINGS = PerceptionConfig()


def cloud_of(things):
    """A cloud of (points, instance) pairs, shuffled, all of them cars."""
    xyz = torch.tensor(np.concatenate([points for points, _ in things]), dtype=torch.float32)
    instance = torch.cat([torch.full((len(points),), number, dtype=torch.int32) for points, number in things])
    order = torch.randperm(len(xyz), generator=torch.Generator().manual_seed(0))
    rows = len(xyz)
    label, score = torch.full((rows,), 13, dtype=torch.int32), torch.full((rows,), 0.9)
    return SegmentCloud(xyz, torch.zeros(rows, 3, dtype=torch.uint8), label, instance, score)[order]


def box(random, low, high, count):
    return random.uniform(low, high, (count, 3))


def car_from_behind(random, count=3000, side=0.08):
    """The rear of a car at 10 m, and the little that is seen of its side, 4.5 m long."""
    rear = random.uniform((-0.9, -0.4, 10.0), (0.9, 1.0, 10.4), (round(count * (1 - side)), 3))
    flank = random.uniform((0.8, -0.4, 10.0), (0.9, 1.0, 14.5), (round(count * side), 3))
    return np.concatenate([rear, flank])


def car_from_the_side(random, count=3000):
    return random.uniform((-2.2, -0.4, 10.0), (2.3, 1.0, 10.5), (count, 3))


def person(random, count=400):
    return random.uniform((3.0, -0.9, 15.0), (3.5, 0.9, 15.3), (count, 3))


def with_strays(points, random, kind, share=0.03):
    """Points of which a share lies elsewhere on their rays: on the wall behind, anywhere behind, or anywhere before."""
    points = points.copy()
    chosen = random.choice(len(points), round(share * len(points)), replace=False)
    z = points[chosen, 2]
    far = {
        "wall": np.full_like(z, 30.0) + random.normal(0, 0.1, z.shape),
        "behind": random.uniform(20, 80, z.shape),
        "before": random.uniform(1, 6, z.shape),
    }[kind]
    points[chosen] *= (far / z)[:, None]
    return points


@pytest.mark.parametrize("kind", ["wall", "behind", "before"])
@pytest.mark.parametrize("thing", [car_from_behind, car_from_the_side, person])
def test_boxes_with_three_percent_of_strays_are_those_of_the_truth(thing, kind):
    random = np.random.default_rng(1)
    points = thing(random)
    low, high = points.min(0), points.max(0)
    dirty = with_strays(points, random, kind)
    cloud, [found] = instances(cloud_of([(dirty, 7)]), SETTINGS.box_percentile, SETTINGS.instance_gap)
    start, end = np.array(found.center) - np.array(found.size) / 2, np.array(found.center) + np.array(found.size) / 2
    allowed = np.maximum(0.05 * (high - low), 0.03)
    if thing is car_from_behind:
        allowed[2] = 0.25 * (high - low)[2]  # an eighth of the box's points at each end are of its thin flank
    assert (np.abs(start - low) <= allowed).all(), (start, low)
    assert (np.abs(end - high) <= allowed).all(), (end, high)
    # the cloud itself is trimmed, too, and of little else than its strays
    assert (cloud.xyz[:, 2] < high[2] + 1).all()
    assert (cloud.xyz[:, 2] > low[2] - 1).all()
    assert len(cloud) >= 0.96 * len(points)
    # untrimmed, the box would reach to the strays
    [naive] = instances(cloud_of([(dirty, 7)]))[1]
    assert naive.size[2] > 2 * (high - low)[2]


def test_what_is_thin_but_connected_is_no_stray():
    random = np.random.default_rng(2)
    for side in (0.06, 0.1, 0.5):
        points = car_from_behind(random, side=side)
        cloud, _ = instances(cloud_of([(points, 1)]), gap=SETTINGS.instance_gap)
        assert len(cloud) == len(points), side
    pole = random.uniform((1.0, -3.0, 12.0), (1.1, 1.0, 12.1), (300, 3))
    assert len(instances(cloud_of([(pole, 1)]), gap=SETTINGS.instance_gap)[0]) == 300
    noisy = car_from_the_side(random)
    noisy[:, 2] += random.normal(0, 0.3, len(noisy))
    assert len(instances(cloud_of([(noisy, 1)]), gap=SETTINGS.instance_gap)[0]) == len(noisy)


def test_each_instance_is_trimmed_by_its_own_size_and_ranges_fit_the_trimmed_cloud():
    random = np.random.default_rng(3)
    truth = {1: car_from_the_side(random), 2: person(random), 5: np.add(person(random, 40), (-8, 0, 20))}
    dirty = {number: with_strays(points, random, "behind") for number, points in truth.items()}
    cloud, boxes = instances(
        cloud_of([(points, number) for number, points in dirty.items()]), gap=SETTINGS.instance_gap
    )
    assert [b.instance for b in boxes] == [1, 2, 5]
    assert boxes[0].start == 0
    assert boxes[-1].stop == len(cloud)
    for before, after in pairwise(boxes):
        assert before.stop == after.start
    for b in boxes:
        points = cloud.xyz[b.start : b.stop].numpy()
        assert (cloud.instance[b.start : b.stop] == b.instance).all()
        assert np.allclose(points.min(0), np.array(b.center) - np.array(b.size) / 2, atol=1e-4)
        assert np.allclose(points.max(0), np.array(b.center) + np.array(b.size) / 2, atol=1e-4)
        low, high = truth[b.instance].min(0), truth[b.instance].max(0)
        assert (points >= low - 0.3).all()
        assert (points <= high + 0.3).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_thing_of_few_points_keeps_its_middle_one(count):
    points = np.array([[0.0, 0.0, 5.0 * (i + 1)] for i in range(count)])
    cloud, [found] = instances(cloud_of([(points, 3)]), SETTINGS.box_percentile, SETTINGS.instance_gap)
    assert 1 <= len(cloud) <= count
    assert math.isfinite(sum(found.size))
    assert found.stop == len(cloud)


def test_a_thing_that_a_small_gap_would_leave_without_points_keeps_them_all():
    """Its own score, too: the box once took that of the next instance."""
    random = np.random.default_rng(6)
    emptied = 0
    for _ in range(40):
        loose, compact = random.uniform((-1, -1, 9), (1, 1, 11), (6, 3)), random.uniform(3, 4, (50, 3))
        together = cloud_of([(loose, 1), (compact, 2)])
        alone = cloud_of([(loose, 1)])
        cloud, [first, second] = instances(together, 0.0, 0.2)
        assert (first.instance, second.instance) == (1, 2)
        assert (first.start, second.stop) == (0, len(cloud))
        assert first.stop == second.start > 0
        assert len(instances(alone, 0.0, 0.2)[0]) == first.stop
        emptied += first.stop == 6
    assert emptied >= 5, "loose things were to be tested"


def test_sorting_in_groups_agrees_with_sorting_each():
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(0, 9, (500,), generator=generator).sort().values
    values = torch.randn(500, generator=generator) * 100
    values[::7] = 0.0
    values[::11] = -0.0
    ordered, origin = sorted_in_groups(values, group)
    assert torch.equal(values[origin], ordered)
    for number in range(9):
        assert torch.equal(ordered[group == number], values[group == number].sort().values)
        assert (group[origin][group == number] == number).all()
