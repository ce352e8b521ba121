"""Plots behind the sidewalks: houses, gardens, parks, walls, fences, yards."""

from __future__ import annotations

import numpy as np

from dvps_ros.simulation.buildings import house
from dvps_ros.simulation.furniture import bollard
from dvps_ros.simulation.ground import SIDE_STREET_END, side_path
from dvps_ros.simulation.paths import Path
from dvps_ros.simulation.plants import Tree, bush, tree
from dvps_ros.simulation.ragged import ragged_bush, ragged_tree
from dvps_ros.simulation.shapes import Mesh, box, loft, merge
from dvps_ros.simulation.site import Site, inward

_STYLES = {
    "city": {"block": 0.72, "villa": 0.04, "park": 0.08, "wall": 0.09, "yard": 0.07},
    "suburb": {"block": 0.22, "villa": 0.48, "park": 0.10, "wall": 0.12, "yard": 0.08},
    "mixed": {"block": 0.42, "villa": 0.18, "park": 0.14, "wall": 0.14, "yard": 0.12},
}


class Frontage:
    """Fills both sides of a street with plots."""

    def __init__(self, site: Site) -> None:
        self._site, self._rng = site, site.rng
        style = self._rng.choice(list(_STYLES), p=[0.4, 0.25, 0.35])
        self._weights = _STYLES[style]
        self._floors = {"city": (3, 6), "suburb": (1, 3), "mixed": (2, 5)}[style]
        bark = site.world.palette((0.30, 0.24, 0.18))
        self.trees: list[Tree] = [tree(self._rng, bark) for _ in range(4)]
        self._bushes = [bush(self._rng) for _ in range(3)]
        if site.more():
            self.trees = [ragged_tree(site.extra, bark) if site.more() else kind for kind in self.trees]
            self._bushes = [ragged_bush(site.extra) if site.more() else kind for kind in self._bushes]

    def build(self) -> None:
        """Build both sides of the main street, the side streets, and what closes the view at their ends."""
        site = self._site
        for side in (-1, 1):
            previous = site.low
            for junction in [*site.junctions, None]:
                mouth = junction.mouth(side, junction.sidewalk) if junction else (site.high, site.high)
                if mouth is None:
                    continue
                self._row(site.path, previous, mouth[0], side, site.section.edge)
                previous = mouth[1]
            self._backdrop(side)
        for junction in site.junctions:
            for side in junction.sides:
                path = side_path(site, junction, side)
                for flank in (-1, 1):
                    edge = junction.half + junction.sidewalk
                    self._row(path, site.section.edge + 13, SIDE_STREET_END, flank, edge, {"block": 0.8, "park": 0.2})
                self._house(path, SIDE_STREET_END + 1, 0.0, np.pi, 2 * junction.half + 26, 10)
        for s, facing in ((site.high + 2, np.pi), (site.low - 2, 0.0)):
            self._house(site.path, s, 0.0, facing, 2 * site.section.edge + 30, 12)

    def stand_tree(self, s: float, lateral: float, scale: float = 1.0, path: Path | None = None) -> None:
        """Add a tree of one of the street's kinds."""
        site, rng = self._site, self._rng
        kind = self.trees[rng.integers(len(self.trees))]
        scale *= rng.uniform(0.85, 1.15)
        vegetation, turn = site.world.value("vegetation"), rng.uniform(0, 2 * np.pi)
        leaves = site.leaves[rng.integers(len(site.leaves))]
        parts = [(kind.leaves, leaves), (kind.wood, "matte")]
        parts = [(mesh.moved(scale=scale), material) for mesh, material in parts if mesh is not None]
        site.put_together(parts, vegetation, s, lateral, turn, path)

    def railing(self, first: float, last: float, lateral: float) -> None:
        """Add a metal railing along the main street."""
        self._bars(self._site.path, first, last, lateral, "bars", 1.15)

    def _row(self, path: Path, first: float, last: float, side: int, edge: float, weights=None) -> None:
        """Add plots of random kinds that fill ``first`` .. ``last`` exactly."""
        rng = self._rng
        weights = weights or self._weights
        if last - first < 5:
            return
        widths: list[float] = []
        kinds: list[str] = []
        while sum(widths) < last - first - 4:
            kinds.append(str(rng.choice(list(weights), p=list(weights.values()))))
            widths.append({"block": rng.uniform(9, 20), "villa": rng.uniform(13, 19), "park": rng.uniform(14, 28),
                           "wall": rng.uniform(8, 18), "yard": rng.uniform(14, 24)}[kinds[-1]])  # fmt: skip
        ends = first + np.cumsum(widths) * (last - first) / sum(widths)
        for start, end, kind in zip([first, *ends[:-1]], ends, kinds, strict=True):
            getattr(self, f"_{kind}")(path, start, end, side, edge)

    def _house(self, path, s, lateral, facing, width, depth, floors=None) -> None:
        site = self._site
        floors = int(self._rng.integers(*self._floors)) if floors is None else floors
        for mesh, material in house(self._rng, site.world.palette, site.houses, width, depth, floors):
            site.put(mesh, material, site.world.value("building"), s, lateral, facing, path)

    def _lawn(self, path, first, last, side, edge, depth, material="grass") -> None:
        profile = np.array([[edge, 0.11], [edge + depth, 0.11]])
        profile = profile if side > 0 else (profile * [-1, 1])[::-1]
        self._site.strip(first, last, profile, material, self._site.world.value("terrain"), (1 / 6, 1 / 6), path)

    def _block(self, path, first, last, side, edge) -> None:
        s, width = (first + last) / 2, last - first
        self._house(path, s, side * (edge + 0.05), inward(side), width, self._rng.uniform(10, 12))

    def _villa(self, path, first, last, side, edge) -> None:
        rng, s, width = self._rng, (first + last) / 2, last - first
        self._lawn(path, first, last, side, edge, 18)
        back = rng.uniform(4.5, 7.5)
        middle, wide, floors = s + rng.uniform(-1, 1), width * rng.uniform(0.55, 0.75), int(rng.integers(1, 3))
        self._house(path, middle, side * (edge + back), inward(side), wide, 9, floors)
        gate = first + width * rng.uniform(0.2, 0.8)
        for a, b in ((first, gate - 1.2), (gate + 1.2, last)):
            self._boundary(
                path, a, b, side, edge + 0.25, rng.choice(["hedge", "pickets", "wall", "boards", "bars"]), 1.0
            )
        for _ in range(rng.integers(1, 4)):
            self._bush(path, rng.uniform(first + 1, last - 1), side * (edge + rng.uniform(1.2, back - 1.2)))
        if rng.uniform() < 0.6:
            self.stand_tree(rng.uniform(first + 2, last - 2), side * (edge + rng.uniform(2.2, 3.2)), 0.6, path)

    def _park(self, path, first, last, side, edge) -> None:
        rng = self._rng
        self._lawn(path, first, last, side, edge, 24)
        kind = rng.choice(["none", "hedge", "bars", "low wall"], p=[0.3, 0.2, 0.3, 0.2])
        if kind != "none":
            self._boundary(path, first + 0.3, last - 0.3, side, edge + 0.3, "wall" if kind == "low wall" else kind, 0.9)
        for s in np.arange(first + 3, last - 2, rng.uniform(4.5, 8)):
            self.stand_tree(s + rng.uniform(-1, 1), side * (edge + rng.uniform(3.5, 5.5)), 1.0, path)
            self.stand_tree(s + rng.uniform(-1, 1), side * (edge + rng.uniform(9, 14)), 1.15, path)
            self._bush(path, s + rng.uniform(-2, 2), side * (edge + rng.uniform(1.6, 7)))

    def _wall(self, path, first, last, side, edge) -> None:
        rng = self._rng
        self._lawn(path, first, last, side, edge, 20)
        self._boundary(path, first, last, side, edge + 0.25, "wall", rng.uniform(1.7, 2.8))
        for s in np.arange(first + 2, last - 2, 6.5):
            self.stand_tree(s, side * (edge + rng.uniform(4, 6)), 1.1, path)

    def _yard(self, path, first, last, side, edge) -> None:
        rng = self._rng
        self._lawn(path, first, last, side, edge, 20, "soil")
        self._boundary(
            path, first, last, side, edge + 0.25, rng.choice(["bars", "boards", "pickets"]), rng.uniform(1.5, 2.1)
        )
        self._house(path, (first + last) / 2, side * (edge + rng.uniform(9, 12)), inward(side), (last - first) * 0.9, 9,
                    1)  # fmt: skip
        for _ in range(rng.integers(0, 3)):
            self._bush(path, rng.uniform(first + 1, last - 1), side * (edge + rng.uniform(1.6, 4)))

    def _bush(self, path, s: float, lateral: float) -> None:
        site, rng = self._site, self._rng
        leaves = site.leaves[rng.integers(len(site.leaves))]
        mesh = self._bushes[rng.integers(len(self._bushes))].moved(z=0.1)
        site.put(mesh, leaves, site.world.value("vegetation"), s, lateral, rng.uniform(0, 6.3), path)

    def _boundary(self, path, first, last, side, lateral, kind: str, height: float) -> None:
        """A hedge, wall or fence along the street."""
        site, rng = self._site, self._rng
        if last - first < 1:
            return
        y = side * lateral
        if kind == "hedge":
            height = rng.uniform(0.9, 1.7)
            stations = path.stations(first, last, 0.8)
            profile = np.array(
                [[-0.4, 0.05], [-0.45, height * 0.7], [-0.3, height], [0.3, height], [0.45, height * 0.7], [0.4, 0.05]]
            )

            def place(s, across, z):
                bump = 0.06 * np.sin(7.1 * s + 5 * z) + 0.05 * np.sin(13.7 * s + across * 9)
                return path.place(s, y + across * (1 + bump), z * (1 + bump))

            leaves = site.leaves[rng.integers(len(site.leaves))]
            site.world.put(
                loft(place, stations, profile, (0.5, 0.5), caps=True), leaves, site.world.value("vegetation")
            )
        elif kind == "wall":
            material = rng.choice(["bricks", "concrete"])
            value = site.world.value("wall")
            body = [[y - 0.13, 0], [y - 0.13, height], [y + 0.13, height], [y + 0.13, 0]]
            site.strip(first, last, body, material, value, (0.5, 0.5), path, caps=True)
            coping = [
                [y - 0.18, height - 0.01],
                [y - 0.18, height + 0.09],
                [y + 0.18, height + 0.09],
                [y + 0.18, height - 0.01],
            ]
            site.strip(first, last, coping, "concrete", value, (0.5, 0.5), path, caps=True)
        elif kind == "boards":
            height = max(height, 1.3)
            boards = [[y - 0.03, 0.05], [y - 0.03, height], [y + 0.03, height], [y + 0.03, 0.05]]
            site.strip(first, last, boards, "planks", site.world.value("fence"), (0.5, 0.5), path, caps=True)
        else:
            self._bars(path, first, last, y, kind, height)

    def _bars(self, path, first, last, y, kind: str, height: float) -> None:
        site, rng = self._site, self._rng
        fence, palette = site.world.value("fence"), site.world.palette
        if kind == "pickets":
            paint, width, gap, depth = palette(np.array([0.86, 0.85, 0.82]) * rng.uniform(0.6, 1.0)), 0.09, 0.15, 0.025
            height = rng.uniform(0.9, 1.15)
        else:
            paint, width, gap, depth = palette((0.12, 0.14, 0.13)), 0.045, 0.15, 0.045
            height = max(height, 1.15)
        bar = box((0, 0, height / 2 + 0.06), (width, depth, height), paint)
        post = box((0, 0, height / 2 + 0.1), (0.09, 0.09, height + 0.2), paint)
        s = np.arange(first + 0.1, last - 0.05, gap)
        where, heading = path.place(s, y), path.heading(s)
        bars = [
            (post if k % 14 == 0 else bar).moved(x, z, yaw=h)
            for k, ((x, z, _), h) in enumerate(zip(where, heading, strict=True))
        ]
        site.world.put(merge(bars), "matte", fence)
        for z in (0.22, height * 0.88):
            rail = [[y - 0.02, z - 0.035], [y - 0.02, z + 0.035], [y + 0.02, z + 0.035], [y + 0.02, z - 0.035]]
            s = path.stations(first, last)
            mesh = loft(path.place, s, np.array(rail), (0, 0), caps=True)
            site.world.put(
                Mesh(mesh.vertices, mesh.normals, np.broadcast_to(paint, mesh.uv.shape), mesh.faces), "matte", fence
            )

    def _backdrop(self, side: int) -> None:
        """Add taller houses and trees in a second row, which close the gaps."""
        site, rng = self._site, self._rng
        s = site.low + rng.uniform(0, 20)
        while s < site.high:
            width = rng.uniform(16, 30)
            near_junction = any(
                side in j.sides and abs(s - j.s) < j.half + j.sidewalk + 14 + width / 2 for j in site.junctions
            )
            if not near_junction:
                lateral = side * (site.section.edge + rng.uniform(27, 42))
                if rng.uniform() < 0.55:
                    self._house(site.path, s, lateral, inward(side), width, 12, int(rng.integers(2, 7)))
                else:
                    for k in range(3):
                        self.stand_tree(s + 5 * k - 5, lateral - side * rng.uniform(0, 6), 1.4)
            s += width + rng.uniform(2, 14)


def bollards(site: Site, side: int, s: float) -> None:
    """Add a short row of bollards at the kerb."""
    post = bollard(site.rng, site.world.palette)
    for k in range(int(site.rng.integers(3, 7))):
        if site.clear_of_junctions(s + 1.6 * k, 1):
            site.put(
                post.moved(z=0.13), "matte", site.world.value("pole"), s + 1.6 * k, side * (site.section.road + 0.4)
            )
