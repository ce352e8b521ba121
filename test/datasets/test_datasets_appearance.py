"""Random appearance: what each effect does, and that no effect moves a pixel or touches its input."""

import numpy as np
import pytest

from dvps_ros.datasets import appearance
from dvps_ros.datasets.appearance import EFFECTS, vary

HEIGHT, WIDTH = 48, 96
BY_NAME = {effect.__name__.strip("_"): effect for _, effect in EFFECTS}


@pytest.fixture
def image():
    """A picture with a dark left and a bright right half, with texture."""
    rng = np.random.default_rng(0)
    half = np.where(np.arange(WIDTH) < WIDTH // 2, 50, 170)[None, :, None]
    return (half + rng.integers(0, 30, (HEIGHT, WIDTH, 3))).astype(np.uint8)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("known", [True, False], ids=["depth", "no depth"])
def test_each_effect_changes_the_picture_and_moves_nothing(name, known, image):
    before = image.copy()
    depth = np.full((HEIGHT, WIDTH), 20.0, np.float32) if known else None
    seen = [BY_NAME[name](image, depth, np.random.default_rng(seed)) for seed in range(8)]
    assert np.array_equal(image, before)
    for picture in seen:
        assert picture.shape == image.shape
        assert picture.dtype == np.uint8
        if name not in ("dirt", "shadow"):  # which cover parts
            assert picture[:, -WIDTH // 3 :].mean() > picture[:, : WIDTH // 3].mean()
    assert any(not np.array_equal(picture, image) for picture in seen)


def test_haze_grows_with_distance_and_unknown_is_far(image):
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    depth[16:32], depth[32:] = 60.0, 0.0
    hazy = BY_NAME["haze"](image, depth, np.random.default_rng(3))
    near, far, unknown = (np.ptp(rows.astype(float).mean((0, 2))) for rows in (hazy[:16], hazy[16:32], hazy[32:]))
    assert near > far > unknown  # the contrast between the halves


def test_strength_is_the_share_of_effects(image, monkeypatch):
    drawn = []

    def effect(picture, depth, rng):
        drawn.append(depth)
        return picture

    monkeypatch.setattr(appearance, "EFFECTS", ((0.5, effect),))
    rng = np.random.default_rng(0)
    assert all(vary(image, None, rng, 0.0) is image for _ in range(50))
    assert not drawn
    for strength in (1.0, 0.4):
        drawn.clear()
        for _ in range(1000):
            vary(image, None, rng, strength)
        assert len(drawn) == pytest.approx(500 * strength, abs=50)


def test_the_same_generator_gives_the_same_picture(image):
    first, second = (vary(image, None, np.random.default_rng(5), 1.0) for _ in range(2))
    assert np.array_equal(first, second)
