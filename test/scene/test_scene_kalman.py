"""The Kalman filter of many things: distances against the inverse, a known way, measurements that are far off."""

import numpy as np
import pytest

from dvps_ros.scene import kalman


def test_distances_are_those_of_the_inverse():
    random = np.random.default_rng(0)
    root, off = random.normal(size=(50, 3, 3)), random.normal(size=(50, 3))
    spread = root @ root.transpose(0, 2, 1) + 0.01 * np.eye(3)
    expected = [o @ np.linalg.inv(s) @ o for o, s in zip(off, spread, strict=True)]
    assert kalman.squared_distance(off, spread) == pytest.approx(np.array(expected), rel=1e-9)


def followed(velocity, frames=20, seconds=0.1):
    """Mean and covariance after exact measurements of things that start at their velocities, (N, 3) each."""
    velocity = np.array(velocity, float)
    noise = np.broadcast_to(0.01 * np.eye(3), (len(velocity), 3, 3))
    mean, covariance = kalman.initialized(velocity, noise, np.eye(3))
    for k in range(1, frames):
        mean, covariance = kalman.predicted(mean, covariance, seconds, 0.5)
        mean, covariance = kalman.updated(mean, covariance, velocity * (1 + k * seconds), noise)
    return mean, covariance


def test_the_velocity_of_each_thing_is_found():
    velocity = [[3.0, 0.0, 8.0], [0.0, 0.1, -4.0], [0.0, 0.0, 0.0]]
    mean, covariance = followed(velocity)
    assert mean[:, 3:] == pytest.approx(np.array(velocity), abs=0.2)
    assert np.allclose(covariance, covariance.transpose(0, 2, 1))
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    alone, _ = followed(velocity[:1])
    assert mean[:1] == pytest.approx(alone)  # things are independent


def test_what_is_far_off_moves_a_thing_less_than_its_distance_says():
    mean, covariance = followed([[0.0, 0.0, 0.0]])
    noise = 0.01 * np.eye(3)[None]
    near, far = (kalman.updated(mean, covariance, np.array([[x, 0, 0.0]]), noise)[0][0, 0] for x in (0.2, 4.0))
    assert 0 < far < 5 * near  # twenty times as far


def test_what_is_not_known_grows_as_a_random_acceleration_lets_it():
    """White acceleration of 3 m/s²: place and speed are off by a t² / 2 and a t, and together."""
    mean = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    after, covariance = kalman.predicted(mean, np.zeros((1, 6, 6)), 0.5, 3.0)
    assert after[0].tolist() == [3.0, 4.5, 6.0, 4.0, 5.0, 6.0]
    way = np.kron([0.5**2 / 2, 0.5], np.eye(3))  # (3, 6): what an acceleration along each axis does
    assert covariance[0] == pytest.approx(9.0 * way.T @ way)


def test_far_off_measurements_count_as_if_their_noise_were_larger():
    """Huber: beyond the gate the deviation grows with the distance; within it this is the plain filter."""
    mean, covariance, noise = np.zeros((1, 6)), np.eye(6)[None], np.eye(3)[None]
    for away in (0.5, 20.0):
        off = np.array([[away, 0.0, 0.0]])
        distance = away / np.sqrt(2.0)
        weight = max(1.0, distance / kalman._GATE) ** 2
        after, spread = kalman.updated(mean, covariance, off, noise)
        assert after[0, 0] == pytest.approx(away / (1 + weight))
        assert spread[0, 0, 0] == pytest.approx(weight / (1 + weight))
