"""The perception node: camera images in; labels, depth and clouds out. This file is its lifecycle and its controls."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import SetBool, Trigger

from dvps_ros.camera.beat import Beat
from dvps_ros.config import PerceptionConfig
from dvps_ros.nodes import image_conversion, rclpy_private, synchronizer
from dvps_ros.nodes.camera_input import CameraInput, ImageMessage
from dvps_ros.nodes.diagnostics import STEADY, DiagnosticsPublisher, device_facts
from dvps_ros.nodes.frame_reader import FrameReader
from dvps_ros.nodes.health import Health
from dvps_ros.nodes.manager_bond import MANAGER, ManagerBond
from dvps_ros.nodes.mounting import Mounting
from dvps_ros.nodes.outputs import Outputs
from dvps_ros.nodes.parameters import NodeParameters
from dvps_ros.nodes.pipeline import FramePipeline
from dvps_ros.nodes.process import GRACE, one_line, run
from dvps_ros.runtime import Perceiver, load_perceiver, locate
from dvps_ros.scene.rays import lens_factor, rays
from dvps_ros.scene.resampling import Nearest

#: Seconds that a transition waits for the frame in work.
PATIENCE = 5.0


class PerceptionNode(LifecycleNode):
    """Lifecycle node ``perception``; docs/topics.md and docs/parameters.md describe topics, services and parameters.

    The executor's thread handles messages, services and parameters. A thread of its own works on the frames
    (``FramePipeline``).

    Parameters
    ----------
    load : makes the perceiver; the arguments are those of ``load_perceiver``.
    """

    def __init__(self, load: Callable[..., Perceiver] = load_perceiver, **options) -> None:
        super().__init__("perception", **options)
        self._load = load
        self._declared = NodeParameters(self, PerceptionConfig, self._on_parameters, self._is_unconfigured)
        self._health = Health(self.get_logger())
        self._bridge, bridge_description = image_conversion.select_bridge()
        self._descriptions = f"{synchronizer.DESCRIPTION}; {bridge_description}"
        self._perceiver: Perceiver | None = None
        self._outputs: Outputs | None = None
        self._pipeline: FramePipeline | None = None
        self._mounting: Mounting | None = None
        self._input: CameraInput | None = None
        self._bond = ManagerBond(self)
        self._enabled = True
        self._beat = Beat()  # selects frames for max_rate
        self._model_facts: dict[str, str] = {}
        self._diagnostics = DiagnosticsPublisher(
            self, self.settings.diagnostics_rate, self._health.statistics, self._status
        )
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset_tracks", self._on_reset_tracks)
        rclpy_private.refuse_wrong_transitions(self, self._on_wrong_transition)
        self._autostart: Timer | None = None
        self._prepare_autostart()
        if self._autostart is None:
            ways = f"ros2 lifecycle set {self.get_fully_qualified_name()} configure, then activate, or autostart:=true"
            self.get_logger().info(f"unconfigured: waits for {MANAGER}, or: {ways}")

    @property
    def settings(self) -> PerceptionConfig:
        """The current parameters."""
        return self._declared.config

    @property
    def state(self) -> str:
        """The lifecycle state: unconfigured, inactive, active, finalized, or that of a transition."""
        return rclpy_private.lifecycle_state(self)

    @property
    def _frames(self) -> FramePipeline:
        """The pipeline, which exists from configuring to cleaning up."""
        assert self._pipeline is not None, "the node is configured"
        return self._pipeline

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Validate parameters, load the model and warm it up; FAILURE with one line in the log if this fails."""
        try:
            self._configure()
        except Exception as error:  # the node stays usable whatever a broken model folder or driver raises
            self._release()
            return self._failed("configuring", error)
        self._health.forget_failure()
        self.get_logger().info(self._descriptions)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to take frames."""
        result = super().on_activate(state)
        try:
            received, fault = self._health.statistics.received, self._health.fault
            self._input = CameraInput(self, lambda: self.settings, self._take, received, fault)
            self._publish_labels()
            self._bond.form()
        except Exception as error:
            self._stop_input()
            super().on_deactivate(state)
            return self._failed("activating", error)
        self._health.begin()
        self._frames.activate()
        self.get_logger().info(f"active: {' and '.join(self._input.topics)} -> {self.get_fully_qualified_name()}/*")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop taking frames; the frame in work is not published."""
        self._stop_input()
        if not self._frames.wait_idle(PATIENCE):
            self.get_logger().error(f"the frame in work did not end within {PATIENCE} s")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and its memory."""
        result = super().on_cleanup(state)
        self._release()
        self._health.forget_failure()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from any state."""
        self._stop_input()
        result = super().on_shutdown(state)
        self._release()
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything and go back to unconfigured."""
        self._stop_input()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """End the pipeline, then the node."""
        self._stop_input()
        if self._pipeline is not None:
            self._pipeline.stop(GRACE / 2)
        super().destroy_node()

    def _configure(self) -> None:
        if self._declared.problems:
            raise ValueError(self._declared.problems[0])
        settings = self.settings
        model = locate(settings.model)
        started = time.perf_counter()
        how = (settings.segmentation, settings.depth, settings.allow_programs, settings.runtime, settings.input_pixels)
        self._perceiver = self._load(model, settings.device, settings.precision, *how)
        self._perceiver.warm_up()
        self._apply_thresholds()
        self._outputs = Outputs(self, self._perceiver.tells_uncertainty, settings.view_frame)
        self._mounting = Mounting(self, lambda: self.settings)
        self._pipeline = FramePipeline(
            self,
            FrameReader(self, self._bridge, lambda: self.settings, self._health),
            self._perceiver,
            self._outputs,
            self._mounting,
            lambda: self.settings,
            self._health,
            self._on_failing_frames,
        )
        name = " + ".join(filter(None, (str(model), settings.segmentation, settings.depth)))
        self._model_facts = {"model": name, "model sha256": self._perceiver.digest}
        seconds = time.perf_counter() - started
        where = f"{self._perceiver.device} ({self._perceiver.runtime})"
        self.get_logger().info(f"model {name} on {where}, ready after {seconds:.1f} s")

    def _stop_input(self) -> None:
        self._bond.end()
        if self._pipeline is not None:
            self._pipeline.deactivate()
        if self._input is not None:
            self._input.destroy()
            for _ in range(self._input.waiting):
                self._health.statistics.dropped("deactivated")
            self._input = None
            rclpy_private.forget_destroyed(self)

    def _release(self) -> None:
        if self._pipeline is not None and not self._pipeline.stop(PATIENCE):
            self.get_logger().error(f"the frame in work did not end within {PATIENCE} s")
        for part in (self._outputs, self._mounting):
            if part is not None:
                part.destroy()
        self._pipeline = self._outputs = self._mounting = self._perceiver = None
        rclpy_private.forget_destroyed(self)
        self._model_facts = {}
        for of_past_cameras in (rays, lens_factor, Nearest.of):  # on the device
            of_past_cameras.cache_clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _failed(self, doing: str, error: Exception) -> TransitionCallbackReturn:
        self._health.node_failed(f"{doing} failed: {one_line(error)}")
        return TransitionCallbackReturn.FAILURE

    def _on_wrong_transition(self, error: Exception) -> None:
        self.get_logger().error(f"transition refused: {one_line(error)}")

    def _on_failing_frames(self, sentence: str) -> None:
        """Called on the pipeline's thread when too many frames in a row have failed."""
        if self.executor is not None:
            self.executor.create_task(self._give_up, sentence)

    def _give_up(self, sentence: str) -> None:
        # in the meantime the node may have been deactivated or activated again
        if self.state == "active" and self._health.failed_in_a_row >= self.settings.max_consecutive_errors:
            self._health.node_failed(sentence)
            self.trigger_deactivate()

    def _prepare_autostart(self) -> None:
        if self.settings.autostart and self._autostart is None:
            self._autostart = self.create_timer(0.0, self._configure_and_activate, clock=STEADY)

    def _configure_and_activate(self) -> None:
        if self._autostart is not None:
            self.destroy_timer(self._autostart)
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # --- controls ----------------------------------------------------------------------------------------------------

    def _is_unconfigured(self) -> bool:
        return self.state == "unconfigured"

    def _on_parameters(self, settings: PerceptionConfig) -> None:
        self._diagnostics.set_rate(settings.diagnostics_rate)
        self._prepare_autostart()
        if self._perceiver is None:
            return
        before = self._perceiver.merge_config
        self._apply_thresholds()
        if self.state == "active" and self._perceiver.merge_config != before:
            self._publish_labels()

    def _apply_thresholds(self) -> None:
        names = ("score_threshold", "mask_threshold", "overlap_threshold")
        overrides = {name: value for name in names if (value := getattr(self.settings, name)) >= 0}
        if self._perceiver is not None:
            self._perceiver.merge_config = replace(self._perceiver.config.merge, **overrides)

    def _publish_labels(self) -> None:
        if self._outputs is not None and self._perceiver is not None:
            self._outputs.publish_labels(self._perceiver.labels, self._perceiver.merge_config.score_threshold)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success, response.message = True, "taking frames" if request.data else "ignoring frames"
        return response

    def _on_reset_tracks(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._pipeline is not None:
            self._pipeline.reset_tracks()
        response.success, response.message = True, "track ids start anew with the next frame"
        return response

    def _take(self, image: ImageMessage, info: CameraInfo | None, reason: str) -> None:
        """Hand a frame to the pipeline, or count why it is left out."""
        rate = self.settings.max_rate
        if not self._enabled:
            self._health.unanswered("disabled")
        elif rate and not self._beat.takes(time.monotonic(), 1 / rate):
            self._health.unanswered("max_rate")
        else:
            self._frames.submit(image, info, reason)

    def _status(self) -> tuple[bytes, str, dict[str, str]]:
        """Level and message of the node's diagnostics, and further key-value pairs."""
        level, message = self._health.status(self.state, self._input.silence if self._input is not None else "")
        facts = {
            "state": self.state,
            "enabled": str(self._enabled),
            "camera_info": self._health.camera,
            **self._health.anchor,
            **self._health.tracking,
            **self._model_facts,
        }
        if self._perceiver is not None:
            facts.update(device_facts(self._perceiver.device))
        return level, message, facts


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the executable ``perception_node``."""
    run(PerceptionNode, arguments)
