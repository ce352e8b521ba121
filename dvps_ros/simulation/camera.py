"""The camera that drives along the street: picture, depth and labels of one moment."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import mujoco
import numpy as np

from dvps_ros.labels import CITYSCAPES, DIVISOR, VOID
from dvps_ros.simulation.street import Street
from dvps_ros.structures import Intrinsics

_SKY = CITYSCAPES.index("sky") * DIVISOR
_NEAR, _FAR = 0.25, 500.0
#: Farther than this many metres nothing small is drawn; nearer than this many, things out of view still throw shadows.
_SIGHT, _SHADOW = 170.0, 22.0
_HIDDEN = 5


@dataclass(frozen=True)
class Frame:
    """One moment of the drive.

    Attributes
    ----------
    rgb : (H, W, 3) uint8.
    depth : (H, W) float32, metres along the optical axis; 0 where none: sky, or beyond ``max_depth``.
    panoptic : (H, W) int32, class * 1000 + instance, constant over time; void 255000.
    stamp : seconds since the start of the drive.
    intrinsics : the camera.
    """

    rgb: np.ndarray
    depth: np.ndarray
    panoptic: np.ndarray
    stamp: float
    intrinsics: Intrinsics


class StreetCamera:
    """Renders a street with MuJoCo on an offscreen OpenGL context, to be used from one thread.

    Usable as a context manager; ``close`` frees the context, as does the end of the object's life.
    Raises ``OSError`` where no headless OpenGL is to be had.
    """

    def __init__(self, street: Street) -> None:
        self.street = street
        width, height = street.config.width, street.config.height
        focal = street.rig.focal * width
        #: Pinhole intrinsics; (0, 0) is the center of the top left pixel.
        self.intrinsics = Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
        model = street.model
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._gl = _graphics(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        self._free.atexit = False  # by then the graphics library has shut down, and freed everything
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        self._scene = mujoco.MjvScene(model, model.ngeom + 10)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 1
        self._option.geomgroup[_HIDDEN] = 0
        self._view = mujoco.MjvCamera()
        self._response = _response(height, width, street.atmosphere.vignette)

    def __enter__(self) -> StreetCamera:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Free the graphics context; the camera renders no more."""
        self._free()

    def render(self, time: float) -> Frame:
        """What the camera sees ``time`` seconds after the drive began; ``RuntimeError`` once it is closed."""
        if not self._free.alive:
            raise RuntimeError("this camera was closed")
        self._gl.make_current()
        self._place(time)
        depth, panoptic = self._labels()
        rgb = self._develop(self._picture(), depth, time)
        depth[depth > self.street.config.max_depth] = 0.0
        return Frame(rgb, depth, panoptic, time, self.intrinsics)

    def _place(self, time: float) -> None:
        """Move the bodies, the camera and the sun's shadow map."""
        street, scene = self.street, self._scene
        street.move(time)
        position, forward, up = street.rig.pose(street.path, time)
        self._cull(position, forward)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(street.model, street.data, self._option, None, self._view, everything, scene)
        half_width = _NEAR / (2 * street.rig.focal)
        half_height = half_width * self.intrinsics.height / self.intrinsics.width
        for eye in scene.camera:
            eye.pos[:], eye.forward[:], eye.up[:] = position, forward, up
            eye.frustum_near, eye.frustum_far = _NEAR, _FAR
            eye.frustum_center, eye.frustum_width = 0.0, half_width
            eye.frustum_bottom, eye.frustum_top = -half_height, half_height
        for light in scene.lights[: scene.nlight]:
            if light.castshadow:  # the shadow map covers what lies ahead
                light.pos[:] = position + 30 * forward * [1, 1, 0] + 90 * street.atmosphere.sun

    def _cull(self, position: np.ndarray, forward: np.ndarray) -> None:
        """Hide geoms that lie far off or out of view, but for those near enough to throw a shadow into it."""
        model = self.street.model
        offset = self.street.data.geom_xpos - position
        distance = np.linalg.norm(offset, axis=1)
        along = offset @ forward
        across = np.sqrt(np.maximum(distance**2 - along**2, 0))
        half_diagonal = np.hypot(1, self.intrinsics.height / self.intrinsics.width) / (2 * self.street.rig.focal)
        outside = (across - along * half_diagonal) / np.hypot(1, half_diagonal)  # distance to the cone of view
        radius = model.geom_rbound
        seen = (outside < radius) & (distance < radius + _SIGHT)
        model.geom_group[:] = np.where(seen | (distance < radius + _SHADOW), 0, _HIDDEN)

    def _labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Depth in metres (0 in the sky) and panoptic values, both from one pass without anti-aliasing."""
        scene, rect = self._scene, self._rect
        flags = scene.flags.copy()
        scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        code = np.empty((rect.height, rect.width, 3), np.uint8)
        inverse = np.empty((rect.height, rect.width), np.float32)
        mujoco.mjr_render(rect, scene, self._context)
        mujoco.mjr_readPixels(code, inverse, rect, self._context)
        scene.flags[:] = flags
        values = np.full(scene.ngeom + 1, VOID, np.int32)
        values[0] = _SKY  # code 0 is the background
        for geom in scene.geoms[: scene.ngeom]:
            if geom.segid >= 0:
                values[geom.segid + 1] = self.street.values[geom.objid]
        index = code.astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        panoptic = values[index[::-1]]
        # the depth buffer is reversed: 1 at the near plane, 0 at the far plane
        inverse = inverse[::-1].astype(np.float64)
        depth = (_NEAR * _FAR / (_NEAR + inverse * (_FAR - _NEAR))).astype(np.float32)
        depth[panoptic == _SKY] = 0.0
        return depth, _without_specks(panoptic)

    def _picture(self) -> np.ndarray:
        """The anti-aliased picture, (H, W, 3) uint8."""
        rgb = np.empty((self._rect.height, self._rect.width, 3), np.uint8)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(rgb, None, self._rect, self._context)
        return rgb[::-1]

    def _develop(self, rgb: np.ndarray, depth: np.ndarray, time: float) -> np.ndarray:
        """Haze by distance, then the camera's exposure, tone, vignette and grain."""
        air = self.street.atmosphere
        rgb = rgb.astype(np.float32) / 255
        clear = np.exp(-air.haze * depth)[..., None]
        rgb = rgb * clear + air.horizon.astype(np.float32) * (1 - clear)
        rgb = np.clip(rgb * air.gain.astype(np.float32), 0, 1) ** np.float32(air.gamma)
        rng = np.random.default_rng([self.street.seed, round(time * 1000)])
        grain = rng.standard_normal(rgb.shape, np.float32) * np.float32(air.grain)
        return (np.clip(rgb * self._response + grain, 0, 1) * 255).astype(np.uint8)


def _graphics(width: int, height: int) -> mujoco.GLContext:
    try:
        return mujoco.GLContext(width, height)
    except (ImportError, RuntimeError) as error:  # what MuJoCo raises where the driver is missing
        raise OSError("no headless OpenGL: install libegl1 and libgl1-mesa-dri, or set MUJOCO_GL") from error


def _free(gl: mujoco.GLContext, context: mujoco.MjrContext) -> None:
    """Left to themselves, MuJoCo's objects would be deleted in whichever graphics context is then current."""
    gl.make_current()
    context.free()
    gl.free()


def _response(height: int, width: int, vignette: float) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    radius = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
    return (1 - vignette * radius)[..., None].astype(np.float32)


def _without_specks(panoptic: np.ndarray, least: int = 10) -> np.ndarray:
    """Things of fewer than ``least`` pixels, which nobody could name, become void."""
    values, inverse, counts = np.unique(panoptic, return_inverse=True, return_counts=True)
    specks = (values % DIVISOR > 0) & (counts < least)
    return np.where(specks, VOID, values)[inverse].reshape(panoptic.shape).astype(np.int32)
