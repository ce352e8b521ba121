"""Random light and air: glare, dusk, night, fog, and wrong exposure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dvps_ros.simulation.atmosphere import Atmosphere

_KINDS = {"sun": 0.34, "grey": 0.28, "low": 0.16, "fog": 0.08, "dusk": 0.09, "night": 0.05}


def any_atmosphere(rng: np.random.Generator, base: Atmosphere) -> Atmosphere:
    """``base`` with random sun, sky brightness and tint, and exposure of the camera."""
    kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.radians(rng.uniform(5, 22) if kind in ("low", "dusk") else rng.uniform(18, 75))
    sun = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    power, ambient = {
        "sun": (rng.uniform(0.5, 1.3), rng.uniform(0.15, 0.5)),
        "grey": (rng.uniform(0.0, 0.25), rng.uniform(0.4, 0.9)),
        "low": (rng.uniform(0.4, 1.2), rng.uniform(0.12, 0.4)),
        "fog": (rng.uniform(0.0, 0.2), rng.uniform(0.45, 0.85)),
        "dusk": (rng.uniform(0.0, 0.3), rng.uniform(0.12, 0.35)),
        "night": (rng.uniform(0.0, 0.06), rng.uniform(0.07, 0.2)),
    }[kind]
    # warm (low sun, street lamps) to cold light, after an imperfect white balance
    warmth = rng.uniform(-0.1, 0.35) if kind in ("low", "dusk", "night") else rng.uniform(-0.12, 0.15)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    # a camera usually exposes for the street, so its sky may be saturated
    light, most = ambient + 0.5 * power * sun[2], 1.4 if kind == "night" else 2.2
    exposure = np.clip(0.75 / light, 0.8, most) ** rng.uniform(0, 1)
    horizon, zenith = _sky(rng, kind)
    haze = {"fog": 10 ** rng.uniform(-2.1, -1.5)}.get(kind, 10 ** rng.uniform(-3.7, -2.1))
    return replace(
        base,
        sun=sun,
        sun_color=tint * power,
        fill_color=np.array([0.8, 0.9, 1.0]) * rng.uniform(0.02, 0.25) * min(1.0, 2 * ambient),
        ambient=np.array([0.96, 0.98, 1.02]) * ambient,
        zenith=zenith,
        horizon=horizon,
        clouds=float({"grey": 1.0, "fog": 1.0, "night": 0.2}.get(kind, rng.uniform(0, 0.9))),
        haze=float(haze),
        headlamps=float(rng.uniform(0.2, 0.7)) if kind == "night" else 0.0,
        gain=exposure * np.exp(rng.normal(0.0, 0.22) + rng.normal(0, 0.06, 3)),
        darkest=float(rng.uniform(0.05, 0.2)),
        gamma=float(np.exp(rng.normal(0.0, 0.22))),
        contrast=float(rng.uniform(-0.35, 0.6)),
        saturation=float(rng.uniform(0.25, 1.35)),
        veil=float(rng.uniform(0, 0.18)) if rng.uniform() < 0.3 else 0.0,
        vignette=float(rng.uniform(0, 0.6)),
        grain=float(10 ** rng.uniform(-3, -1.5)),
    )


def _sky(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Colors of the sky at the horizon and at the zenith; a sky beyond the camera's range is white."""
    blue = np.array([rng.uniform(0.15, 0.5), rng.uniform(0.35, 0.65), rng.uniform(0.6, 0.95)])
    grey = np.full(3, rng.uniform(0.45, 0.95)) + rng.normal(0, 0.03, 3)
    if kind == "night":
        dark = rng.uniform(0.01, 0.12, 3)
        return np.clip(dark * rng.uniform(1, 2.5), 0, 1), dark
    if kind == "dusk":
        glow = np.array([rng.uniform(0.4, 0.95), rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.6)])
        return glow, np.clip(blue * rng.uniform(0.3, 0.7), 0, 1)
    zenith = grey if kind in ("grey", "fog") else blue
    horizon = zenith + (np.array([0.85, 0.88, 0.9]) - zenith) * rng.uniform(0.2, 1.0)
    over = rng.uniform(1.2, 2.5) if rng.uniform() < 0.4 else rng.uniform(0.6, 1.15)
    return np.clip(horizon * over, 0, 1), np.clip(zenith * over, 0, 1)
