"""Sizes of training crops."""

import math
from dataclasses import replace

import pytest

from dvps_ros.config import DataConfig, load_config
from dvps_ros.config.crops import aspects, crop_size, largest_crop, sides
from dvps_ros.resources import find

DATA = DataConfig(crop_height=256, crop_width=512)


def test_sides_by_hand():
    assert sides(131072, 2.0) == (256, 512)
    assert sides(131072, 1.0) == (352, 384)  # 362 x 362: 11.3 strides, and 11.6 for what is left
    assert sides(131072, 3.3) == (192, 672)
    assert sides(100, 1.0) == (32, 32)


def test_without_a_range_crops_are_the_configured_ones():
    data = replace(DATA, crop_height=250, crop_width=500)
    assert {crop_size(data, share) for share in (0.0, 0.3, 1.0)} == {(250, 500)}
    assert largest_crop(data) == (250, 500)


def test_the_range_is_covered_at_constant_area_in_multiples_of_32():
    data = replace(DATA, min_aspect=1.0, max_aspect=3.3)
    sizes = [crop_size(data, k / 500) for k in range(501)]
    assert all(height % 32 == width % 32 == 0 for height, width in sizes)
    assert all(0.9 < height * width / 131072 < 1.1 for height, width in sizes)
    ratios = [width / height for height, width in sizes]
    assert min(ratios) == pytest.approx(1, abs=0.1)
    assert max(ratios) == pytest.approx(3.3, abs=0.25)
    # uniform in its logarithm: half of the crops are below the root of 3.3
    assert sum(ratio < math.sqrt(3.3) for ratio in ratios) / len(ratios) == pytest.approx(0.5, abs=0.12)
    assert math.prod(largest_crop(data)) == max(map(math.prod, sizes))


def test_one_end_may_be_the_crops_own():
    assert aspects(replace(DATA, max_aspect=3.3)) == (2.0, 3.3)
    assert aspects(replace(DATA, min_aspect=1.0)) == (1.0, 2.0)
    assert aspects(DATA) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_aspect": 3.0, "max_aspect": 1.0}, r"data\.min_aspect 3 is above data\.max_aspect 1"),
        ({"max_aspect": 1.0}, r"data\.min_aspect 2 is above data\.max_aspect 1"),
        ({"min_scale": 3.0}, r"data\.min_scale 3 is above data\.max_scale 2"),
    ],
)
def test_exchanged_ends_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        aspects(replace(DATA, **change))


def test_the_street_is_learned_in_crops_of_many_shapes():
    for name in ("street", "street_stage1", "street_stage2", "street_stage3", "street_rigs"):
        assert aspects(load_config(find(f"config/{name}.yaml")).data) == (1.0, 3.3)
