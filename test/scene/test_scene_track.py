"""Tracking of made-up squares: motion, occlusion, crossing, class flips, numbers that run out."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dvps_ros.config import TrackConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.scene.track import _IDS, Tracker
from dvps_ros.structures import Anchor, Intrinsics, Scene, Segment

ROAD, PERSON, CAR, TRUCK = (CITYSCAPES.index(name) for name in ("road", "person", "car", "truck"))


def scene_of(squares, size=(120, 200), background=ROAD * 1000):
    """A scene of (class, top, left, side[, depth]) squares, later ones in front; numbered per class in their order.

    Also gives, for each square, the point (row, column) where its number can be read, None where it is hidden.
    """
    panoptic = torch.full(size, background, dtype=torch.int32)
    counts, ids, depths = {}, [], {}
    for class_id, top, left, side, *depth in squares:
        counts[class_id] = counts.get(class_id, 0) + 1
        identity = class_id * 1000 + counts[class_id]
        panoptic[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = identity
        ids.append(identity)
        depths[identity] = depth[0] if depth else 10.0
    segments = []
    for identity in sorted({background, *ids} - {VOID}):
        area = int((panoptic == identity).sum())
        if area:
            depth = depths.get(identity, 20.0)
            segments.append(Segment(identity, identity // 1000, identity % 1000, 0.9, area, depth))
    places = []
    for identity in ids:
        pixels = (panoptic == identity).nonzero()
        places.append(tuple(pixels[len(pixels) // 2].tolist()) if len(pixels) else None)
    return Scene(panoptic, torch.ones(size), torch.ones(size), tuple(segments)), places


def follow(tracker, frames, camera=None, stamps=(), poses=(), **kwargs):
    """The number of every square in every frame (None where hidden), after checking the scene's consistency."""
    numbers = []
    for squares, stamp, pose in itertools.zip_longest(frames, stamps, poses):
        scene, places = scene_of(squares, **kwargs)
        tracked = tracker.update(scene, camera, stamp, pose=pose)
        assert_consistent(tracked)
        numbers.append([None if place is None else int(tracked.panoptic[place]) % 1000 for place in places])
    return numbers


def assert_consistent(scene):
    ids = [s.id for s in scene.segments]
    assert ids == sorted(set(ids))
    instances = [s.instance for s in scene.segments if CITYSCAPES.is_thing[s.class_id]]
    assert len(instances) == len(set(instances))
    assert all(1 <= i <= 999 for i in instances)
    assert scene.panoptic.dtype == torch.int32
    for s in scene.segments:
        assert s.id == s.class_id * 1000 + s.instance
        assert s.area == (scene.panoptic == s.id).sum()


def test_numbers_follow_things_whatever_their_order():
    def frame(t):
        squares = [(CAR, 20, 10 + 4 * t, 30), (CAR, 70, 150 - 5 * t, 20), (PERSON, 60, 60 + t, 12)]
        return squares if t % 2 else [squares[1], squares[0], squares[2]]

    numbers = follow(Tracker(CITYSCAPES), [frame(t) for t in range(12)])
    in_order = [n if t % 2 else [n[1], n[0], n[2]] for t, n in enumerate(numbers)]
    assert in_order == [in_order[0]] * 12
    assert sorted(in_order[0]) == [1, 2, 3]


def test_stuff_and_depth_are_left_alone():
    scene, _ = scene_of([(CAR, 20, 10, 30)])
    tracked = Tracker(CITYSCAPES).update(scene)
    assert tracked.depth is scene.depth
    assert torch.equal(tracked.panoptic == ROAD * 1000, scene.panoptic == ROAD * 1000)
    empty, _ = scene_of([], background=VOID)
    assert Tracker(CITYSCAPES).update(empty).segments == ()


def test_number_survives_missed_frames_but_not_too_many():
    tracker = Tracker(CITYSCAPES, TrackConfig(keep=0.31, reidentify=0.0))
    moving = [[(CAR, 40, 10 + 6 * t, 24)] if t not in (4, 5, 6) else [] for t in range(10)]
    numbers = [n[0] for n in follow(tracker, moving) if n]
    assert set(numbers) == {1}
    gone = follow(tracker, [[]] * 4 + [[(CAR, 40, 64, 24)]])
    assert gone[-1] == [2]


def test_things_that_cross_keep_their_numbers():
    frames = [[(CAR, 40, 10 + 8 * t, 30, 20.0), (CAR, 44, 160 - 8 * t, 30, 8.0)] for t in range(20)]
    numbers = follow(Tracker(CITYSCAPES), frames)
    assert {n[0] for n in numbers if n[0]} == {numbers[0][0]}
    assert {n[1] for n in numbers} == {numbers[0][1]}


def test_a_thing_hidden_behind_a_moving_one_returns_with_its_number():
    frames = [[(PERSON, 50, 100, 12, 30.0), (TRUCK, 30, -40 + 10 * t, 50, 8.0)] for t in range(1, 24)]
    numbers = follow(Tracker(CITYSCAPES), frames)
    assert any(n[0] is None for n in numbers)
    assert {n[0] for n in numbers if n[0]} == {numbers[0][0]}


def test_a_parked_car_that_disappears_slowly_behind_another_returns_with_its_number():
    """The center of what is visible moves by half of what the truck does; the car does not. It is hidden for 2.5 s."""
    camera = Intrinsics(120.0, 120.0, 99.5, 59.5, 200, 120)

    def car(z):
        side = round(480 / z)
        return (CAR, round(59.5 - side / 2), round(99.5 - 6 * 120 / z - side / 2), side, z)

    edges = range(62, 85, 2)
    frames = [[car(30.0), (TRUCK, 20, edge - 80, 80, 8.0)] for edge in edges]
    advances = [0.0] * len(edges) + [0.5 * t for t in range(1, 28)]
    for advance in advances[len(edges) :]:
        parked = car(30.0 - advance)
        hidden = advance <= 12.5
        frames.append([parked, (TRUCK, 10, parked[2] - 30, 100, 5.0)] if hidden else [parked])
    poses = [np.eye(4) for _ in advances]
    for pose, advance in zip(poses, advances, strict=True):
        pose[2, 3] = advance
    numbers = [frame[0] for frame in follow(Tracker(CITYSCAPES), frames, camera, poses=poses)]
    assert numbers.count(None) >= 25
    assert {n for n in numbers if n} == {1}
    assert numbers[-1] == 1


def test_what_was_lost_does_not_take_the_number_of_what_was_just_seen():
    passer, gone = (PERSON, 50, 60, 8), (PERSON, 50, 74, 8)
    later = [[(PERSON, 50, 60 + 4 * t, 8)] for t in range(1, 6)]  # through where the other one was
    numbers = follow(Tracker(CITYSCAPES), [[passer, gone], [passer], [passer], *later])
    assert [frame[0] for frame in numbers] == [1] * 8


def test_a_class_flip_keeps_the_number():
    frames = [[(CAR if t != 3 else TRUCK, 40, 10 + 3 * t, 40), (PERSON, 50, 120, 10)] for t in range(6)]
    numbers = follow(Tracker(CITYSCAPES), frames)
    assert numbers == [numbers[0]] * 6


def test_small_fast_things_follow_by_motion():
    frames = [[(PERSON, 50, 10 + 4 * t, 4), (PERSON, 50, 60 + 4 * t, 4)] for t in range(2)]
    frames += [[(PERSON, 50, 14 + 7 * t, 4), (PERSON, 50, 64 + 7 * t, 4)] for t in range(1, 15)]
    numbers = follow(Tracker(CITYSCAPES), frames)
    assert numbers == [numbers[0]] * len(frames)


@pytest.mark.parametrize("advance", [1.0, 3.0])
def test_standing_things_are_followed_past_a_fast_camera(advance):
    """Small things on both sides, 12 to 40 m away, while the camera advances; three metres a frame if that is known."""
    camera = Intrinsics(120.0, 120.0, 99.5, 59.5, 200, 120)
    places = [(side * 3.0, z) for z in (12.0, 17.0, 24.0, 31.0, 40.0) for side in (-1, 1)]

    def frame(t):
        squares = []
        for x, z in places:
            z -= advance * t
            if z > 4:
                u, v, side = 100 + 120 * x / z, 60 + 120 * 0.5 / z, max(1, round(60 / z))
                squares.append((PERSON, round(v), round(u - side / 2), side, z))
            else:
                squares.append((PERSON, -100, 0, 1))
        return sorted(squares, key=lambda s: -s[-1])

    depths = [[s[4] + advance * t if len(s) > 4 else None for s in frame(t)] for t in range(6)]
    seen = {}
    poses = [np.eye(4) for _ in range(6)]
    for t, pose in enumerate(poses):
        pose[2, 3] = advance * t
    numbers_of = follow(Tracker(CITYSCAPES), [frame(t) for t in range(6)], camera=camera, poses=poses * (advance > 2))
    for names, numbers in zip(depths, numbers_of, strict=True):
        for name, number in zip(names, numbers, strict=True):
            if number is not None:
                seen.setdefault(name, set()).add(number)
    assert len(seen) == 5  # each depth holds the pair left and right
    assert all(len(numbers) == 2 for numbers in seen.values())


def test_another_thing_at_another_depth_is_another_one():
    tracker = Tracker(CITYSCAPES)
    follow(tracker, [[(PERSON, 50, 60, 8, 10.0)]])
    assert follow(tracker, [[(PERSON, 50, 70, 8, 40.0)]]) == [[2]]
    assert follow(tracker, [[(CAR, 5, 5, 40, 10.0)]]) == [[3]]


def test_things_smaller_than_the_grid_are_followed():
    frames = [[(PERSON, 301 + t, 501, 1), (CAR, 100, 100 + 5 * t, 90)] for t in range(5)]
    numbers = follow(Tracker(CITYSCAPES), frames, size=(720, 1280))
    assert numbers == [numbers[0]] * 5


def test_reset_and_a_change_of_size_start_anew():
    tracker = Tracker(CITYSCAPES)
    assert follow(tracker, [[(CAR, 40, 10, 30)], [(CAR, 80, 150, 30)]]) == [[1], [2]]
    tracker.reset()
    assert follow(tracker, [[(CAR, 80, 150, 30)]]) == [[1]]
    assert follow(tracker, [[(PERSON, 10, 10, 30)]], size=(60, 100)) == [[2]]  # 1 was just another object's


def test_metres_are_not_compared_with_relative_depth():
    """camera_info comes late: the same places, in another unit. A standing car must not seem to move."""
    camera = Intrinsics(200.0, 200.0, 99.5, 59.5, 200, 120)
    tracker, fastest = Tracker(CITYSCAPES), 0.0
    for t in range(20):
        metric = t >= 10
        depth = 14.3 if metric else 10.0
        scene, _ = scene_of([(CAR, 50, 90, 20, depth if metric else math.nan)])
        scene = replace(scene, depth=torch.full_like(scene.depth, depth), metric=metric)
        for thing in tracker.update(scene, camera if metric else None, t / 10).things:
            fastest = max(fastest, float(np.linalg.norm(thing.velocity)))
            assert thing.position[2] == pytest.approx(14.3, abs=0.1)
    assert fastest < 0.1


def test_frames_without_a_stamp_between_fast_ones_reset_nothing():
    """At 30 Hz, a frame without a stamp is guessed to come after 0.1 s: the next one seems to jump back."""
    stamps = [t / 30 if t not in (4, 5) else None for t in range(12)]
    frames = [[(CAR, 40, 40 + t, 30)] for t in range(12)]
    assert follow(Tracker(CITYSCAPES), frames, stamps=stamps) == [[1]] * 12


def test_a_thing_at_the_edge_of_a_fisheye_has_a_place_in_reach():
    """The middle of the car is 103 degrees from the axis, where no ray goes."""
    camera = Intrinsics(50.0, 50.0, 99.5, 59.5, 200, 120, "equidistant", (0.0, 0.0, 0.0, 0.0))
    tracker = Tracker(CITYSCAPES)
    for t in range(3):
        scene, _ = scene_of([(CAR, 45, 180, 20, 3.0)])
        scene = replace(scene, depth=torch.full_like(scene.depth, 3.0))
        (thing,) = tracker.update(scene, camera, t / 10).things
    assert abs(thing.position).max() < 10
    assert thing.position[0] > 3


def test_numbers_are_used_again_late_and_never_twice():
    tracker = Tracker(CITYSCAPES, TrackConfig(keep=0.0, reidentify=0.0))
    keep = (CAR, 30, 0, 8)
    places = [(2, 2), (2, 30), (14, 15), (14, 45)]
    frames = [[keep, (TRUCK, *places[t % 4], 5)] for t in range(1010)]
    numbers = follow(tracker, frames, size=(40, 60))
    assert {n[0] for n in numbers} == {1}
    others = [n[1] for n in numbers]
    assert others[:998] == list(range(2, 1000))
    assert others[998:1001] == [2, 3, 4]


def test_more_missing_things_than_numbers():
    tracker = Tracker(CITYSCAPES, TrackConfig(keep=10.0, reidentify=0.0))
    rng = np.random.default_rng(0)
    for _ in range(17):
        squares = [
            (PERSON, 12 * r + int(rng.integers(8)), 12 * c, 2, float(rng.uniform(1, 80)))
            for r in range(9)
            for c in range(10)
        ]
        scene, _ = scene_of([s for s in squares if rng.random() < 0.7])
        assert_consistent(tracker.update(scene))
    assert len({t.number for t in tracker._tracks}) == len(tracker._tracks) <= 999


@pytest.mark.parametrize("metric", [True, False])
def test_random_walk_has_no_switches(metric):
    rng = np.random.default_rng(1)
    at = np.array([[10 + 35 * (i // 5), 5 + 39 * (i % 5)] for i in range(15)], float)
    frames = []
    for _ in range(25):
        at += rng.uniform(-1.5, 1.5, at.shape)
        frames.append([(CAR, int(r), int(c), 20, 10.0 if metric else float("nan")) for r, c in at])
    numbers = follow(Tracker(CITYSCAPES), frames)
    assert numbers == [numbers[0]] * 25


@pytest.mark.parametrize("pause", [3600.0, 10.0, -1.0])
def test_a_pause_or_a_jump_back_starts_anew_with_numbers_not_used_yet(pause):
    tracker = Tracker(CITYSCAPES)
    frames = [[(CAR, 40, 60, 30)]] * 6
    stamps = [100.0, 100.1, 100.2, 100.2 + pause, 100.3 + pause, 100.4 + pause]
    assert follow(tracker, frames, stamps=stamps) == [[1]] * 3 + [[2]] * 3


def test_patience_is_in_seconds_whatever_the_rate():
    for period, unseen in ((0.02, 40), (0.1, 8), (0.4, 2)):  # 0.8 s each
        frames = [[(CAR, 40, 60, 30)], [(CAR, 40, 60, 30)], *[[]] * unseen, [(CAR, 40, 60, 30)]]
        stamps = [5 + period * t for t in range(len(frames))]
        numbers = follow(Tracker(CITYSCAPES, TrackConfig(reidentify=0.0)), frames, stamps=stamps)
        assert [n for n in numbers if n] == [[1]] * 3
        numbers = follow(Tracker(CITYSCAPES, TrackConfig(keep=0.5, reidentify=0.0)), frames, stamps=stamps)
        assert [n for n in numbers if n] == [[1], [1], [2]]


def test_all_things_gone_for_ten_seconds_are_others():
    frames = [[(CAR, 40, 60, 30), (PERSON, 20, 20, 10)]] * 3 + [[]] * 100 + [[(CAR, 40, 60, 30), (PERSON, 20, 20, 10)]]
    numbers = follow(Tracker(CITYSCAPES), frames, stamps=[0.1 * t for t in range(len(frames))])
    assert not {*numbers[0]} & {*numbers[-1]}


def test_repeated_stamps_and_a_frozen_picture_change_nothing():
    frames = [[(CAR, 40, 60, 30), (CAR, 40, 120, 30)]] * 8
    assert follow(Tracker(CITYSCAPES), frames, stamps=[7.0] * 8) == [[1, 2]] * 8


def test_dropped_frames_are_bridged_by_the_thing_s_motion():
    kept = [0, 1, 2, 3, 4, 9, 10, 13]
    frames = [[(CAR, 40, 10 + 6 * t, 12, 20.0), (CAR, 70, 10 + 3 * t, 12, 20.0)] for t in kept]
    numbers = follow(Tracker(CITYSCAPES), frames, stamps=[t / 10 for t in kept])
    assert numbers == [[1, 2]] * len(kept)


def test_shuffled_stamps_never_swap_numbers():
    order = [0, 1, 3, 2, 4, 6, 5, 7]
    frames = [[(CAR, 40, 10 + 6 * t, 12, 20.0), (CAR, 70, 150 - 6 * t, 12, 20.0)] for t in order]
    numbers = follow(Tracker(CITYSCAPES), frames, stamps=[t / 10 for t in order])
    first, second = ({n[k] for n in numbers} for k in (0, 1))
    assert not first & second


def test_three_hundred_things_keep_their_numbers():
    rng = np.random.default_rng(3)
    at = np.array([[8 * (i // 25), 8 * (i % 25)] for i in range(300)])
    frames = [[(PERSON, int(r), int(c), 4, 20.0) for r, c in at + rng.integers(0, 2, at.shape)] for _ in range(3)]
    numbers = follow(Tracker(CITYSCAPES), frames)
    assert numbers == [numbers[0]] * 3


def test_hundreds_of_new_things_in_every_frame_cost_no_more_and_more():
    rng, tracker = np.random.default_rng(4), Tracker(CITYSCAPES)
    for _ in range(4):
        places = rng.integers(0, 116, (300, 2)).tolist()
        follow(tracker, [[(PERSON, *place, 4, float(rng.uniform(3, 60))) for place in places]])
    assert len(tracker._tracks) <= 400 + 300


def test_a_camera_that_turns_fast_swaps_no_numbers():
    """Cars that stand 17 degrees apart, from a camera that turns by as much in a tenth of a second."""
    camera, step, tracker = Intrinsics(200.0, 200.0, 99.5, 59.5, 200, 120), np.radians(17), Tracker(CITYSCAPES)
    names = {}
    for t in range(6):
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(t * step), 0, np.sin(t * step)], [0, 1, 0], [-np.sin(t * step), 0, np.cos(t * step)]]
        seen = [k for k in range(8) if abs(k - t) <= 1]  # left, middle and right of the picture
        columns = [round(99.5 + 200 * np.tan((k - t) * step)) for k in seen]
        depths = [float(20 * np.cos((k - t) * step)) for k in seen]
        squares = [(CAR, 50, column - 10, 20, depth) for column, depth in zip(columns, depths, strict=True)]
        for car, number in zip(seen, follow(tracker, [squares], camera, [t / 10], [pose])[0], strict=True):
            assert names.setdefault(car, number) == number
    assert len({*names.values()}) == 7


def test_velocity_over_the_ground_from_a_camera_that_moves():
    """A car that drives ahead at 8 m/s, seen from a camera at 5 m/s: known poses, hand-made places."""
    camera = Intrinsics(200.0, 200.0, 99.5, 59.5, 200, 120)
    tracker = Tracker(CITYSCAPES)
    for t in range(15):
        pose = np.eye(4)
        pose[2, 3] = 0.5 * t
        scene, _ = scene_of([(CAR, 50, 90, 20, 12.0 + 0.3 * t)])
        scene = replace(scene, depth=torch.full_like(scene.depth, 12.0 + 0.3 * t))
        (thing,) = tracker.update(scene, camera, t / 10, pose=pose).things
        assert thing.confirmed == (t > 0)
    assert thing.hits == 15
    assert not thing.relative
    assert thing.velocity == pytest.approx([0, 0, 8.0], abs=0.4)
    assert thing.position[2] == pytest.approx(16.2, abs=0.2)
    assert np.linalg.eigvalsh(thing.covariance).min() > 0


@pytest.mark.parametrize("told", [True, False])
def test_another_scale_is_no_motion(told):
    """A thing stands, and so does the camera; all distances grow by a third in two seconds."""
    camera = Intrinsics(200.0, 200.0, 99.5, 59.5, 200, 120)
    tracker = Tracker(CITYSCAPES)
    for t in range(21):
        factor = 1 + t / 60
        scene, _ = scene_of([(CAR, 50, 90, 20, 12.0)])
        scene = replace(scene, depth=torch.full_like(scene.depth, 12.0)).scaled(factor)
        scene = replace(scene, anchor=Anchor(factor if told else 1.0, "anchored"))
        (thing,) = tracker.update(scene, camera, t / 10, pose=np.eye(4)).things
    if told:
        assert thing.speed < 1e-6
        assert thing.position[2] == pytest.approx(16)
    else:
        assert thing.speed == pytest.approx(2, abs=0.5)


def test_without_the_camera_s_motion_velocity_is_relative():
    scene, _ = scene_of([(CAR, 50, 90, 20, 12.0)])
    (thing,) = Tracker(CITYSCAPES).update(scene).things
    assert thing.relative
    assert Tracker(CITYSCAPES).update(replace(scene, metric=False)).things == ()


def test_velocities_relative_to_the_camera_do_not_become_velocities_over_the_ground():
    """A camera drives at 5 m/s towards a parked car. Its motion is known at first, then for six seconds not."""
    camera, tracker, seen = Intrinsics(200.0, 200.0, 99.5, 59.5, 200, 120), Tracker(CITYSCAPES), []
    for t in range(100):
        scene, _ = scene_of([(CAR, 50, 90, 20, 60.0 - 0.5 * t)])
        scene = replace(scene, depth=torch.full_like(scene.depth, 60.0 - 0.5 * t))
        pose = np.eye(4)
        pose[2, 3] = 0.5 * t
        (thing,) = tracker.update(scene, camera, t / 10, pose=None if 20 <= t < 80 else pose).things
        seen.append(thing)
    assert [thing.relative for thing in seen] == [t == 0 or 49 <= t < 81 for t in range(100)]
    assert seen[79].velocity[2] == pytest.approx(-5, abs=1)
    for thing in seen[81:]:
        assert abs(thing.velocity[2]) < 0.5
        assert thing.velocity[2] ** 2 < 4 * thing.covariance[5, 5]


def test_a_frame_that_fails_while_ids_are_written_does_not_change_the_next(monkeypatch):
    """Memory of the device may run out there."""
    frames = [[(CAR, 20, 10, 30), (CAR, 70, 150, 20)], [(CAR, 70, 150, 20), (CAR, 20, 10, 30)]]
    tracker, plain = Tracker(CITYSCAPES), Tracker(CITYSCAPES)
    for one in (tracker, plain):
        follow(one, frames[:1])

    def exhausted(*_):
        raise torch.cuda.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr("dvps_ros.scene.track.look_up", exhausted)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            follow(tracker, frames[1:])
    assert torch.equal(_IDS, torch.arange(VOID + 1))
    assert follow(tracker, frames[1:]) == follow(plain, frames[1:]) == [[2, 1]]


def test_frames_in_and_out_of_inference_mode_mix():
    with torch.inference_mode():
        tracker = Tracker(CITYSCAPES)
        first = follow(tracker, [[(CAR, 20, 10, 30)]])
    assert follow(tracker, [[(CAR, 20, 12, 30)]]) == first
