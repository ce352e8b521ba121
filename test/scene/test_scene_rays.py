"""The lens models by calculus: the slope of the radial factor, and where a lens folds the picture back."""

import numpy as np
import pytest

from dvps_ros.scene import rays

RATIONAL = np.array([0.4, -0.3, 0.0, 0.0, 0.05, 0.2, -0.1, 0.02])


@pytest.mark.parametrize("k", [np.array([-0.3, 0.1, 0.0, 0.0]), RATIONAL], ids=["plumb_bob", "rational"])
def test_the_slope_of_the_radial_factor_is_its_derivative(k):
    r2, step = np.linspace(0.01, 2.0, 20), 1e-6
    _, slope = rays._radial(r2, k)
    above, below = rays._radial(r2 + step, k)[0], rays._radial(r2 - step, k)[0]
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


def test_a_barrel_lens_folds_where_the_image_radius_stops_growing():
    """r (1 - 0.3 r²) grows up to r = 1 / sqrt(0.9)."""
    assert rays._fold_radius(np.array([-0.3, 0.0, 0.0, 0.0])) == pytest.approx(1 / np.sqrt(0.9), abs=2e-3)
    assert rays._fold_radius(np.array([0.3, 0.0, 0.0, 0.0])) == 20.0
