"""Rigs: drawn within their ranges, posed as told, with room on the pavement."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from dvps_ros.config import StreetConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.simulation import Street, StreetCamera
from dvps_ros.simulation.paths import Corridor, Path
from dvps_ros.simulation.rig import Rig, random_rig
from dvps_ros.simulation.shapes import box
from dvps_ros.simulation.site import KERB, Junction, random_section

JUNCTIONS = (Junction(40.0, 4.0, 2.5, (-1, 1), False), Junction(90.0, 5.0, 2.5, (1,), True))
WIDE = StreetConfig(
    min_height=0.3, max_height=2.2, min_pitch=-10.0, max_pitch=15.0, min_roll=-4.0, max_roll=4.0, min_focal=0.45,
    max_focal=1.4, lane=1.0, cycle_lane=1.0, pavement=1.0,
)  # fmt: skip
ON_PAVEMENT = StreetConfig(width=96, height=64, length=60.0, lane=0.0, pavement=1.0, min_height=0.6, max_height=0.6)


def rig_of(seed, config):
    rng = np.random.default_rng(seed)
    section = random_section(rng)
    return section, random_rig(rng, np.random.default_rng([seed, 2]), section, JUNCTIONS, config)


def test_rigs_fill_their_ranges_and_places():
    rigs = [rig_of(seed, WIDE) for seed in range(300)]
    bounds = {"height": (0.3, 2.2), "pitch": np.radians((-10, 15)), "roll": np.radians((-4, 4)), "focal": (0.45, 1.4)}
    for name, (low, high) in bounds.items():
        values = np.array([getattr(rig, name) for _, rig in rigs])
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high
    places = [("lane" if rig.in_traffic else "pavement" if rig.on_pavement else "cycle lane") for _, rig in rigs]
    assert all(70 < places.count(name) < 130 for name in set(places))
    assert len(set(places)) == 3
    for section, rig in rigs:
        if rig.on_pavement:
            assert section.road < abs(rig.lateral) < section.edge
            assert 0.7 <= rig.speed <= 1.8
        elif not rig.in_traffic:
            assert (
                -section.road + section.parking < rig.lateral < -section.median_width / 2 - section.lanes * section.lane
            )
            assert 3.5 <= rig.speed <= 5.5
        assert 5 <= rig.traffic_speed <= 10


def test_the_same_street_whatever_the_rig():
    """What is drawn for the rig leaves the street's own random numbers where they were."""
    states = []
    for config in (StreetConfig(), WIDE, ON_PAVEMENT, replace(StreetConfig(), distortion_model="equidistant")):
        rng = np.random.default_rng(3)
        random_rig(rng, np.random.default_rng(4), random_section(rng), JUNCTIONS, config)
        states.append(rng.bit_generator.state)
    assert all(state == states[0] for state in states)


def test_fixed_values_are_taken_as_they_are():
    config = replace(
        WIDE, min_height=0.4, max_height=0.4, min_pitch=8.0, max_pitch=8.0, min_roll=-3.0, max_roll=-3.0,
        min_focal=1.2, max_focal=1.2, distortion_model="plumb_bob", distortion=(-0.3, 0.1, 0.0, 0.0, 0.01),
    )  # fmt: skip
    for seed in range(5):
        rig = rig_of(seed, config)[1]
        assert (rig.height, rig.pitch, rig.roll, rig.focal) == (0.4, np.radians(8.0), np.radians(-3.0), 1.2)
        assert (rig.lens.model, rig.lens.coefficients) == ("plumb_bob", config.distortion)


def test_a_share_of_the_cameras_is_distorted():
    lens = replace(
        WIDE, distortion_model="plumb_bob", distortion=(-0.3, 0.1, 0.0, 0.0), distorted=0.3, min_distortion=0.5
    )
    models = [rig_of(seed, lens)[1].lens for seed in range(300)]
    distorted = [model.coefficients for model in models if model.model]
    assert 60 < len(distorted) < 120
    strengths = np.array(distorted)[:, 0] / -0.3
    assert 0.5 <= strengths.min() < 0.55
    assert 0.95 < strengths.max() <= 1
    assert np.allclose(np.array(distorted)[:, 1], 0.1 * strengths)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"min_height": 3.0}, "min_height is 3.0, must not exceed max_height, which is 2.2"),
        ({"max_roll": -5.0}, "min_roll is -4.0, must not exceed max_roll, which is -5.0"),
        ({"lane": 0.0, "cycle_lane": 0.0, "pavement": 0.0}, "lane, cycle_lane and pavement are all 0"),
        (
            {"distortion_model": "equidistant", "distortion": (0.1, 0.1, 0.1, 0.1, 0.1)},
            "5 coefficients, equidistant takes 4",
        ),
        ({"distortion_model": "plumb_bob", "distortion": (0.1, 0.1)}, "2 coefficients, plumb_bob takes 4 or 5"),
    ],
)
def test_options_that_contradict_each_other_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        rig_of(1, replace(WIDE, **changes))


def test_roll_leans_to_the_right():
    rig = Rig(1.5, 0.0, 0.0, 0.0, 0.7, 1.0, roll=np.radians(10.0))
    position, forward, up = rig.pose(Path(0, np.zeros(50)), 0.0)
    right = np.cross(forward, up)
    assert np.allclose(position, [8.0, 0.0, 1.5])
    assert np.allclose(forward, [1, 0, 0])
    assert np.allclose(up, [0, -np.sin(np.radians(10)), np.cos(np.radians(10))])  # world y is left
    assert right[2] == pytest.approx(-np.sin(np.radians(10)))  # the right side hangs down


def test_the_ground_is_low_where_side_streets_begin():
    rig = Rig(0.5, -7.0, 0.0, 0.0, 0.7, 1.0, flow=7.0, kerb=KERB, mouths=((12.0, 20.0),))
    heights = [rig.pose(Path(0, np.zeros(50)), time)[0][2] for time in (0.0, 3.9, 4.1, 11.9, 12.1)]
    assert heights == pytest.approx([0.63, 0.63, 0.5, 0.5, 0.63])


def test_walkers_step_aside_for_a_camera_on_the_pavement_alone():
    s, lateral = np.array([8.0, 8.0, 8.0, 30.0]), np.array([-7.1, -6.4, -5.0, -7.1])
    rig = Rig(0.5, -7.0, 0.0, 0.0, 0.7, 1.0, flow=7.0, kerb=KERB)
    assert rig.aside(s, lateral, 0.0) == pytest.approx([-7.75, -6.25, -5.0, -7.1])
    assert (replace(rig, kerb=0.0).aside(s, lateral, 0.0) == lateral).all()


def test_corridor_is_blocked_by_what_reaches_into_it():
    path = Path(0, np.full(200, 1 / 120))  # a bend
    corridor = Corridor(path, -7.4, -6.6, 1.0)

    def at(lateral, low=0.0, high=2.0, size=(0.4, 0.4)):
        x, y, _ = path.place(50.0, lateral)
        mesh = box((0, 0, (low + high) / 2), (*size, high - low), (0, 0))
        return corridor.blocked_by(mesh.moved(x, y, yaw=float(path.heading(50.0))).vertices)

    assert at(-7.0)
    assert at(-6.45)
    assert not at(-6.35)
    assert not at(-7.65)
    assert not at(-7.0, low=1.1)  # overhead
    assert at(-5.0, size=(0.4, 3.3))
    assert at(-4.0, size=(0.4, 12.0))  # no corner lies in it
    assert path.across(path.place(50.0, -7.0)[None, :2])[0] == pytest.approx(-7.0, abs=1e-3)


@pytest.mark.parametrize("seed", [2, 5])
def test_nothing_stands_close_to_a_camera_on_the_pavement(seed):
    """Rays to all sides from where the camera goes: nothing but the ground and walkers nearer than 30 cm."""
    street = Street(seed, ON_PAVEMENT)
    model, data = street.model, street.data
    names = {CITYSCAPES.names[value // 1000] for value in street.values if value < 255000}
    assert {"building", "pole"} <= names
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rays = np.array([[np.cos(a), np.sin(a), tilt] for a in angles for tilt in (-0.5, 0.0, 0.5)])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    for time in np.linspace(0, street.duration, 12):
        street.move(time)
        position = street.rig.pose(street.path, time)[0]
        for ray in rays:
            geom = np.zeros(1, np.int32)
            distance = mujoco.mj_ray(model, data, position, ray, None, 1, -1, geom)
            assert distance < 0 or distance > 0.3, (time, CITYSCAPES.names[street.values[geom[0]] // 1000])


def test_the_ground_is_at_the_told_height_on_the_pavement():
    street = Street(4, ON_PAVEMENT)
    with StreetCamera(street) as camera:
        for time in np.linspace(0, street.duration, 8):
            position = street.rig.pose(street.path, time)[0]
            assert camera.render(time).height == 0.6
            geom = np.zeros(1, np.int32)
            down = mujoco.mj_ray(street.model, street.data, position, np.array([0, 0, -1.0]), None, 1, -1, geom)
            assert down == pytest.approx(0.6, abs=0.02)  # paint and zebras lie up to 16 mm above the road
