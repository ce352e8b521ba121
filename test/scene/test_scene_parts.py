"""Parts of a mask that lie far from each other become things of their own."""

import pytest
import torch

from dvps_ros.scene.parts import split_parts

THING, STUFF = True, False


def pixels(size, *boxes):
    """(H, W) int64 of -1, and of each (query, top, left, bottom, right)."""
    winner = torch.full(size, -1)
    for query, top, left, bottom, right in boxes:
        winner[top:bottom, left:right] = query
    return winner


def split(winner, things, gap=16):
    """``split_parts`` with -1 for nobody's pixels, before and after."""
    part, query = split_parts(winner.where(winner >= 0, len(things)), torch.tensor(things, dtype=torch.bool), gap)
    return part.where(part < len(query), -1), query


def test_two_far_parts_become_two_things_and_the_larger_one_keeps_the_query():
    winner = pixels((64, 128), (0, 8, 100, 24, 112), (0, 8, 8, 40, 40), (1, 40, 60, 60, 90))
    part, query = split(winner, [THING, THING])
    assert query.tolist() == [0, 1, 0]
    assert torch.equal(part, pixels((64, 128), (2, 8, 100, 24, 112), (0, 8, 8, 40, 40), (1, 40, 60, 60, 90)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize(
    ("gap", "between", "parts"),
    [(4, 4, 1), (4, 8, 2), (12, 4, 1), (12, 12, 1), (12, 16, 2), (16, 16, 1), (16, 20, 2), (16, 60, 2), (60, 60, 1)],
)
def test_the_gap_decides(axis, at, gap, between, parts):
    """Never up to the gap, for certain 4 pixels beyond it, wherever the things lie on the grid of samples."""
    size = [32, 32]
    size[axis] = 128
    winner = torch.full(size, -1)
    lines = winner if axis == 0 else winner.T
    lines[8 + at : 24 + at, 8:24] = 0
    lines[24 + at + between : 40 + at + between, 8:24] = 0
    part, query = split(winner, [THING], gap)
    assert query.tolist() == [0] * parts
    assert sorted(part.unique().tolist()) == [-1, *range(parts)]
    assert torch.equal(part >= 0, winner >= 0)


def test_a_thing_behind_another_stays_one_if_its_parts_are_near():
    winner = pixels((64, 64), (0, 20, 8, 40, 56), (1, 0, 28, 64, 34))
    assert split(winner, [THING, THING])[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("second", "kind", "gap"),
    [((0, 8, 100, 24, 112), STUFF, 16), ((0, 8, 100, 24, 112), THING, 0), ((0, 50, 100, 53, 103), THING, 16)],
    ids=["stuff", "gap zero", "a speck"],
)
def test_what_is_not_split(second, kind, gap):
    winner = pixels((64, 128), (0, 8, 8, 40, 40), second)
    part, query = split(winner, [kind], gap)
    assert query.tolist() == [0]
    assert torch.equal(part, winner)


def test_several_things_with_several_parts():
    boxes = [(q, 4 + 20 * q, 4 + 40 * k, 16 + 20 * q, 12 + 40 * k + 4 * (k == q)) for q in range(3) for k in range(3)]
    part, query = split(pixels((64, 128), *boxes), [THING, STUFF, THING])
    assert query.tolist() == [0, 1, 2, 0, 0, 2, 2]
    of_query = query[part.clamp(min=0)].where(part >= 0, -1)
    assert torch.equal(of_query, pixels((64, 128), *boxes))
    for q, k in ((0, 0), (2, 2)):  # the widest one
        assert part[4 + 20 * q, 4 + 40 * k] == q
    for piece in range(7):
        columns = (part == piece).any(0).nonzero()[:, 0]
        assert len(columns) <= 12 or piece == 1


@pytest.mark.parametrize("size", [(61, 127), (62, 126), (33, 35), (5, 7), (2, 2), (1, 1)])
def test_every_pixel_keeps_its_query(size):
    winner = torch.randint(-1, 3, size, generator=torch.Generator().manual_seed(0))
    part, query = split(winner, [THING, THING, STUFF])
    assert part.shape == size
    assert torch.equal(query[part.clamp(min=0)].where(part >= 0, -1), winner)


@pytest.mark.parametrize("size", [(61, 127), (62, 126), (63, 125), (64, 128)])
def test_things_anywhere_are_split_whole(size):
    """Also beyond the last sample, and with borders between samples."""
    height, width = size
    boxes = (0, 1, 3, 26, 33), (0, height - 15, width - 18, height, width)
    part, query = split(pixels(size, *boxes), [THING])
    assert query.tolist() == [0, 0]
    assert torch.equal(part, pixels(size, boxes[0], (1, *boxes[1][1:])))


def test_masks_of_different_things_never_touch():
    """One thing at the lower border, the next one at the upper border of the same columns."""
    boxes = [(0, 40, 10, 64, 40), (0, 40, 90, 64, 110), (1, 0, 10, 20, 40), (1, 0, 90, 16, 110)]
    assert split(pixels((64, 128), *boxes), [THING, THING])[1].tolist() == [0, 1, 0, 1]


def test_nothing_found():
    part, query = split(torch.full((16, 16), -1), [])
    assert len(query) == 0
    assert (part == -1).all()


def test_its_input_is_not_changed():
    before = pixels((64, 128), (0, 8, 100, 24, 112), (0, 8, 8, 40, 40))
    before[before < 0] = 1
    given = before.clone()
    assert len(split_parts(given, torch.tensor([THING]), 16)[1]) == 2
    assert torch.equal(given, before)
