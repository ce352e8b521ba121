"""Camera response: haze and wear by depth, then exposure, tone, vignette and grain."""

from __future__ import annotations

import numpy as np

from dvps_ros.simulation.atmosphere import Atmosphere
from dvps_ros.simulation.hood import Hood
from dvps_ros.simulation.wear import Wear

#: Distance in metres over which the light of headlamps falls off.
_LAMP_REACH = 22.0
#: Largest factor on the exposure in the dark.
_LONGEST = 4.0
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


class Developer:
    """Converts the renderings of one street to camera images.

    Parameters
    ----------
    seed : seed of the street.
    air : its atmosphere.
    directions : (H, W, 2) x and y at z = 1 of each pixel's ray, NaN where there is none.
    wear, hood : None for none.
    """

    def __init__(
        self, seed: int, air: Atmosphere, directions: np.ndarray, wear: Wear | None = None, hood: Hood | None = None
    ) -> None:
        self._seed, self._air, self._wear, self._hood = seed, air, wear, hood
        height, width = directions.shape[:2]
        self._rays = np.nan_to_num(np.concatenate([directions, np.ones((height, width, 1))], -1)).astype(np.float32)
        y, x = np.mgrid[0:height, 0:width]
        radius = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
        self._response = (1 - air.vignette * radius)[..., None].astype(np.float32)

    def __call__(
        self, rgb: np.ndarray, depth: np.ndarray, time: float, position: np.ndarray, axes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The camera image, and the mask of the hood.

        Parameters
        ----------
        rgb, depth : (H, W, 3) uint8 and (H, W) float32 of the rendering; depth is 0 in the sky.
        time : seconds; part of the seed of the grain.
        position, axes : (3,) and (3, 3) of the camera in the world; rows are right, down and forward.

        Returns
        -------
        (H, W, 3) uint8 and (H, W) bool.
        """
        air = self._air
        rgb = rgb.astype(np.float32) / 255
        if self._wear:
            points = (self._rays * depth[..., None]) @ axes.astype(np.float32) + position.astype(np.float32)
            rgb = rgb * self._wear.shade(points, depth)[..., None]
        if air.headlamps:
            rgb = rgb * (0.35 + 0.65 * np.exp(-depth / _LAMP_REACH))[..., None]
        clear = np.exp(-air.haze * depth)[..., None]
        rgb = rgb * clear + air.horizon.astype(np.float32) * (1 - clear)
        hidden = np.zeros(depth.shape, bool)
        if self._hood:
            rgb, hidden = self._hood.draw(rgb)
        if air.darkest:
            rgb = rgb * np.float32(np.clip(air.darkest / max(float(rgb.mean()), 1e-3), 1, _LONGEST))
        rgb = np.clip(rgb * air.gain.astype(np.float32), 0, 1) ** np.float32(air.gamma)
        rgb = self._toned(rgb)
        rng = np.random.default_rng([self._seed, round(time * 1000)])
        grain = rng.standard_normal(rgb.shape, np.float32) * np.float32(air.grain)
        return (np.clip(rgb * self._response + grain, 0, 1) * 255).astype(np.uint8), hidden

    def _toned(self, rgb: np.ndarray) -> np.ndarray:
        air = self._air
        if air.contrast:
            smooth = rgb * rgb * (3 - 2 * rgb)
            rgb = rgb + np.float32(air.contrast) * (smooth - rgb)
        if air.saturation != 1:
            grey = (rgb @ _GREY)[..., None]
            rgb = grey + np.float32(air.saturation) * (rgb - grey)
        return rgb + np.float32(air.veil) * (1 - rgb) if air.veil else rgb
