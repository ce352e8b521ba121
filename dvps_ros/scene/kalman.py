"""A constant-velocity Kalman filter (Kalman, 1960) for many things at once, in a frame that does not move."""

from __future__ import annotations

import numpy as np

#: Deviation of a speed that nobody knows yet, m/s: level (along x and z of the camera), and up or down.
_SPEED, _CLIMB = 6.0, 0.7
#: Deviation of a thing's middle across the ray, as a share of its width and at least so many metres.
_MIDDLE, _LEAST = 0.04, 0.03
#: Deviation along the ray is at least so many metres; from this depth on it grows with the square.
_LEAST_DEPTH, _SQUARE_FROM = 0.08, 40.0
#: A measurement further off than this many deviations counts as one that is that much off.
_GATE = 3.0


def measurement_noise(
    position: np.ndarray, width: np.ndarray, hidden: np.ndarray, rotation: np.ndarray, share: float
) -> np.ndarray:
    """(N, 3, 3) covariance of seen positions, in the frame to which ``rotation`` leads: large along the ray.

    Parameters
    ----------
    position : (N, 3) in the camera's frame.
    width : (N,) of each thing, in metres.
    hidden : (N,) the share of it that may be hidden, by which its middle may be off.
    rotation : (3, 3) from the camera's axes to the fixed ones.
    share : deviation of depth as a share of it.
    """
    depth = position[:, 2]
    along = np.maximum(_LEAST_DEPTH, share * depth * (1 + depth / _SQUARE_FROM))
    across = np.maximum(_LEAST, (_MIDDLE + 0.5 * hidden) * width)
    ray = position / np.linalg.norm(position, axis=1, keepdims=True) @ rotation.T
    outer = ray[:, :, None] * ray[:, None]
    return across[:, None, None] ** 2 * (np.eye(3) - outer) + along[:, None, None] ** 2 * outer


def begun(position: np.ndarray, noise: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 6) and covariances (N, 6, 6) of things seen once, at ``position`` (N, 3) with ``noise`` (N, 3, 3)."""
    covariance = np.zeros((len(position), 6, 6))
    covariance[:, :3, :3] = noise
    covariance[:, 3:, 3:] = rotation @ np.diag([_SPEED**2, _CLIMB**2, _SPEED**2]) @ rotation.T
    return np.concatenate([position, np.zeros_like(position)], 1), covariance


def predicted(
    mean: np.ndarray, covariance: np.ndarray, seconds: float, acceleration: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 6) and covariances (N, 6, 6) ``seconds`` later; ``acceleration`` is its deviation in m/s²."""
    step = np.eye(6)
    step[:3, 3:] = seconds * np.eye(3)
    drift = np.array([[seconds**4 / 4, seconds**3 / 2], [seconds**3 / 2, seconds**2]]) * acceleration**2
    return mean @ step.T, step @ covariance @ step.T + np.kron(drift, np.eye(3))


def squared_distance(off: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(N,) Mahalanobis distances, squared, of ``off`` (N, 3) under covariances ``spread`` (N, 3, 3).

    By Cholesky's decomposition without square roots, of all at once: inverses take ten times as long.
    """
    x, y, z = off.T
    xx, yx, zx = spread[:, :, 0].T
    yy, zy = spread[:, 1:, 1].T
    down, far = yx / xx, zx / xx
    y, z = y - down * x, z - far * x
    yy = yy - down * yx
    farther = (zy - far * yx) / yy
    z = z - farther * y
    zz = spread[:, 2, 2] - far * zx - farther**2 * yy
    return x**2 / xx + y**2 / yy + z**2 / zz


def updated(
    mean: np.ndarray, covariance: np.ndarray, position: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 6) and covariances (N, 6, 6) after ``position`` (N, 3) was seen with ``noise`` (N, 3, 3).

    What is further off than a measurement may be is trusted less (Huber's weights).
    """
    off = position - mean[:, :3]
    spread = covariance[:, :3, :3] + noise
    distance = np.sqrt(squared_distance(off, spread))
    noise = noise * np.maximum(1.0, distance / _GATE)[:, None, None] ** 2
    gain = covariance[:, :, :3] @ np.linalg.inv(covariance[:, :3, :3] + noise)
    left = np.eye(6) - np.concatenate([gain, np.zeros_like(gain)], 2)
    # Joseph's form stays symmetric and positive
    covariance = left @ covariance @ left.transpose(0, 2, 1) + gain @ noise @ gain.transpose(0, 2, 1)
    return mean + np.einsum("nij,nj->ni", gain, off), covariance
