"""A constant-velocity Kalman filter (Kalman, 1960) for many things at once, in a fixed frame.

A state is position (metres) and velocity (m/s), (N, 6) for N things.
"""

from __future__ import annotations

import numpy as np

#: Standard deviation of an unknown velocity, m/s: horizontal (x and z of the camera), and vertical.
_SPEED, _CLIMB = 6.0, 0.7
#: Standard deviation of a thing's center across the ray: share of its width, and lower limit in metres.
_CENTER, _MIN_ACROSS = 0.04, 0.03
#: Standard deviation along the ray: lower limit in metres, and depth in metres beyond which it grows quadratically.
_MIN_ALONG, _SQUARE_FROM = 0.08, 40.0
#: Mahalanobis distance beyond which measurements get less weight.
_GATE = 3.0


def measurement_noise(
    position: np.ndarray, width: np.ndarray, hidden: np.ndarray, rotation: np.ndarray, share: float
) -> np.ndarray:
    """(N, 3, 3) covariance of measured positions in the fixed frame, m²; large along the ray.

    Parameters
    ----------
    position : (N, 3) metres in the optical frame.
    width : (N,) of each thing, metres.
    hidden : (N,) share of each thing that may be hidden, which displaces its center.
    rotation : (3, 3) from the optical frame to the fixed one.
    share : standard deviation of depth as a share of depth.
    """
    depth = position[:, 2]
    along = np.maximum(_MIN_ALONG, share * depth * (1 + depth / _SQUARE_FROM))
    across = np.maximum(_MIN_ACROSS, (_CENTER + 0.5 * hidden) * width)
    ray = position / np.linalg.norm(position, axis=1, keepdims=True) @ rotation.T
    outer = ray[:, :, None] * ray[:, None]
    return across[:, None, None] ** 2 * (np.eye(3) - outer) + along[:, None, None] ** 2 * outer


def initialized(position: np.ndarray, noise: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 6) and covariances (N, 6, 6) after one measurement ``position`` (N, 3) with ``noise`` (N, 3, 3).

    ``rotation`` (3, 3) leads from the optical frame to the fixed one.
    """
    covariance = np.zeros((len(position), 6, 6))
    covariance[:, :3, :3] = noise
    covariance[:, 3:, 3:] = rotation @ np.diag([_SPEED**2, _CLIMB**2, _SPEED**2]) @ rotation.T
    return np.concatenate([position, np.zeros_like(position)], 1), covariance


def predicted(
    mean: np.ndarray, covariance: np.ndarray, seconds: float, acceleration: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 6) and covariances (N, 6, 6) ``seconds`` later.

    ``acceleration`` is the standard deviation of the acceleration, m/s².
    """
    step = np.eye(6)
    step[:3, 3:] = seconds * np.eye(3)
    drift = np.array([[seconds**4 / 4, seconds**3 / 2], [seconds**3 / 2, seconds**2]]) * acceleration**2
    return mean @ step.T, step @ covariance @ step.T + np.kron(drift, np.eye(3))


def squared_distance(off: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(N,) squared Mahalanobis distances of differences ``off`` (N, 3) under covariances ``spread`` (N, 3, 3).

    Uses the LDLᵀ decomposition (Cholesky without square roots) of all matrices at once. Inverses take ten times as
    long.
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
    """Means (N, 6) and covariances (N, 6, 6) after the measurements ``position`` (N, 3) with ``noise`` (N, 3, 3).

    Measurements beyond ``_GATE`` standard deviations get less weight (Huber's weights).
    """
    off = position - mean[:, :3]
    spread = covariance[:, :3, :3] + noise
    distance = np.sqrt(squared_distance(off, spread))
    noise = noise * np.maximum(1.0, distance / _GATE)[:, None, None] ** 2
    gain = covariance[:, :, :3] @ np.linalg.inv(covariance[:, :3, :3] + noise)
    left = np.eye(6) - np.concatenate([gain, np.zeros_like(gain)], 2)
    # Joseph's form keeps the covariance symmetric and positive definite
    covariance = left @ covariance @ left.transpose(0, 2, 1) + gain @ noise @ gain.transpose(0, 2, 1)
    return mean + np.einsum("nij,nj->ni", gain, off), covariance
