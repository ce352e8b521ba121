"""The lens models by calculus: the slope of the radial factor, and where a lens folds the picture back."""

import numpy as np
import pytest
import torch

from dvps_ros.scene import rays
from dvps_ros.scene.view import normalized
from dvps_ros.structures import Intrinsics

RATIONAL = np.array([0.4, -0.3, 0.0, 0.0, 0.05, 0.2, -0.1, 0.02])


@pytest.mark.parametrize("k", [np.array([-0.3, 0.1, 0.0, 0.0]), RATIONAL], ids=["plumb_bob", "rational"])
def test_the_slope_of_the_radial_factor_is_its_derivative(k):
    r2, step = np.linspace(0.01, 2.0, 20), 1e-6
    _, slope = rays._radial(r2, k)
    above, below = rays._radial(r2 + step, k)[0], rays._radial(r2 - step, k)[0]
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


def test_a_barrel_lens_folds_where_the_image_radius_stops_growing():
    """r (1 - 0.3 r²) grows up to r = 1 / sqrt(0.9)."""
    assert rays._fold_radius((-0.3, 0.0, 0.0, 0.0)) == pytest.approx(1 / np.sqrt(0.9), abs=2e-3)
    assert rays._fold_radius((0.3, 0.0, 0.0, 0.0)) == 20.0


def test_the_magnification_of_an_equidistant_lens():
    """The image radius is f * angle: a square shrinks by cos² of the angle along it, by angle / tan across it."""
    camera = Intrinsics(100.0, 125.0, 150.0, 100.0, 301, 201, distortion_model="equidistant", distortion=(0.0,) * 4)
    factor = rays.lens_factor(camera, 1.0)
    assert factor.shape == (201, 301)
    assert factor[100, 150] == pytest.approx(1, abs=1e-4)
    angle = 1.0
    expected = np.sqrt(np.cos(angle) ** 2 * angle / np.tan(angle))
    for row, column in ((100, 250), (100, 50)):
        assert factor[row, column] == pytest.approx(expected, rel=1e-3)
    torch.testing.assert_close(rays.lens_factor(camera, 0.5), factor.sqrt())


def test_without_distortion_or_a_ray_the_magnification_is_one():
    pinhole = Intrinsics(100.0, 100.0, 80.0, 45.0, 160, 90)
    torch.testing.assert_close(rays.lens_factor(pinhole, 0.7), torch.ones(90, 160))
    folded = Intrinsics(50.0, 50.0, 80.0, 45.0, 160, 90, distortion_model="plumb_bob", distortion=(-0.3, 0.0, 0.0, 0.0))
    factor = rays.lens_factor(folded, 0.7)
    nowhere = rays.rays(folded)[..., 0].isnan()
    assert nowhere.any()
    assert (factor[nowhere] == 1).all()
    assert factor.isfinite().all()


@pytest.mark.parametrize("model", ["", "plumb_bob", "equidistant"])
@pytest.mark.parametrize("coefficients", [(0.0, 0.0, 0.0, 0.0), (0.05, -0.01, 0.0, 0.0)])
def test_the_rays_of_single_points_are_those_of_the_pixels(model, coefficients):
    camera = Intrinsics(100.0, 110.0, 80.0, 45.0, 160, 90, distortion_model=model,
                        distortion=coefficients if model else ())  # fmt: skip
    points = np.array([[80.0, 45.0], [150.0, 10.0], [3.0, 88.0]])  # x, y
    expected = rays.rays(camera).numpy()[points[:, 1].astype(int), points[:, 0].astype(int), :2]
    assert normalized(points, camera) == pytest.approx(expected, abs=1e-4)
    assert normalized(points[:0], camera).shape == (0, 2)
