"""Streets from seeds: repeatable, varied, complete in their classes, and moving as told."""

from itertools import combinations, islice

import numpy as np
import pytest

from dvps_ros.config import StreetConfig
from dvps_ros.labels import CITYSCAPES, DIVISOR, VOID_CLASS
from dvps_ros.simulation import Street, StreetCamera, drive, sequence
from dvps_ros.simulation.people import pedestrian
from dvps_ros.simulation.traffic import Course, Traffic
from dvps_ros.simulation.world import World

TINY = StreetConfig(width=128, height=64, length=40.0, frames=3)


@pytest.fixture(scope="module")
def street():
    return Street(3, TINY)


@pytest.fixture(scope="module")
def frames(street):
    with StreetCamera(street) as camera:
        return [camera.render(time) for time in (0.5, 0.9, 1.3, 3.0)]


def test_same_seed_same_pixels(street, frames):
    with StreetCamera(Street(street.seed, TINY)) as camera:
        again = camera.render(0.9)
    assert (again.rgb == frames[1].rgb).all()
    assert (again.depth == frames[1].depth).all()
    assert (again.panoptic == frames[1].panoptic).all()


def test_frames_have_the_promised_types(frames):
    for frame in frames:
        assert (frame.rgb.shape, frame.rgb.dtype) == ((64, 128, 3), np.uint8)
        assert (frame.depth.shape, frame.depth.dtype) == ((64, 128), np.float32)
        assert (frame.panoptic.shape, frame.panoptic.dtype) == ((64, 128), np.int32)
        assert frame.depth.min() >= 0
        assert frame.depth.max() <= TINY.max_depth
        classes, instances = np.divmod(np.unique(frame.panoptic), DIVISOR)
        things = np.isin(classes, CITYSCAPES.things)
        assert (instances[things] >= 1).all()
        assert (instances[~things] == 0).all()


def test_all_classes_occur_and_streets_differ(frames):
    """Six streets, a few moments each: cheap enough, and together they show every class."""
    seen, pictures = set(), []
    for seed in range(4, 10):
        with StreetCamera(Street(seed, TINY)) as camera:
            shown = [camera.render(time) for time in (0.3, 1.5, 2.7, 3.9)]
        seen.update(*(np.unique(frame.panoptic // DIVISOR).tolist() for frame in shown))
        pictures.append(shown[0].rgb.astype(int))
    seen.update(*(np.unique(frame.panoptic // DIVISOR).tolist() for frame in frames))
    assert seen - {VOID_CLASS} == set(range(len(CITYSCAPES)))
    assert all(np.abs(a - b).mean() > 5 for a, b in combinations(pictures, 2))


def test_road_depth_is_that_of_the_ground_plane(street, frames):
    position, forward, up = street.rig.pose(street.path, 0.5)
    right = np.cross(forward, up)
    k = frames[0].intrinsics
    u, v = np.meshgrid(np.arange(k.width), np.arange(k.height))
    down = ((u - k.cx) / k.fx * right[2] - (v - k.cy) / k.fy * up[2]) + forward[2]
    road = (frames[0].panoptic == 0) & (frames[0].depth > 0) & (frames[0].depth < 40)
    expected = -position[2] / down[road]
    assert road.sum() > 500
    # paint and rails lie up to 16 mm above the asphalt, seen from at least 1.2 m above it
    assert np.abs(frames[0].depth[road] / expected - 1).max() < 0.015
    assert np.median(np.abs(frames[0].depth[road] / expected - 1)) < 0.002


def test_an_instance_is_one_object_at_all_times(street):
    """Every pixel of an id lies where that id's bodies are: within their bounding spheres, at each moment."""
    checked = 0
    with StreetCamera(street) as camera:
        for time in (0.0, 0.7, 2.4):
            frame, k = camera.render(time), camera.intrinsics
            position, forward, up = street.rig.pose(street.path, time)
            axes = np.stack([np.cross(forward, up), -up, forward])
            for value in np.unique(frame.panoptic):
                if value % DIVISOR == 0:
                    continue
                v, u = np.nonzero((frame.panoptic == value) & (frame.depth > 0))
                z = frame.depth[v, u]
                points = np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z], -1) @ axes + position
                geoms = np.flatnonzero(street.values == value)
                gaps = np.linalg.norm(points[:, None] - street.data.geom_xpos[geoms], axis=2)
                assert (gaps < street.model.geom_rbound[geoms] * 1.02 + 0.05).any(1).all()
                checked += 1
    assert checked >= 10


def test_a_moving_vehicle_covers_its_speed(street):
    street.move(1.0)
    before = street.data.mocap_pos.copy()
    street.move(1.1)
    step = np.linalg.norm(street.data.mocap_pos - before, axis=1)
    wrapped = step > 5  # went round to the beginning, out of sight
    assert wrapped.mean() < 0.05
    assert (step[~wrapped] < 1.6).all()  # 16 m/s
    assert (step > 0.05).mean() > 0.5


def test_a_walkers_limbs_stay_at_their_joints(street):
    rng = np.random.default_rng(0)
    world = World()
    person = pedestrian(rng, world.palette)
    traffic = Traffic(world, street.path)
    traffic.add_person(person, world.instance("person"), Course(5.0, -1.3, 4.0, -20, 60), 0.3)
    position, quaternion = traffic.poses(2.0)
    assert np.allclose(np.linalg.norm(quaternion, axis=1), 1)
    offsets = np.linalg.norm(position[1:] - position[0], axis=1)
    assert np.allclose(offsets, [np.linalg.norm(limb.pivot) for limb in person.limbs])
    later = traffic.poses(2.1)[0]
    assert np.linalg.norm(later[0] - position[0]) == pytest.approx(0.13, abs=0.01)
    assert not np.allclose(traffic.poses(2.1)[1][1:], quaternion[1:])


def test_a_course_goes_round(street):
    world = World()
    traffic = Traffic(world, street.path)
    walker = pedestrian(np.random.default_rng(0), world.palette).standing()
    traffic.add(walker, "matte", world.instance("person"), Course(0.0, 10.0, 0.0, -10.0, 30.0))
    start, again = traffic.poses(0.0)[0], traffic.poses(4.0)[0]
    assert np.allclose(start, again)


def test_sequence_gives_the_asked_for_frames():
    frames = list(sequence(5, TINY))
    assert len(frames) == TINY.frames
    assert np.allclose(np.diff([frame.stamp for frame in frames]), TINY.spacing)


def test_drive_goes_on_in_the_next_street_of_the_same_split():
    with_seeds = [camera.street.seed for camera in islice(drive(7, TINY), 2)]
    assert with_seeds == [7, 9]


def test_rig_stays_in_its_ranges(street):
    rig = street.rig
    assert 1.2 <= rig.height <= 2.0
    assert TINY.min_focal <= rig.focal <= TINY.max_focal
    assert street.duration == pytest.approx(TINY.length / rig.speed)
