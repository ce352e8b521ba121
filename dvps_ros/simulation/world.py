"""Builder of a MuJoCo model: meshes with labels, materials, and moving bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from dvps_ros.labels import CITYSCAPES, DIVISOR, VOID
from dvps_ros.simulation.patterns import restyled, strayed_swatches
from dvps_ros.simulation.shapes import Mesh, Paint, merge

#: Side in metres of the square cells within which static meshes are merged, so that cells out of view can be hidden.
_CELL = 32.0
_SWATCH = 8
#: Kind of surface of each material for ``patterns.restyled``; all others are walls.
_SURFACES = {"facade": "facade", "ground": "facade", "grass": "plant", "soil": "plant", "leaves": "plant",
             "asphalt": "paved", "side_asphalt": "paved", "paving": "paved", "cobbles": "paved"}  # fmt: skip
_SWATCHES = 32


class Palette:
    """A small texture of uniform swatches, with which a mesh of many colors is one geom."""

    def __init__(self) -> None:
        self.picture = np.full((_SWATCH * _SWATCHES, _SWATCH * _SWATCHES, 3), 128, np.uint8)
        self._known: dict[tuple[int, ...], int] = {}

    def __call__(self, color: Sequence[float] | np.ndarray) -> Paint:
        """The texture coordinate of a color (RGB in 0..1)."""
        key = tuple(int(np.clip(c, 0, 1) * 63 + 0.5) * 4 for c in color)
        index = self._known.setdefault(key, len(self._known) % _SWATCHES**2)
        row, column = divmod(index, _SWATCHES)
        self.picture[row * _SWATCH : (row + 1) * _SWATCH, column * _SWATCH : (column + 1) * _SWATCH] = key
        return (column + 0.5) / _SWATCHES, (row + 0.5) / _SWATCHES


@dataclass(frozen=True)
class Compiled:
    """A finished world.

    Attributes
    ----------
    model, data : MuJoCo's; the data's ``mocap_pos`` and ``mocap_quat`` move the bodies.
    values : (ngeom,) int32 panoptic value of each geom.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    values: np.ndarray


class World:
    """Collects meshes by material and label, and compiles them into few geoms."""

    def __init__(self) -> None:
        self.spec = mujoco.MjSpec()
        self.palette = Palette()
        self._parts: dict[tuple[str, int, int, int], list[Mesh]] = {}
        self._movers: list[tuple[Mesh, str, int]] = []
        self._instances = dict.fromkeys(CITYSCAPES.things, 0)
        self._pictures: dict[str, np.ndarray] = {}
        self.spec.add_material(name="matte", textures=["", "palette"], specular=0.05, shininess=0.1)
        self.spec.add_material(name="glossy", textures=["", "palette"], specular=0.55, shininess=0.6)
        self.spec.add_material(name="bright", textures=["", "palette"], specular=0.1, shininess=0.1, emission=0.7)

    @staticmethod
    def value(name: str) -> int:
        """Panoptic value of a stuff class, or of ``"void"``."""
        return VOID if name == "void" else CITYSCAPES.index(name) * DIVISOR

    def instance(self, name: str) -> int:
        """The next panoptic value of a thing class, with instances from 1."""
        index = CITYSCAPES.index(name)
        self._instances[index] += 1
        return index * DIVISOR + self._instances[index]

    def material(self, name: str, picture: np.ndarray, specular: float = 0.0, shininess: float = 0.1) -> str:
        """Add a material with an (H, W, 3) uint8 texture; returns ``name``."""
        self._texture(name, picture, mujoco.mjtTexture.mjTEXTURE_2D)
        self.spec.add_material(name=name, textures=["", name], specular=specular, shininess=shininess)
        return name

    def put(self, mesh: Mesh, material: str, value: int) -> None:
        """Add a mesh that never moves."""
        x, y = np.floor(mesh.vertices[0, :2] / _CELL).astype(int)
        self._parts.setdefault((material, value, int(x), int(y)), []).append(mesh)

    def mover(self, mesh: Mesh, material: str, value: int) -> int:
        """Add a mesh on a body of its own; returns its row in ``mocap_pos`` and ``mocap_quat``."""
        self._movers.append((mesh, material, value))
        return len(self._movers) - 1

    def restyle(self, rng: np.random.Generator, share: float) -> None:
        """Give each surface other colors and patterns with probability ``share``; palette colors change a little.

        Call it after all materials are added.
        """
        for name, picture in self._pictures.items():
            if name != "sky" and rng.uniform() < share:
                self._pictures[name] = restyled(rng, picture, _SURFACES.get(name.rstrip("0123456789"), "wall"))
        self.palette.picture = strayed_swatches(rng, self.palette.picture, _SWATCH)

    def compile(self) -> Compiled:
        """Build the MuJoCo model."""
        self._texture("palette", self.palette.picture, mujoco.mjtTexture.mjTEXTURE_2D)
        geoms = []
        for (material, value, *_), meshes in self._parts.items():
            geoms.append((self._geom(self.spec.worldbody, merge(meshes), material), value))
        for mesh, material, value in self._movers:
            geoms.append((self._geom(self.spec.worldbody.add_body(mocap=True), mesh, material), value))
        model = self.spec.compile()
        for texture in self.spec.textures:
            picture, start = self._pictures[texture.name], model.tex_adr[texture.id]
            model.tex_data[start : start + picture.size] = picture.ravel()
        values = np.full(model.ngeom, VOID, np.int32)
        for geom, value in geoms:
            values[geom.id] = value
        return Compiled(model, mujoco.MjData(model), values)

    def sky(self, faces: np.ndarray) -> None:
        """Set the sky's cube map, (6, N, N, 3) uint8 in MuJoCo's order of faces."""
        self._texture("sky", faces.reshape(-1, *faces.shape[2:]), mujoco.mjtTexture.mjTEXTURE_SKYBOX)

    def _texture(self, name: str, picture: np.ndarray, kind: mujoco.mjtTexture) -> None:
        # pixels are copied after compiling, because here each byte would be converted to a Python int
        self._pictures[name] = picture
        height, width = picture.shape[:2]
        flat = mujoco.mjtBuiltin.mjBUILTIN_FLAT
        self.spec.add_texture(name=name, type=kind, builtin=flat, width=width, height=height, nchannel=3)

    def _geom(self, body: mujoco.MjsBody, mesh: Mesh, material: str) -> mujoco.MjsGeom:
        name = f"mesh{len(self.spec.meshes)}"
        self.spec.add_mesh(
            name=name,
            uservert=mesh.vertices.ravel(),
            usernormal=mesh.normals.ravel(),
            usertexcoord=mesh.uv.ravel(),
            userface=mesh.faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        return body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=material, contype=0, conaffinity=0
        )
