"""Random appearance of a training image: weather, dirt, lens, sensor and compression, beyond realistic looks.

A network that learned from rendered streets should not rely on how they look (domain randomisation: Tobin et al.,
IROS 2017). Nothing here moves a pixel, so all labels stay true.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from dvps_ros.datasets.transforms import to_bytes

#: Metres at which a pixel without depth (sky, far away, not labelled) stands in haze.
_FAR = 150.0

#: (H, W, 3) uint8, (H, W) depth in metres or None, and a generator -> (H, W, 3) uint8.
Effect = Callable[[np.ndarray, "np.ndarray | None", np.random.Generator], np.ndarray]


def vary(image: np.ndarray, depth: np.ndarray | None, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Apply a random choice of effects, in the order in which light meets them.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB.
    depth : (H, W) float metres, 0 unknown; None if the image has none. Haze follows it.
    strength : 0..1, factor on the probability of each effect.

    Returns
    -------
    (H, W, 3) uint8.
    """
    for probability, effect in EFFECTS:
        if rng.random() < probability * strength:
            image = effect(image, depth, rng)
    return image


# --- the scene --------------------------------------------------------------------------------------------------------


def _haze(image: np.ndarray, depth: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Light is lost with distance and replaced by that of the air; without depth, equally everywhere."""
    air = rng.uniform(110, 250) + rng.normal(0, 8, 3)
    if depth is None or np.count_nonzero(depth) < depth.size / 2:  # sparse labels would show in the haze
        clear: np.ndarray | float = rng.uniform(0.5, 0.95)
    else:
        loss = 10 ** rng.uniform(-2.6, -1.4)
        clear = np.exp(-loss * np.where(depth > 0, depth, _FAR))[..., None].astype(np.float32)
    return to_bytes(image * clear + air.astype(np.float32) * (1 - clear))


def _shadow(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A polygon of the picture is darker or lighter, with a soft or hard edge."""
    height, width = image.shape[:2]
    corners = (rng.uniform(-0.2, 1.2, (int(rng.integers(3, 7)), 2)) * (width, height)).astype(np.int32)
    mask = np.zeros((height, width), np.float32)
    cv2.fillPoly(mask, [corners], 1.0)
    if rng.random() < 0.6:
        mask = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(1, 8))).astype(np.float32)
    factor = rng.uniform(0.35, 0.8) if rng.random() < 0.7 else rng.uniform(1.2, 1.7)
    return to_bytes(image * (1 + np.float32(factor - 1) * mask[..., None]))


def _rain(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Bright streaks of one direction, and a little veil."""
    drops = (rng.random(image.shape[:2]) > rng.uniform(0.985, 0.998)).astype(np.float32)
    length = int(rng.integers(7, 25))
    streaks = cv2.filter2D(drops, -1, _line(length, np.pi / 2 + rng.normal(0, 0.25)) * length)
    share = np.clip(streaks * rng.uniform(0.1, 0.5), 0, 0.8)[..., None].astype(np.float32)
    veil = np.float32(rng.uniform(0, 0.2))
    return to_bytes((image * (1 - veil) + 170 * veil) * (1 - share) + np.float32(rng.uniform(170, 240)) * share)


# --- the lens ---------------------------------------------------------------------------------------------------------


def _dirt(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Blurred spots on the glass, dark as mud or bright as drops in the sun."""
    height, width = image.shape[:2]
    cells = rng.random((int(rng.integers(4, 12)), int(rng.integers(6, 20)))).astype(np.float32)
    field = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    cover = (np.clip((field - rng.uniform(0.75, 0.95)) * 6, 0, 1) * rng.uniform(0.2, 0.8))[..., None]
    tone = (rng.uniform(20, 90) if rng.random() < 0.7 else rng.uniform(180, 250)) + rng.normal(0, 6, 3)
    return to_bytes(image * (1 - cover) + tone.astype(np.float32) * cover)


def _blur(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Out of focus, or moved during the exposure."""
    if rng.random() < 0.6:
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8)))
    return cv2.filter2D(image, -1, _line(int(rng.integers(3, 9)), rng.uniform(0, np.pi)))


def _coarse(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Fewer pixels, interpolated again, as by a cheap camera or a scaled stream."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.4, 0.85)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


# --- the sensor and what processes its picture ------------------------------------------------------------------------


def _exposure(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Gain, tone curve and black level."""
    levels = np.arange(256) / 255 * np.exp(rng.normal(0, 0.35))
    levels = np.clip(levels, 0, 1) ** np.exp(rng.normal(0, 0.35))
    black = rng.uniform(0, 0.15)
    return cv2.LUT(image, to_bytes(255 * (black + (1 - black) * levels)))


def _white_balance(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A tint of the light, of the highlights, or both."""
    levels = np.arange(256, dtype=np.float32)[None, :, None]
    gains = np.exp(rng.normal(0, 0.14, 3)).astype(np.float32)
    curve = 255 * (levels / 255) ** np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    return cv2.LUT(image, to_bytes(curve * gains))


def _mixed_colors(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Other color primaries: each channel takes a share of the others."""
    mix = np.eye(3) + rng.normal(0, 0.15, (3, 3))
    return cv2.transform(image, mix / mix.sum(1, keepdims=True))


def _grey(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A monochrome camera; sometimes an infrared one, that weights red highest."""
    weights = (0.299, 0.587, 0.114) if rng.random() < 0.7 else (0.7, 0.25, 0.05)
    return cv2.transform(image, np.tile(weights, (3, 1)))


def _noise(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Grain of brightness and of color, of single pixels or of spots as after demosaicing."""
    height, width = image.shape[:2]
    deviation = 10 ** rng.uniform(0.3, 1.25)
    grain = np.repeat(rng.standard_normal((height, width, 1), np.float32), 3, 2)
    if rng.random() < 0.5:
        grain += np.float32(0.7) * rng.standard_normal((height, width, 3), np.float32)
    if rng.random() < 0.4:
        grain = 2 * cv2.GaussianBlur(grain, (0, 0), 0.8).astype(np.float32)
    return to_bytes(image + np.float32(deviation) * grain)


def _local_contrast(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """The tone mapping of cameras that brighten shadows (CLAHE; Zuiderveld, 1994)."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(float(rng.uniform(1, 4)), (4, 4)).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def _sharpen(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """The edges that cheap cameras draw around everything."""
    amount = rng.uniform(0.3, 2.0)
    smooth = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.7, 2.0)))
    return cv2.addWeighted(image, 1 + amount, smooth, -amount, 0)


def _jpeg(image: np.ndarray, _: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Blocks and ringing of compression."""
    written, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 85))])
    assert written, "a picture in memory can be encoded"
    return cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)


#: Probability at full strength, and effect.
EFFECTS: tuple[tuple[float, Effect], ...] = (
    (0.15, _haze),
    (0.2, _shadow),
    (0.06, _rain),
    (0.08, _dirt),
    (0.25, _blur),
    (0.15, _coarse),
    (0.5, _exposure),
    (0.4, _white_balance),
    (0.2, _mixed_colors),
    (0.06, _grey),
    (0.3, _noise),
    (0.15, _local_contrast),
    (0.2, _sharpen),
    (0.3, _jpeg),
)


def _line(length: int, angle: float) -> np.ndarray:
    """(k, k) float32 kernel, a line through the center with the sum 1."""
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    reach = np.array([np.cos(angle), np.sin(angle)]) * side / 2
    center = np.full(2, side // 2)
    first, last = (tuple(int(v) for v in np.rint(center + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, first, last, 1.0)
    return kernel / kernel.sum()
