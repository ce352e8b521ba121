"""The Perceiver: one camera image in, one scene out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from dvps_ros.config import Config, PairConfig
from dvps_ros.labels import LABEL_SETS, LabelSet
from dvps_ros.network import checkpoints
from dvps_ros.runtime.preprocess import network_size, preprocess
from dvps_ros.scene.merge import merge
from dvps_ros.scene.track import Tracker
from dvps_ros.structures import Intrinsics, Scene

Precision = Literal["auto", "32", "16", "bf16"]
_DTYPES = {"32": torch.float32, "16": torch.float16, "bf16": torch.bfloat16}
_PARTS = ("class_logits", "mask_embedding", "mask_features", "depth_embedding", "backup_embedding", "depth_features")


class NonFiniteOutputError(RuntimeError):
    """The network's output holds NaN or infinity; nothing can be said of this frame."""


class DeviceMemoryError(RuntimeError):
    """The device ran out of memory on this frame; what the frame held is freed and the next one may work."""


class Perceiver:
    """A network and what it needs to turn a camera's images into scenes.

    Parameters
    ----------
    network : a ``DvpsNet`` (or anything that maps images (B, 3, H, W) to a ``Prediction``); moved to the device.
    config : its input size, canonical focal length, class table and merging thresholds.
    device : ``"auto"`` takes CUDA where there is one; else as torch names devices.
    precision : ``"32"``, ``"16"`` or ``"bf16"``; ``"auto"`` is 16 on CUDA and 32 elsewhere.
    labels : the class table; None: the one that the configuration names.

    Attributes
    ----------
    labels : the class table of its scenes.
    digest : SHA-256 of the weights, 64 hexadecimal digits; empty where they came from no file.
    merge_config : thresholds of merging; may be replaced between steps.
    timings : seconds of the last step by stage: preprocess, network, merge, track.
    """

    def __init__(
        self,
        network: nn.Module,
        config: Config | PairConfig,
        device: str = "auto",
        precision: Precision = "auto",
        labels: LabelSet | None = None,
    ) -> None:
        self.config = config
        self.labels = labels or LABEL_SETS[config.labels]
        self.digest = ""
        self.merge_config = config.merge
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)
        self.tracker = Tracker(self.labels, self.config.track)
        self.timings: dict[str, float] = {}

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", precision: Precision = "auto") -> Perceiver:
        """The model of a folder (``config.yaml`` and ``model.safetensors``), ready on its device.

        Raises ``FileNotFoundError`` or ``ValueError`` naming a missing or wrong file, and ``ValueError`` for a device
        that is not there.
        """
        config = checkpoints.load_model_config(folder)
        perceiver = cls(checkpoints.load(folder, choose_device(device)), config, device, precision)
        perceiver.digest = checkpoints.model_hash(folder)
        return perceiver

    def step(self, image: np.ndarray, intrinsics: Intrinsics | None = None) -> Scene:
        """Labels, depth and tracked segments of the next frame.

        Parameters
        ----------
        image : (H, W, 3) uint8 RGB.
        intrinsics : the camera at that size; without them (or uncalibrated) depth is relative, ``Scene.metric`` False.

        Returns
        -------
        Scene : at the image's size, on the device.

        Raises ``ValueError`` for a wrong image or a camera of another size, ``NonFiniteOutputError`` and
        ``DeviceMemoryError``; after each the next step works.
        """
        try:
            return self._step(image, intrinsics)
        except torch.cuda.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
        # Only now, with the error gone, are the frame's tensors unreferenced and their memory can be given back.
        torch.cuda.empty_cache()
        raise DeviceMemoryError(reason)

    @torch.inference_mode()
    def _step(self, image: np.ndarray, intrinsics: Intrinsics | None) -> Scene:
        self.timings = {}
        with self._stage("preprocess"):
            images = preprocess(image, self.config.input, self.device)  # (1, 3, H, W)
            size = network_size(image.shape[:2], self.config.input)
            depth_scale, metric = self._depth_scale(image.shape[:2], size, intrinsics)
        with self._stage("network"):
            with self._arithmetic():
                prediction = self.network(images)
            check_finite({name: getattr(prediction, name) for name in _PARTS})
        with self._stage("merge"):
            scene = merge(prediction, 0, size, image.shape[:2], self.labels, self.merge_config, depth_scale, metric)
        with self._stage("track"):
            return self.tracker.update(scene)

    def warm_up(self, size: tuple[int, int] | None = None, steps: int = 2) -> None:
        """Run ``steps`` empty frames of ``size`` (H, W), so that the first real one is not slower; tracks are kept.

        Without ``size`` the network's own input size is taken (or 256 x 512 where it follows the image).
        """
        size = size or (self.config.input.height or 256, self.config.input.width or 512)
        tracker, self.tracker = self.tracker, Tracker(self.labels, self.config.track)
        try:
            for _ in range(steps):
                self.step(np.zeros((*size, 3), np.uint8))
        finally:
            self.tracker = tracker

    def reset_tracks(self) -> None:
        """Forget all instances: the next frame's are numbered anew."""
        self.tracker.reset()

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self.device.type, _DTYPES[self.precision], enabled=self.precision != "32")

    def _depth_scale(
        self, image_size: tuple[int, int], size: tuple[int, int], intrinsics: Intrinsics | None
    ) -> tuple[float, bool]:
        """Factor on the network's depth, and whether the result is in metres."""
        if not is_calibrated(intrinsics, image_size):
            return 1.0, False
        canonical = self.config.network.canonical_focal
        return (1.0 if canonical is None else intrinsics.resized(size[1], size[0]).fx / canonical), True

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.timings[name] = time.perf_counter() - start


def is_calibrated(intrinsics: Intrinsics | None, image_size: tuple[int, int]) -> bool:
    """Whether the camera of an image of ``image_size`` (H, W) is known; ``ValueError`` when it is of another size."""
    if intrinsics is None or not intrinsics.valid:
        return False
    height, width = image_size
    if (intrinsics.height, intrinsics.width) != (height, width):
        raise ValueError(f"the camera is {intrinsics.width}x{intrinsics.height}, the image {width}x{height}")
    return True


def choose_device(device: str | torch.device) -> torch.device:
    """The torch device of a name, ``"auto"`` being CUDA where there is one; ``ValueError`` where it is not there."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    return chosen


def choose_precision(precision: Precision, device: torch.device) -> str:
    """``"32"``, ``"16"`` or ``"bf16"`` for a device; ``ValueError`` for an unknown name."""
    if precision != "auto" and precision not in _DTYPES:
        raise ValueError(f"precision is {precision!r}, must be one of auto, {', '.join(_DTYPES)}")
    if precision == "auto":
        return "16" if device.type == "cuda" else "32"
    return precision


def check_finite(output: Mapping[str, Tensor]) -> None:
    """Raise ``NonFiniteOutputError`` naming the parts of an output, of any shape, that hold NaN or infinity."""
    finite = torch.stack([part.isfinite().all() for part in output.values()]).tolist()
    if not all(finite):
        broken = ", ".join(name for name, good in zip(output, finite, strict=True) if not good)
        raise NonFiniteOutputError(f"the network's output is not finite: {broken}")
