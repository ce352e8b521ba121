"""The Perceiver: one camera image in, one scene out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from dvps_ros import checkpoints
from dvps_ros.camera.resizing import Resizing, resize, to_budget, to_canvas
from dvps_ros.config import Config, PairConfig
from dvps_ros.config.crops import sides
from dvps_ros.errors import first_line
from dvps_ros.labels import LABEL_SETS, LabelSet
from dvps_ros.runtime.arithmetic import DTYPES, Precision, choose_device, choose_precision
from dvps_ros.runtime.preprocess import to_device
from dvps_ros.runtime.programs import ProgramNetwork
from dvps_ros.runtime.run_times import RunTime, choose_run_time
from dvps_ros.runtime.tracing import PARTS
from dvps_ros.scene.anchor import GroundAnchor
from dvps_ros.scene.ground import Direction
from dvps_ros.scene.merge import merge
from dvps_ros.scene.rays import lens_factor
from dvps_ros.scene.things import unknown_camera
from dvps_ros.scene.track import Tracker
from dvps_ros.scene.view import view_of
from dvps_ros.structures import Intrinsics, Scene

#: Where the camera is in a fixed frame (4, 4), or a function that gives it; None: not known.
Pose: TypeAlias = np.ndarray | Callable[[], np.ndarray | None] | None
#: Weights of red, green and blue in grey (ITU-R BT.601).
_GREY = (0.299, 0.587, 0.114)


class NonFiniteOutputError(RuntimeError):
    """The network's output contains NaN or infinity; the frame has no result."""


class DeviceMemoryError(RuntimeError):
    """The device ran out of memory on this frame; its memory is freed, and the next frame may work."""


class Perceiver:
    """Turns the images of a camera into scenes with one network.

    Parameters
    ----------
    network : a ``DvpsNet`` (or anything that maps images (B, 3, H, W) to a ``Prediction``); moved to the device.
    config : size of its input, canonical focal length, class table and merging thresholds.
    device : ``"auto"`` takes CUDA where there is one; else as torch names devices.
    precision : ``"32"``, ``"16"`` or ``"bf16"``; ``"auto"`` is 16 on CUDA and 32 elsewhere.
    labels : the class table; None: the one that the configuration names.
    canvas : (h, w), for a network of one size, into which pictures are fitted; None: pictures are resized to the
        configured number of pixels.
    runtime : what runs the network, see ``run_times.choose_run_time``; all but ``"torch"`` need a ``DvpsNet``.

    Attributes
    ----------
    labels : the class table of its scenes.
    runtime : what runs the network, by name; ``"auto"`` decided.
    digest : SHA-256 of the weights, 64 hexadecimal digits; empty if they did not come from a file.
    merge_config : thresholds of merging; may be replaced between steps.
    up : the up direction in the camera's optical frame, of any length; None if unknown: the camera is then assumed to
        be about level. It may be changed between steps, and so may ``camera_height``.
    frame_period : seconds from the last frame to the next one, if that has no stamp; at first ``config.track.period``.
    timings : seconds of the last step by stage: preprocess, network, merge, anchor (with a camera height), track.
    """

    def __init__(
        self,
        network: nn.Module,
        config: Config | PairConfig,
        device: str = "auto",
        precision: Precision = "auto",
        labels: LabelSet | None = None,
        canvas: tuple[int, int] | None = None,
        runtime: RunTime = "torch",
    ) -> None:
        self.config = config
        self.labels = labels or LABEL_SETS[config.labels]
        self.digest = ""
        self.merge_config = config.merge
        self.canvas = canvas
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.runtime = choose_run_time(runtime, self.device, self.precision)
        untyped: Any = network.eval()  # the type hints of Module.to lack memory_format
        self.network = untyped.to(self.device, memory_format=torch.channels_last)
        if self.runtime != "torch":
            optional = runtime == "auto"
            self.network = ProgramNetwork(self.network, self.runtime, self.precision, self.labels, optional)
        self.tracker = Tracker(self.labels, self.config.track)
        self.anchor = GroundAnchor(self.labels, self.config.ground)
        self.up: Direction | None = None
        self._camera_height = 0.0
        self.frame_period: float | None = None
        self.timings: dict[str, float] = {}

    @property
    def camera_height(self) -> float:
        """Height of the camera above the ground in metres, to which the scale of depth is anchored; 0: unknown.

        Setting anything but a finite number from 0 on raises ``ValueError``.
        """
        return self._camera_height

    @camera_height.setter
    def camera_height(self, metres: float | None) -> None:
        metres = metres or 0.0
        if not 0 <= metres < math.inf:
            raise ValueError(f"camera_height is {metres}, must be metres above the ground, or 0 where unknown")
        if metres == 0:
            self.anchor.reset()
        self._camera_height = metres

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "auto", precision: Precision = "auto", runtime: RunTime = "auto"
    ) -> Perceiver:
        """The perceiver of a model folder (``config.yaml`` and ``model.safetensors``), ready on its device.

        Raises ``FileNotFoundError`` or ``ValueError`` naming a missing or wrong file, and ``ValueError`` for a device
        or run time that is not available.
        """
        config = checkpoints.load_model_config(folder)
        perceiver = cls(checkpoints.load(folder, choose_device(device)), config, device, precision, runtime=runtime)
        perceiver.digest = checkpoints.model_hash(folder)
        return perceiver

    @property
    def tells_uncertainty(self) -> bool:
        """Whether its scenes have ``depth_std``."""
        return isinstance(self.config, Config) and self.config.network.uncertainty

    def step(
        self,
        image: np.ndarray,
        intrinsics: Intrinsics | None = None,
        stamp: float | None = None,
        pose: Pose = None,
    ) -> Scene:
        """Labels, depth and tracked segments of the next frame.

        Parameters
        ----------
        image : (H, W, 3) uint8 RGB.
        intrinsics : the camera at that size; without them (or uncalibrated) depth is relative, ``Scene.metric`` False.
        stamp : seconds; None: ``config.track.period`` after the previous frame.
        pose : (4, 4) from the camera's optical frame to a fixed frame, at that time, or a function that gives it and
            is called after the network has run; None: the camera's motion is estimated from the picture.

        Returns
        -------
        Scene : at the image's size, on the device.

        Raises ``ValueError`` for a wrong image or a camera of another size, ``NonFiniteOutputError`` and
        ``DeviceMemoryError``; after each the next step works.
        """
        try:
            return self._step(image, intrinsics, stamp, pose)
        except torch.cuda.OutOfMemoryError as error:
            reason = first_line(error)
        # The error held references to the frame's tensors; only here, outside the handler, can their memory be freed.
        torch.cuda.empty_cache()
        raise DeviceMemoryError(reason)

    @torch.inference_mode()
    def _step(self, image: np.ndarray, intrinsics: Intrinsics | None, stamp: float | None, pose: Pose) -> Scene:
        self.timings = {}
        with self._stage("preprocess"):
            picture = to_device(image, self.device)  # (1, 3, H', W')
            how = self.resizing(image.shape[:2], intrinsics)
            images = resize(picture, how)  # (1, 3, H, W)
            depth_scale, metric = self._depth_scale(image.shape[:2], how.extent, intrinsics)
        with self._stage("network"):
            with self._arithmetic():
                prediction = self.network(images)
            check_finite({name: part for name in PARTS if (part := getattr(prediction, name)) is not None})
        with self._stage("merge"):
            sizes = how.size, image.shape[:2]
            scene = merge(
                *(prediction, 0, *sizes, self.labels, self.merge_config, depth_scale, metric), extent=how.extent
            )
        return self._tracked(scene, images, how, intrinsics, stamp, pose)

    def _tracked(
        self,
        scene: Scene,
        images: Tensor,
        how: Resizing,
        intrinsics: Intrinsics | None,
        stamp: float | None,
        pose: Pose,
    ) -> Scene:
        """The merged scene of ``images`` (1, 3, H, W), resized by ``how``, with anchored scale and track ids."""
        if self.frame_period is not None:
            self.tracker.clock.period = self.anchor.clock.period = self.frame_period
        if self.camera_height:
            with self._stage("anchor"):
                scene = self.anchor.update(scene, intrinsics, self.camera_height, self.up, stamp)
        if callable(pose):
            pose = pose()
        with self._stage("track"):
            size = (scene.panoptic.shape[0], scene.panoptic.shape[1])
            camera = intrinsics if is_calibrated(intrinsics, size) else unknown_camera(size)
            view = None
            if self.config.track.ego_motion:
                picture = images[0, :, : how.size[0], : how.size[1]].float()
                grey = torch.zeros_like(picture[0])
                for channel, weight in zip(picture, _GREY, strict=True):  # without three more maps of products
                    grey.add_(channel, alpha=weight)
                view = view_of(scene, grey, how.camera(camera), how.extent)
            return self.tracker.update(scene, camera, stamp, view, pose)

    def warm_up(self, size: tuple[int, int] | None = None, steps: int = 2) -> None:
        """Run ``steps`` empty frames of ``size`` (H, W), so that the first real one is not slower; tracks are kept.

        Without ``size`` it is that of the canvas, else of the last used program for as many pixels, else a picture of
        the configured number of pixels (256 x 512 if that follows the image), twice as wide as high.
        """
        tracker, canvas, pixels = self.tracker, self.canvas, self.config.input.pixels
        if size is None and canvas is None and isinstance(self.network, ProgramNetwork):
            self.canvas = self.network.recent(pixels)  # exactly the size of that program
        size = size or self.canvas or sides(pixels or 256 * 512, 2.0)
        self.tracker = Tracker(self.labels, self.config.track)
        try:
            for _ in range(steps):
                self.step(np.zeros((*size, 3), np.uint8))
        finally:
            self.tracker, self.canvas = tracker, canvas

    def resizing(self, image_size: tuple[int, int], intrinsics: Intrinsics | None = None) -> Resizing:
        """How an image of ``image_size`` (H, W) becomes the network's.

        Raises ``ValueError`` for a camera of another size, or whose pixels are far from square.
        """
        camera = intrinsics if is_calibrated(intrinsics, image_size) else None
        if self.canvas is not None:
            return to_canvas(image_size, self.canvas, camera)
        return to_budget(image_size, self.config.input.pixels, camera)

    def reset_tracks(self) -> None:
        """Restart track ids and the anchoring of the scale with the next frame."""
        self.tracker.reset()
        self.anchor.reset()

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "32")

    def _depth_scale(
        self, image_size: tuple[int, int], extent: tuple[float, float], intrinsics: Intrinsics | None
    ) -> tuple[float | Tensor, bool]:
        """Factor on the network's depth, for all pixels or (H, W), and whether the result is in metres.

        ``image_size`` is (H, W) of the image, ``extent`` the (H, W) network pixels that it covers.
        """
        if not is_calibrated(intrinsics, image_size):
            return 1.0, False
        canonical = self.config.network.canonical_focal if isinstance(self.config, Config) else None
        scale = 1.0 if canonical is None else intrinsics.fx * extent[1] / image_size[1] / canonical
        exponent = self.merge_config.lens_exponent
        if exponent > 0 and intrinsics.distorted:
            return scale * lens_factor(intrinsics, exponent, str(self.device)), True
        return scale, True

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.timings[name] = time.perf_counter() - start


def is_calibrated(intrinsics: Intrinsics | None, image_size: tuple[int, int]) -> TypeGuard[Intrinsics]:
    """Whether the camera of an image of ``image_size`` (H, W) is known; ``ValueError`` if the camera's size differs."""
    if intrinsics is None or not intrinsics.valid:
        return False
    height, width = image_size
    if (intrinsics.height, intrinsics.width) != (height, width):
        raise ValueError(f"the camera is {intrinsics.width}x{intrinsics.height}, the image {width}x{height}")
    return True


def check_finite(output: Mapping[str, Tensor]) -> None:
    """Raise ``NonFiniteOutputError`` naming the parts of an output, of any shape, that hold NaN or infinity."""
    finite = torch.stack([part.isfinite().all() for part in output.values()]).tolist()
    if not all(finite):
        broken = ", ".join(name for name, good in zip(output, finite, strict=True) if not good)
        raise NonFiniteOutputError(f"the network's output is not finite: {broken}")
