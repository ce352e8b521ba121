"""Cuts: another place is one; nearer, aside, or dark is none."""

import cv2
import numpy as np
import pytest

from dvps_ros.scene.cuts import is_cut


def place(seed):
    blocks = np.random.default_rng(seed).integers(0, 255, (16, 32), dtype=np.uint8)
    return cv2.resize(blocks, (512, 256), interpolation=cv2.INTER_CUBIC)


def nearer(picture, factor):
    height, width = picture.shape
    around = cv2.getRotationMatrix2D((width / 2, height / 2), 0, factor)
    return cv2.warpAffine(picture, around, (width, height), borderMode=cv2.BORDER_REFLECT)


def test_another_place_is_a_cut():
    assert all(is_cut(place(seed), place(seed + 1)) for seed in range(0, 10, 2))


@pytest.mark.parametrize("factor", [1.0, 1.2, 1.4])
def test_what_comes_nearer_is_none(factor):
    assert not any(is_cut(place(seed), nearer(place(seed), factor)) for seed in range(5))


def test_a_turn_is_none():
    assert not is_cut(place(1), np.roll(place(1), 80, 1))


def test_where_nothing_is_seen_there_is_none():
    dark = np.full((256, 512), 3, np.uint8)
    assert not is_cut(place(1), dark)
    assert not is_cut(dark, place(1))
