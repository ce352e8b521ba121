"""Cars, trucks, buses, trams, motorcycles and bicycles; origin on the ground below the middle, x forward."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dvps_ros.simulation.shapes import Mesh, Paint, box, ellipsoid, merge, prism, quads, tube
from dvps_ros.simulation.two_wheelers import bicycle, motorcycle
from dvps_ros.simulation.vehicle_parts import (
    DARK,
    GLASS,
    GLASS_LIGHT,
    METAL,
    RED_LAMP,
    WHITE_LAMP,
    Vehicle,
    lamps,
    side_glass,
    vehicle_color,
    wheels,
)
from dvps_ros.simulation.world import Palette


def car(rng: np.random.Generator, palette: Palette) -> Vehicle:
    """A hatchback, saloon, estate, off-roader or van."""
    kind = rng.choice(["hatch", "saloon", "estate", "suv", "van"], p=[0.3, 0.25, 0.15, 0.2, 0.1])
    length, width, height, belt, bonnet = _CAR_SIZES[kind]
    length, height = length * rng.uniform(0.94, 1.06), height * rng.uniform(0.97, 1.04)
    half, front, rear, w = length / 2, length / 2, -length / 2, width / 2
    clearance = 0.20 if kind != "suv" else 0.27
    paint, trim = palette(vehicle_color(rng)), palette(DARK)
    nose = belt - (0.16 if kind != "van" else 0.02)
    cowl = front - bonnet  # where bonnet and windscreen meet
    deck = {"saloon": rear + 0.75, "hatch": rear + 0.12, "estate": rear + 0.08, "suv": rear + 0.10, "van": rear + 0.04}
    tail = deck[kind]
    hull = np.array([
        [rear + 0.10, clearance], [front - 0.12, clearance], [front, clearance + 0.18], [front - 0.02, nose - 0.12],
        [front - 0.14, nose], [cowl, belt], [tail, belt + 0.02], [rear + 0.02, belt - 0.04], [rear, clearance + 0.25],
    ])  # fmt: skip
    widths = np.array([0.94, 0.94, 0.90, 0.90, 0.93, 0.985, 0.985, 0.95, 0.96]) * w
    # the roof edge and the cabin's sides lean inwards
    slope = {"van": 0.45, "suv": 0.62}.get(kind, 0.72)
    back = {"saloon": 0.62, "hatch": 0.38, "estate": 0.22, "suv": 0.22, "van": 0.06}[kind]
    roof_front, roof_rear = cowl - slope, tail + back
    lean = 0.80 if kind != "van" else 0.90
    cabin = np.array([[tail, belt], [cowl, belt], [roof_front, height - 0.03], [roof_front - 0.25, height],
                      [roof_rear + 0.2, height], [roof_rear, height - 0.04]])  # fmt: skip
    cabin_w = np.array([0.965, 0.965, lean, lean * 0.985, lean * 0.985, lean]) * w
    z0, z1 = belt + 0.04, height - 0.10

    def at(z: float) -> tuple[float, float, float]:
        """Cabin at height z: x of the rear end and the front end, and half width."""
        f = (z - belt) / (height - 0.03 - belt)
        return tail + f * back, cowl - f * slope, (0.965 + f * (lean - 0.965)) * w + 0.006

    (r0, f0, _), glass = at(z0), _car_glass(rng, palette, kind, (*at(z0), z0), (*at(z1), z1))
    parts = [prism(hull, widths, paint), prism(cabin, cabin_w, paint), *glass]
    axle = half - 0.82
    parts.append(wheels(palette, [axle, -axle + 0.05], w * 0.965, 0.31 if kind != "suv" else 0.36))
    parts.append(lamps(palette, front - 0.03, rear + 0.02, w * 0.93, nose - 0.18))
    parts.append(box((front - 0.02, 0, nose - 0.20), (0.05, width * 0.42, 0.12), trim))
    parts.append(box((front - 0.03, 0, clearance + 0.1), (0.08, width * 0.82, 0.14), trim))
    parts.append(box((rear + 0.04, 0, clearance + 0.1), (0.1, width * 0.84, 0.16), trim))
    parts.append(box((0, 0, clearance + 0.02), (length * 0.7, width * 0.975, 0.1), trim))
    parts += _flanks((r0, f0), w, (clearance, belt), paint, trim)
    if kind in ("estate", "suv") and rng.uniform() < 0.6:
        for side in (-1, 1):
            parts.append(box((0.5 * (roof_front + roof_rear), side * w * 0.66, height + 0.04),
                             (0.75 * (roof_front - roof_rear), 0.05, 0.05), trim))  # fmt: skip
    return Vehicle(merge(parts), length, width)


#: Length, width, height, height of the belt line and length of the bonnet, by the kind of car.
_CAR_SIZES = {
    "hatch": (4.0, 1.74, 1.47, 0.90, 0.95),
    "saloon": (4.7, 1.82, 1.44, 0.92, 1.15),
    "estate": (4.7, 1.82, 1.50, 0.92, 1.15),
    "suv": (4.5, 1.88, 1.72, 1.05, 1.05),
    "van": (4.9, 1.92, 2.00, 1.12, 0.70),
}


def _flanks(ends: tuple[float, float], w: float, heights: tuple[float, float], paint: Paint, trim: Paint) -> list[Mesh]:
    """Mirrors and door gaps of a car: x of the cabin's rear and front end, half width, and where its doors are."""
    (r0, f0), (clearance, belt), parts = ends, heights, []
    for side in (-1, 1):
        parts.append(box((f0 - 0.25, side * (w + 0.07), belt + 0.08), (0.12, 0.2, 0.14), paint))
        for x in (f0 - 0.2, (f0 + r0) / 2 - 0.05, r0 + 0.35):  # door gaps
            parts.append(box((x, side * w * 0.97, (belt + clearance) / 2 + 0.08), (0.015, 0.035, belt - 0.45), trim))
    return parts


def _car_glass(
    rng: np.random.Generator,
    palette: Palette,
    kind: str,
    low: tuple[float, float, float, float],
    high: tuple[float, float, float, float],
) -> list[Mesh]:
    """Windows of a cabin: x of its rear and front end, half width and height, at their lower and their upper edge."""
    (r0, f0, y0, z0), (r1, f1, y1, z1) = low, high
    pillar = 0.12
    cuts = [0.0, 0.52, 1.0] if kind in ("hatch", "saloon") else [0.0, 0.34, 0.66, 1.0]
    glass = []
    dark = kind == "van" and rng.uniform() < 0.5
    for left, right in pairwise(cuts):
        if dark and right < 0.9:
            continue
        lo0, hi0 = r0 + pillar + (f0 - r0 - 2 * pillar) * left, r0 + pillar + (f0 - r0 - 2 * pillar) * right - 0.07
        lo1, hi1 = r1 + pillar + (f1 - r1 - 2 * pillar) * left, r1 + pillar + (f1 - r1 - 2 * pillar) * right - 0.07
        glass.append(side_glass(palette, np.array([lo0, hi0, z0]), np.array([lo1, hi1, z1]), (y0, y1), GLASS))
    g, e = palette(GLASS_LIGHT if rng.uniform() < 0.3 else GLASS), 0.012
    s0, s1 = y0 - 0.10, y1 - 0.10
    glass.append(quads(np.array([[f0 + e, -s0, z0], [f0 + e, s0, z0], [f1 + e, s1, z1], [f1 + e, -s1, z1]]), g))
    glass.append(quads(np.array([[r0 - e, s0, z0], [r0 - e, -s0, z0], [r1 - e, -s1, z1], [r1 - e, s1, z1]]), g))
    return glass


def truck(rng: np.random.Generator, palette: Palette) -> Vehicle:
    """A delivery truck, tipper or tanker of 6 to 9 m."""
    length, width = rng.uniform(6.2, 9.0), 2.4
    front, rear, w = length / 2, -length / 2, width / 2
    paint, cargo = (
        palette(vehicle_color(rng)),
        palette(rng.uniform(0.3, 0.92, 3) if rng.uniform() < 0.6 else (0.88,) * 3),
    )
    trim, glass = palette(DARK), palette(GLASS)
    cab = np.array([[front - 1.9, 0.55], [front, 0.5], [front, 1.45], [front - 0.22, 2.65], [front - 1.9, 2.75]])
    parts = [prism(cab, w * 0.97, paint)]
    parts.append(quads(np.array([[front + 0.005, -w * 0.85, 1.52], [front + 0.005, w * 0.85, 1.52],
                                 [front - 0.17, w * 0.82, 2.45], [front - 0.17, -w * 0.82, 2.45]]), glass))  # fmt: skip
    parts.append(side_glass(palette, np.array([front - 1.15, front - 0.18, 1.5]),
                             np.array([front - 1.1, front - 0.35, 2.35]), (w * 0.975, w * 0.975), GLASS))  # fmt: skip
    parts.append(box((front + 0.01, 0, 0.62), (0.12, width * 0.96, 0.35), trim))
    parts.append(box((front + 0.0, 0, 1.15), (0.06, width * 0.6, 0.25), trim))
    for side in (-1, 1):
        parts.append(box((front + 0.05, side * 0.9, 0.72), (0.06, 0.3, 0.17), palette(WHITE_LAMP)))
        parts.append(box((rear - 0.02, side * 0.95, 0.95), (0.06, 0.32, 0.16), palette(RED_LAMP)))
        parts.append(box((front - 0.25, side * (w + 0.12), 2.0), (0.1, 0.22, 0.45), trim))
        parts.append(box((-0.6, side * w * 0.9, 0.55), (length * 0.4, 0.06, 0.4), trim))
    bed = front - 2.05
    middle = (bed + rear) / 2
    parts.append(box((middle, 0, 0.82), (bed - rear, width * 0.85, 0.22), trim))
    kind = rng.choice(["box", "box", "tanker", "tipper"])
    if kind == "box":
        top = rng.uniform(2.9, 3.5)
        parts.append(box((middle, 0, (top + 0.95) / 2), (bed - rear, width, top - 0.95), cargo))
        stripe = palette(rng.uniform(0.1, 0.9, 3))
        for side in (-1, 1):
            parts.append(box((middle, side * w, top * 0.62), ((bed - rear) * 0.6, 0.02, 0.55), stripe))
            parts.append(box((middle, side * w, top - 0.04), (bed - rear + 0.04, 0.06, 0.09), palette(METAL)))
        parts.append(box((rear, 0, (top + 0.95) / 2), (0.02, 0.06, top - 1.1), trim))
    elif kind == "tanker":
        parts.append(tube((rear + 0.1, 0, 1.95), (bed, 0, 1.95), 1.05, cargo, sides=16))
        parts.append(box((middle, 0, 3.02), ((bed - rear) * 0.8, 0.5, 0.08), trim))
    else:
        sides = palette(vehicle_color(rng))
        parts.append(box((middle, 0, 1.02), (bed - rear, width, 0.16), sides))
        for side in (-1, 1):
            parts.append(box((middle, side * (w - 0.05), 1.5), (bed - rear, 0.1, 0.9), sides))
            for x in np.linspace(rear + 0.3, bed - 0.3, 5):
                parts.append(box((x, side * w, 1.5), (0.1, 0.08, 0.9), trim))
        parts.append(box((rear + 0.05, 0, 1.5), (0.1, width, 0.9), sides))
        parts.append(box((bed - 0.05, 0, 1.6), (0.1, width, 1.1), sides))
        parts.append(ellipsoid((middle, 0, 1.6), ((bed - rear) * 0.46, w * 0.85, 0.6), palette((0.42, 0.34, 0.25))))
    axles = [front - 1.05, rear + 1.2] + ([rear + 2.3] if length > 7.5 else [])
    parts.append(wheels(palette, axles, w * 0.96, 0.48, 0.3))
    return Vehicle(merge(parts), length, width)


def _coach(palette: Palette, length: float, w: float, low: float, top: float, paint, accent, ends=(0.12, 0.12)) -> list:
    """The body that bus and tram share: a rounded box with a window band, a skirt and lamps."""
    front, rear = length / 2, -length / 2
    outline = np.array([[rear, low], [front, low], [front, 1.05], [front - ends[0], top - 0.25],
                        [front - ends[0] - 0.2, top], [rear + ends[1] + 0.2, top], [rear + ends[1], top - 0.25],
                        [rear, 1.05]])  # fmt: skip
    widths = np.array([w, w, w, w * 0.985, w * 0.93, w * 0.93, w * 0.985, w])
    parts = [prism(outline, widths, paint)]
    for side in (-1, 1):
        parts.append(box((0, side * w, low + 0.12), (length - 0.1, 0.03, 0.26), accent))
    return parts


def bus(rng: np.random.Generator, palette: Palette) -> Vehicle:
    """A city bus of 10 to 12.5 m."""
    length, width, top = rng.uniform(10.0, 12.5), 2.5, rng.uniform(2.95, 3.2)
    front, rear, w = length / 2, -length / 2, width / 2
    color = [(0.78, 0.12, 0.10), (0.85, 0.70, 0.12), (0.12, 0.30, 0.60), (0.15, 0.45, 0.28), (0.85, 0.85, 0.82),
             (0.55, 0.70, 0.78)][rng.integers(6)]  # fmt: skip
    paint, accent = palette(np.asarray(color) * rng.uniform(0.85, 1.1)), palette(rng.uniform(0.1, 0.8, 3))
    glass, trim = palette(GLASS), palette(DARK)
    parts = _coach(palette, length, w, 0.32, top, paint, accent)
    panes = 6
    edges = np.linspace(rear + 0.5, front - 0.35, panes + 1)
    for side in (-1, 1):
        for left, right in pairwise(edges):
            parts.append(box(((left + right) / 2, side * w * 0.998, 1.95), (right - left - 0.12, 0.02, 1.05), glass))
        parts.append(box((front - 0.3, side * (w + 0.15), 2.2), (0.15, 0.2, 0.45), trim))
    for x in (front - 1.1, 0.4):  # doors, on the kerb side
        parts.append(box((x, -w * 1.002, 1.42), (1.15, 0.02, 2.05), palette((0.16, 0.18, 0.21))))
        parts.append(box((x, -w * 1.006, 1.42), (0.05, 0.02, 2.05), paint))
    parts.append(quads(np.array([[front + 0.006, -w * 0.92, 1.08], [front + 0.006, w * 0.92, 1.08],
                                 [front - 0.10, w * 0.9, 2.55], [front - 0.10, -w * 0.9, 2.55]]), glass))  # fmt: skip
    parts.append(box((front - 0.1, 0, 2.72), (0.06, width * 0.75, 0.26), palette((0.05, 0.05, 0.05))))
    for k in range(7):  # dots of the destination display
        parts.append(box((front - 0.066, -0.6 + 0.2 * k, 2.72), (0.01, 0.11, 0.13), palette((0.98, 0.62, 0.08))))
    parts.append(box((rear + 0.03, 0, 2.2), (0.05, width * 0.78, 0.7), glass))
    parts.append(box((rear - 0.005, 0, 0.85), (0.03, width * 0.7, 0.5), trim))
    for side in (-1, 1):
        parts.append(box((front + 0.01, side * 0.92, 0.72), (0.04, 0.34, 0.2), palette(WHITE_LAMP)))
        parts.append(box((rear - 0.01, side * 1.05, 1.25), (0.04, 0.22, 0.5), palette(RED_LAMP)))
    parts.append(box((-length * 0.15, 0, top + 0.09), (length * 0.35, width * 0.6, 0.2), palette((0.8, 0.8, 0.8))))
    parts.append(wheels(palette, [front - 2.6, rear + 2.9], w * 0.985, 0.48, 0.3))
    return Vehicle(merge(parts), length, width)


def tram_car(rng: np.random.Generator, palette: Palette, color: np.ndarray, leading: bool, trailing: bool) -> Vehicle:
    """One rigid section of a tram, 9.2 m, of a ``color`` (3,) RGB in 0..1; ``leading`` and ``trailing`` ones slope."""
    length, width, top = 9.2, 2.45, 3.35
    w = width / 2
    paint, upper = palette(color), palette((0.88, 0.87, 0.82))
    glass, trim = palette(GLASS), palette(DARK)
    parts = _coach(palette, length, w, 0.28, top, paint, trim, (0.55 if leading else 0.02, 0.55 if trailing else 0.02))
    for side in (-1, 1):
        parts.append(box((0, side * w * 0.985, 2.95), (length - 1.4, 0.05, 0.42), upper))
        for left, right in pairwise(np.linspace(-3.9, 2.5, 5)):
            parts.append(box(((left + right) / 2, side * w * 0.997, 2.0), (right - left - 0.16, 0.03, 1.15), glass))
        parts.append(box((3.15, side * w * 1.0, 1.5), (1.1, 0.03, 2.15), palette((0.17, 0.2, 0.23))))
        parts.append(box((3.15, side * w * 1.003, 1.5), (0.05, 0.03, 2.15), paint))
    for end, sign in ((leading, 1), (trailing, -1)):
        x = sign * length / 2
        if end:
            low, high = x + sign * 0.008, x - sign * 0.46
            pane = np.array(
                [[low, -w * 0.88, 1.12], [low, w * 0.88, 1.12], [high, w * 0.84, 2.85], [high, -w * 0.84, 2.85]]
            )
            parts.append(quads(pane if sign > 0 else pane[::-1], glass))
            for side in (-1, 1):
                lamp = WHITE_LAMP if sign > 0 else RED_LAMP
                parts.append(box((x, side * 0.85, 0.8), (0.06, 0.3, 0.18), palette(lamp)))
            parts.append(box((x - sign * 0.58, 0, 3.12), (0.12, 1.3, 0.25), palette((0.95, 0.62, 0.1))))
        else:
            parts.append(box((x, 0, 1.75), (0.7, width * 0.86, 2.7), palette((0.13, 0.13, 0.14))))
    parts.append(box((-0.5, 0, top + 0.15), (4.2, 1.5, 0.3), palette((0.5, 0.52, 0.54))))
    if leading:
        for side in (-1, 1):
            parts.append(tube((-1.0, side * 0.4, top + 0.2), (0.2, side * 0.4, top + 0.95), 0.035, trim, sides=5))
            parts.append(tube((0.2, side * 0.4, top + 0.95), (-0.5, side * 0.5, top + 1.6), 0.035, trim, sides=5))
        parts.append(tube((-0.5, -0.8, top + 1.6), (-0.5, 0.8, top + 1.6), 0.04, trim, sides=5))
    for x in (-2.6, 2.6):
        parts.append(box((x, 0, 0.24), (2.1, width * 0.9, 0.3), trim))
        for dx in (-0.65, 0.65):
            for side in (-1, 1):
                ends = (x + dx, side * 0.72, 0.3), (x + dx, side * 1.12, 0.3)
                parts.append(tube(*ends, 0.3, palette((0.2, 0.2, 0.21)), sides=10))
    return Vehicle(merge(parts), length, width)


#: By the name of their class.
BY_NAME = {"car": car, "truck": truck, "bus": bus, "motorcycle": motorcycle, "bicycle": bicycle}
