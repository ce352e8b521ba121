"""dvps_ros.drawing.montage: tiles land unchanged where they belong."""

import numpy as np
import pytest

from dvps_ros.drawing.montage import compose


def solid(height: int, width: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def find(picture: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((picture == color).all(-1))
    assert rows.size == (np.ptp(rows) + 1) * (np.ptp(columns) + 1), "the tile is one rectangle"
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


def test_every_picture_has_its_place():
    colors = [[(200, 0, 0), (0, 200, 0)], [(0, 0, 200), (200, 200, 0)]]
    rows = [(f"row {i}", [solid(64, 128, a), solid(64, 64, b)]) for i, (a, b) in enumerate(colors)]
    picture = compose("title", ["wide", "square"], rows, height=64)
    assert picture.dtype == np.uint8
    (top, left, *size), (top_right, left_right, *size_right) = (find(picture, color) for color in colors[0])
    assert (size, size_right) == ([64, 128], [64, 64])
    assert top == top_right
    assert left_right >= left + 128
    below = find(picture, colors[1][0])
    assert below[0] >= top + 64
    assert below[1] == left
    assert picture[: top - 1].max() > 200, "title and headings are written"


def test_pictures_are_fitted_without_distortion():
    rows = [("a", [solid(64, 128, (1, 2, 3))]), ("b", [solid(32, 32, (200, 0, 0))])]
    assert find(compose("", ["x"], rows, height=64), (200, 0, 0))[2:] == (64, 64)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="at least one row"):
        compose("t", ["a"], [])
    with pytest.raises(ValueError, match="row 'r' has 1 pictures for 2 columns"):
        compose("t", ["a", "b"], [("r", [solid(4, 4, (0, 0, 0))])])
