"""The anchor over time: factors, what is held, and ground that must not make the factor jump."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from ground_scenes import CAMERA, ROAD, SIDEWALK, WALL, flat, terrain, up_of

from dvps_ros.config import GroundConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.anchor import GroundAnchor

HEIGHT = 1.65


def run(scenes, anchor=None, start=0.0, step=0.1, **options):
    """The scenes of frames at 10 Hz, anchored one after the other."""
    anchor = anchor or GroundAnchor(CITYSCAPES)
    return [anchor.update(one, CAMERA, HEIGHT, stamp=start + step * k, **options) for k, one in enumerate(scenes)]


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.36, 2.4])
def test_the_first_frame_is_right_at_once(scale):
    true, seen = flat(HEIGHT), flat(HEIGHT, scale=scale)
    [found] = run([seen])
    assert found.anchored
    assert found.anchor.state == "anchored"
    assert found.scale_factor == pytest.approx(1 / scale, rel=0.01)
    torch.testing.assert_close(found.depth, true.depth, rtol=0.01, atol=0)
    torch.testing.assert_close(found.depth_std, seen.depth_std / scale, rtol=0.01, atol=0)
    assert found.segments[0].median_depth == pytest.approx(true.segments[0].median_depth, rel=0.01)


@pytest.mark.parametrize(("scale", "share"), [(0.9, 0.53), (1.1, 0.53), (1.5, 0.75), (8.0, 0.98)])
def test_the_networks_own_scale_counts_too_where_up_is_unknown(scale, share):
    config = GroundConfig(own_weight=0.5, own_range=math.log(1.5), min_factor=0.1)
    seen = flat(HEIGHT, scale=scale)
    walls = flat(HEIGHT, scale=scale, label=WALL)
    found = run([seen] * 20 + [walls] * 5, GroundAnchor(CITYSCAPES, config))
    assert [one.anchor.state for one in found] == ["anchored"] * 20 + ["held"] * 5
    for one in found:
        assert math.log(one.scale_factor) == pytest.approx(-share * math.log(scale), rel=0.02)
        torch.testing.assert_close(one.depth, seen.depth * one.scale_factor)
    [known] = run([seen], GroundAnchor(CITYSCAPES, config), up=up_of(0))
    assert known.scale_factor == pytest.approx(1 / scale, rel=0.01)


def test_the_factor_does_not_jump_where_up_comes_and_goes():
    anchor, seen = GroundAnchor(CITYSCAPES, GroundConfig(own_weight=0.5)), flat(HEIGHT, scale=0.7)
    found = [anchor.update(seen, CAMERA, HEIGHT, None if k % 3 else up_of(0), stamp=0.1 * k) for k in range(90)][60:]
    assert all(abs(math.log(b.scale_factor / a.scale_factor)) < 0.005 for a, b in pairwise(found))


def test_nothing_is_anchored_without_metres_or_a_camera():
    seen = flat(HEIGHT, scale=0.5)
    anchor = GroundAnchor(CITYSCAPES)
    for scene, camera in ((replace(seen, metric=False), CAMERA), (seen, None)):
        found = anchor.update(scene, camera, HEIGHT)
        assert not found.anchored
        assert found.depth is scene.depth


def test_noise_is_averaged_in_ln():
    factors = [math.exp(0.1 * (-1) ** k) for k in range(100)]
    found = run([flat(HEIGHT, scale=f) for f in factors])
    assert abs(math.log(found[0].scale_factor)) == pytest.approx(0.1, abs=0.01)
    assert abs(math.log(found[-1].scale_factor)) < 0.01


def test_a_drift_of_scale_is_followed_slowly():
    seen = [flat(HEIGHT)] * 60 + [flat(HEIGHT, scale=0.9)] * 200
    found = run(seen)
    assert found[61].scale_factor < 1.01
    assert found[-1].scale_factor == pytest.approx(1 / 0.9, rel=0.01)


@pytest.mark.parametrize(
    ("ahead", "what"),
    [
        (lambda z: 0.17 * max(0, math.floor((z - 4) / 0.3) + 1) if z < 8 else 2.3, "stairs"),
        (lambda z: 0.08 * max(0.0, z - 6), "hill"),
        (lambda z: 0.2 * min(3.0, max(0.0, z - 5)), "ramp"),
        (lambda z: -0.1 * max(0.0, z - 6), "a way down"),
    ],
    ids=["stairs", "hill", "ramp", "down"],
)
@pytest.mark.parametrize("up", [None, up_of()], ids=["up fitted", "up known"])
def test_the_factor_does_not_jump_where_ground_is_no_plane(ahead, what, up):
    level, other = terrain(lambda z: 0.0), terrain(ahead)
    found = run([level] * 30 + [other] * 10 + [level] * 5, up=up)
    factors = [one.scale_factor for one in found]
    assert factors[29] == pytest.approx(1, rel=0.01)
    assert max(abs(math.log(b / a)) for a, b in pairwise(factors[29:])) < 0.02, what
    assert factors[-1] == pytest.approx(1, rel=0.1)


def test_wrongly_labelled_ground_does_not_make_the_factor_jump():
    level = flat(HEIGHT)
    wall = replace(level, panoptic=torch.where(level.panoptic == WALL, SIDEWALK, level.panoptic))  # 40 m ahead
    blocked = replace(
        flat(HEIGHT, label=WALL), panoptic=torch.full_like(level.panoptic, ROAD), depth=level.depth * 0 + 5
    )
    found = run([level] * 30 + [wall] * 10 + [blocked] * 10)
    assert all(one.scale_factor == pytest.approx(1, rel=0.03) for one in found)
    assert found[-1].anchor.state == "held"
    assert "tilted" in found[-1].anchor.problem


def test_the_factor_is_held_then_let_go():
    config = GroundConfig(hold=1.0, release=0.5)
    anchor = GroundAnchor(CITYSCAPES, config)
    bare = flat(label=WALL)
    found = run([flat(HEIGHT, scale=0.5)] * 20 + [bare] * 60, anchor)
    assert found[19].scale_factor == pytest.approx(2, rel=0.01)
    assert found[28].scale_factor == found[19].scale_factor
    assert (found[28].anchor.state, found[28].anchored) == ("held", True)
    assert (found[40].anchor.state, found[40].anchored) == ("lost", False)
    assert found[-1].scale_factor == pytest.approx(1, rel=0.01)
    assert "too little ground" in found[-1].anchor.problem


def test_a_gap_a_jump_back_or_another_camera_start_anew():
    half, whole = flat(HEIGHT, scale=0.5), flat(HEIGHT)
    for start in (100.0, -5.0):
        anchor = GroundAnchor(CITYSCAPES)
        run([half] * 50, anchor)
        assert run([whole], anchor, start=start)[0].scale_factor == pytest.approx(1, rel=0.01)
    anchor = GroundAnchor(CITYSCAPES)
    run([half] * 50, anchor)
    other = CAMERA.resized(128, 64)
    assert anchor.update(flat(HEIGHT, camera=other), other, HEIGHT, stamp=5.0).scale_factor == pytest.approx(
        1, rel=0.01
    )
    anchor.reset()
    assert anchor.update(whole, CAMERA, HEIGHT, stamp=5.1).scale_factor == pytest.approx(1, rel=0.01)


def test_a_factor_out_of_bounds_does_not_count():
    [found] = run([flat(HEIGHT, scale=0.1)])
    assert (found.scale_factor, found.anchor.state) == (1.0, "lost")
    assert "out of bounds" in found.anchor.problem


def test_repeated_stamps_and_frames_without_stamps_are_taken():
    anchor = GroundAnchor(CITYSCAPES)
    for stamp in (None, None, 3.0, 3.0, 3.1, None):
        found = anchor.update(flat(HEIGHT, scale=0.8), CAMERA, HEIGHT, stamp=stamp)
        assert found.scale_factor == pytest.approx(1.25, rel=0.01)


def test_frames_without_a_stamp_between_fast_ones_start_nothing_anew():
    anchor = GroundAnchor(CITYSCAPES)
    run([flat(HEIGHT, scale=0.5)] * 60, anchor, step=1 / 30)
    for stamp in (None, None, 62 / 30):  # the guess, 0.1 s for each, is later than the last one
        found = anchor.update(flat(HEIGHT), CAMERA, HEIGHT, stamp=stamp)
    assert found.scale_factor > 1.7  # still the average
