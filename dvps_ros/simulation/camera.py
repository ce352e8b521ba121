"""The camera that drives along the street: image, depth and labels at a given time."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import mujoco
import numpy as np

from dvps_ros.labels import CITYSCAPES, DIVISOR, VOID
from dvps_ros.simulation.develop import Developer
from dvps_ros.simulation.lens import LensMap
from dvps_ros.simulation.street import Street
from dvps_ros.structures import Intrinsics

_SKY = CITYSCAPES.index("sky") * DIVISOR
#: Near and far clipping plane, metres; the near one is closer for a low camera or a wide lens.
_NEAR, _NEAR_OF_LENS, _NEAR_OF_HEIGHT, _FAR = 0.25, 0.08, 0.3, 500.0
#: Distance in metres beyond which small geoms are hidden, and within which geoms out of view still cast shadows.
_SIGHT, _SHADOW = 170.0, 22.0
_HIDDEN = 5


@dataclass(frozen=True)
class Frame:
    """One frame of the drive.

    Attributes
    ----------
    rgb : (H, W, 3) uint8.
    depth : (H, W) float32, metres along the optical axis; 0 in the sky, beyond ``max_depth`` and where ``blind``.
    panoptic : (H, W) int32, class * 1000 + instance, constant over time; void 255000.
    stamp : seconds since the start of the drive.
    intrinsics : the camera, with the distortion of its lens.
    height : height of the camera above the ground under it, metres.
    up : (3,) float64 unit vector in the optical frame (x right, y down, z forward) that points away from the ground.
    pose : (4, 4) float64, metres, from the optical frame to the street's: x along the road's start, z up from the road.
    blind : (H, W) bool, True where the street is not visible and the label is void: outside the lens's field of view,
        where the image is black, and behind the car's own hood.
    """

    rgb: np.ndarray
    depth: np.ndarray
    panoptic: np.ndarray
    stamp: float
    intrinsics: Intrinsics
    height: float
    up: np.ndarray
    pose: np.ndarray
    blind: np.ndarray

    @property
    def ranges(self) -> np.ndarray:
        """(H, W) float32 depth by REP 117 and 118: +Inf beyond range and in the sky, NaN where ``blind``."""
        beyond = np.where(self.depth > 0, self.depth, np.float32(np.inf))
        return np.where(self.blind, np.float32(np.nan), beyond)


class StreetCamera:
    """Renders a street with MuJoCo in an offscreen OpenGL context; must be used from one thread.

    ``close``, the end of a ``with`` block or the object's deletion frees the context. Raises ``OSError`` if headless
    OpenGL is not available, ``ValueError`` for a lens that shows no pixel.
    """

    def __init__(self, street: Street) -> None:
        self.street = street
        width, height = street.config.width, street.config.height
        rig = street.rig
        focal, lens = rig.focal * width, rig.lens
        #: Intrinsics with the lens's distortion; (0, 0) is the center of the top left pixel.
        self.intrinsics = Intrinsics(
            focal, focal, (width - 1) / 2, (height - 1) / 2, width, height, lens.model, lens.coefficients
        )
        self._lens = LensMap(lens, self.intrinsics) if lens.model else None
        self._pinhole = self._lens.pinhole if self._lens else self.intrinsics
        self._near = min(_NEAR_OF_LENS if self._lens else _NEAR, _NEAR_OF_HEIGHT * rig.height)
        model = street.model
        size = self._pinhole.width, self._pinhole.height
        model.vis.global_.offwidth, model.vis.global_.offheight = size
        self._rect = mujoco.MjrRect(0, 0, *size)
        self._gl = _graphics(*size)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        self._free.atexit = False  # at exit the graphics library has already freed everything
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        self._scene = mujoco.MjvScene(model, model.ngeom + 10)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 1
        self._option.geomgroup[_HIDDEN] = 0
        self._view = mujoco.MjvCamera()
        directions = self._lens.directions if self._lens else _pinhole_directions(self.intrinsics)
        self._develop = Developer(street.seed, street.atmosphere, directions, street.wear, street.hood)

    def __enter__(self) -> StreetCamera:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Free the graphics context; the camera cannot render any more."""
        self._free()

    def render(self, time: float) -> Frame:
        """The frame ``time`` seconds after the start of the drive. Raises ``RuntimeError`` if the camera is closed."""
        if not self._free.alive:
            raise RuntimeError("this camera is closed")
        self._gl.make_current()
        position, axes = self._place(time)
        depth, panoptic = self._labels()
        rgb = self._picture()
        if self._lens:
            rgb, depth = self._lens.picture(rgb), self._lens.depth(depth)
            panoptic = self._lens.labels(panoptic, VOID)
        rgb, blind = self._develop(rgb, depth, time, position, axes)
        if self._lens:
            rgb[self._lens.blind], blind = 0, blind | self._lens.blind
        panoptic[blind] = VOID
        depth[blind | (depth > self.street.config.max_depth)] = 0.0
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = axes.T, position
        height = self.street.rig.height
        return Frame(rgb, depth, _without_specks(panoptic), time, self.intrinsics, height, axes[:, 2], pose, blind)

    def _place(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Move the bodies, the camera and the sun's shadow map.

        Returns the camera's position in the world, (3,), and its axes, (3, 3): right, down and forward.
        """
        street, scene = self.street, self._scene
        street.move(time)
        position, forward, up = street.rig.pose(street.path, time)
        self._cull(position, forward)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(street.model, street.data, self._option, None, self._view, everything, scene)
        half_width = self._near * self._pinhole.width / (2 * self._pinhole.fx)
        half_height = half_width * self._pinhole.height / self._pinhole.width
        for eye in scene.camera:
            eye.pos[:], eye.forward[:], eye.up[:] = position, forward, up
            eye.frustum_near, eye.frustum_far = self._near, _FAR
            eye.frustum_center, eye.frustum_width = 0.0, half_width
            eye.frustum_bottom, eye.frustum_top = -half_height, half_height
        for light in scene.lights[: scene.nlight]:
            if light.castshadow:  # the shadow map covers the street ahead
                light.pos[:] = position + 30 * forward * [1, 1, 0] + 90 * street.atmosphere.sun
        return position, np.stack([np.cross(forward, up), -up, forward])

    def _cull(self, position: np.ndarray, forward: np.ndarray) -> None:
        """Hide geoms that are far away or out of view, except those near enough to cast a shadow into the view."""
        model = self.street.model
        offset = self.street.data.geom_xpos - position
        distance = np.linalg.norm(offset, axis=1)
        along = offset @ forward
        across = np.sqrt(np.maximum(distance**2 - along**2, 0))
        half_diagonal = np.hypot(self._pinhole.width, self._pinhole.height) / (2 * self._pinhole.fx)
        outside = (across - along * half_diagonal) / np.hypot(1, half_diagonal)  # distance to the cone of view
        radius = model.geom_rbound
        seen = (outside < radius) & (distance < radius + _SIGHT)
        model.geom_group[:] = np.where(seen | (distance < radius + _SHADOW), 0, _HIDDEN)

    def _labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Depth in metres (0 in the sky) and panoptic values, both from one pass without anti-aliasing."""
        scene, rect = self._scene, self._rect
        samples = self._sample(0)
        flags = scene.flags.copy()
        scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        code = np.empty((rect.height, rect.width, 3), np.uint8)
        inverse = np.empty((rect.height, rect.width), np.float32)
        mujoco.mjr_render(rect, scene, self._context)
        mujoco.mjr_readPixels(code, inverse, rect, self._context)
        self._sample(samples)
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
        near = self._near
        depth = (near * _FAR / (near + inverse * (_FAR - near))).astype(np.float32)
        depth[panoptic == _SKY] = 0.0
        return depth, panoptic

    def _sample(self, samples: int) -> int:
        """Set the samples of each pixel; returns what they were.

        MuJoCo turns multisampling off for labels, but NVIDIA's driver blends the samples of an edge nevertheless, so
        that its pixels have the codes of other objects.
        """
        before = self._context.offSamples
        if before == samples:
            return before
        self._context.offSamples = samples
        # the buffer is made anew only with another size; what is drawn keeps its size
        more = int(self._context.offHeight == self._rect.height)
        mujoco.mjr_resizeOffscreen(self._rect.width, self._rect.height + more, self._context)
        return before

    def _picture(self) -> np.ndarray:
        """The anti-aliased picture, (H, W, 3) uint8."""
        rgb = np.empty((self._rect.height, self._rect.width, 3), np.uint8)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(rgb, None, self._rect, self._context)
        return rgb[::-1]


def _pinhole_directions(camera: Intrinsics) -> np.ndarray:
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], -1)


def _graphics(width: int, height: int) -> mujoco.GLContext:
    try:
        return mujoco.GLContext(width, height)
    except (ImportError, RuntimeError) as error:  # raised by MuJoCo if the driver is missing
        raise OSError("no headless OpenGL: install libegl1 and libgl1-mesa-dri, or set MUJOCO_GL") from error


def _free(gl: mujoco.GLContext, context: mujoco.MjrContext) -> None:
    """Free MuJoCo's objects in their own graphics context; otherwise it would happen in the current one."""
    gl.make_current()
    context.free()
    gl.free()


def _without_specks(panoptic: np.ndarray, least: int = 10) -> np.ndarray:
    """``panoptic`` (H, W) with void for things of fewer than ``least`` pixels, which are not recognizable."""
    values, inverse, counts = np.unique(panoptic, return_inverse=True, return_counts=True)
    specks = (values % DIVISOR > 0) & (counts < least)
    return np.where(specks, VOID, values)[inverse].reshape(panoptic.shape).astype(np.int32)
