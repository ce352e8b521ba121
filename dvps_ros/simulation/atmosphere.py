"""Sun, sky, haze and the camera's response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvps_ros.simulation.textures import noise


@dataclass(frozen=True)
class Atmosphere:
    """The light of one street; colors are RGB in 0..1.

    Attributes
    ----------
    sun : (3,) unit vector towards the sun.
    sun_color, fill_color, ambient : light from the sun, from the opposite half of the sky, and from everywhere.
    zenith, horizon : sky colors; haze has the color of the horizon.
    clouds : 0 clear to 1 overcast.
    haze : share of light lost per metre.
    gain, gamma : exposure and tone of the camera, per channel and overall.
    vignette : darkening in the corners, 0..1.
    grain : standard deviation of the sensor's noise, 0..1.
    contrast : contrast of the tone curve, -1..1; 0 is linear, above 0 it is steeper in the middle.
    saturation : factor on the distance of colors from grey.
    veil : stray light over the whole picture, 0..1.
    darkest : mean brightness below which the camera raises its exposure, 0..1.
    headlamps : light of the car's headlamps, which falls off with distance.
    """

    sun: np.ndarray
    sun_color: np.ndarray
    fill_color: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    clouds: float
    haze: float
    gain: np.ndarray
    gamma: float
    vignette: float
    grain: float
    contrast: float = 0.0
    saturation: float = 1.0
    veil: float = 0.0
    darkest: float = 0.0
    headlamps: float = 0.0


def random_atmosphere(rng: np.random.Generator) -> Atmosphere:
    """A random atmosphere: sunny, hazy, overcast or low evening light."""
    kind = rng.choice(["sunny", "cloudy", "overcast", "low"], p=[0.35, 0.25, 0.25, 0.15])
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.radians({"low": rng.uniform(14, 26)}.get(kind, rng.uniform(32, 68)))
    sun = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    warm = np.array([1.0, 0.80, 0.58]) if kind == "low" else np.array([1.0, 0.96, 0.88])
    power = {"sunny": 0.78, "cloudy": 0.58, "overcast": 0.20, "low": 0.72}[kind] * rng.uniform(0.9, 1.1)
    ambient = {"sunny": 0.40, "cloudy": 0.46, "overcast": 0.64, "low": 0.38}[kind] * rng.uniform(0.92, 1.08)
    zenith = {"sunny": (0.22, 0.42, 0.78), "cloudy": (0.32, 0.50, 0.78), "overcast": (0.66, 0.69, 0.73),
              "low": (0.30, 0.42, 0.66)}[kind]  # fmt: skip
    horizon = {"sunny": (0.74, 0.84, 0.93), "cloudy": (0.80, 0.85, 0.89), "overcast": (0.84, 0.85, 0.86),
               "low": (0.93, 0.80, 0.66)}[kind]  # fmt: skip
    return Atmosphere(
        sun,
        warm * power,
        np.array([0.72, 0.82, 1.0]) * rng.uniform(0.10, 0.20),
        np.array([0.93, 0.97, 1.05]) * ambient,
        np.clip(np.asarray(zenith) * rng.uniform(0.88, 1.1) + rng.normal(0, 0.02, 3), 0, 1),
        np.clip(np.asarray(horizon) * rng.uniform(0.95, 1.04), 0, 1),
        {"sunny": rng.uniform(0.0, 0.4), "cloudy": rng.uniform(0.5, 0.8), "overcast": 1.0}.get(kind, 0.4),
        float(rng.choice([0.0006, 0.0015, 0.004, 0.008], p=[0.4, 0.35, 0.18, 0.07])),
        rng.uniform(0.92, 1.12) * np.exp(rng.normal(0, 0.025, 3)),
        rng.uniform(0.85, 1.1),
        rng.uniform(0.0, 0.25),
        rng.uniform(0.002, 0.014),
    )


def sky_faces(rng: np.random.Generator, air: Atmosphere, size: int = 256) -> np.ndarray:
    """The sky as a cube map: (6, size, size, 3) uint8, faces +x -x +z -z -y +y as in MuJoCo."""
    b, a = np.mgrid[0:size, 0:size].astype(np.float32) / (size - 1) * 2 - 1
    one = np.ones_like(a)
    directions = np.stack([
        np.stack([one, a, -b], -1), np.stack([-one, -a, -b], -1), np.stack([a, -b, one], -1),
        np.stack([a, b, -one], -1), np.stack([a, -one, -b], -1), np.stack([-a, one, -b], -1),
    ])  # fmt: skip
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    up = np.clip(directions[..., 2], 0, 1)
    blend = (1 - np.exp(-3.2 * up))[..., None]
    sky = air.horizon * (1 - blend) + air.zenith * blend
    # clouds lie on a plane overhead
    field = noise(rng, 512, 4, 6)
    scale = 190.0 / (up + 0.12)
    u = (directions[..., 0] * scale).astype(int) % 512
    v = (directions[..., 1] * scale).astype(int) % 512
    cover = 0.75 - 1.35 * air.clouds
    density = np.clip((field[v, u] - cover) * 1.6, 0, 1)[..., None] * np.clip(up * 9, 0, 1)[..., None]
    shade = 0.93 + 0.10 * np.roll(field, 12, 0)[v, u][..., None] * (0.4 + 0.6 * air.clouds)
    white = (0.55 + 0.45 * air.horizon) * np.clip(shade, 0, 1.03) * (0.98 if air.clouds < 1 else 0.9)
    sky = sky * (1 - density) + white * density
    glow = np.clip(directions @ air.sun, 0, 1)
    clear = 1 - 0.9 * air.clouds
    sky += (air.sun_color * clear) * (0.25 * glow**24 + 1.2 * glow**900)[..., None]
    return np.ascontiguousarray((np.clip(sky, 0, 1) * 255).astype(np.uint8))
