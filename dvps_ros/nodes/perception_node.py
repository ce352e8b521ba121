"""The perception node: camera images in; labels, depth and clouds out. It converts, calls and publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import SetBool, Trigger

from dvps_ros.config import PerceptionConfig
from dvps_ros.nodes import image_conversion, synchronizer
from dvps_ros.nodes.camera_input import STEADY, CameraInput, ImageMessage
from dvps_ros.nodes.diagnostics import Statistics, device_facts, diagnostic_array
from dvps_ros.nodes.messages import image_to_rgb, intrinsics_of, nanoseconds
from dvps_ros.nodes.outputs import Frame, Outputs
from dvps_ros.nodes.parameters import NodeParameters
from dvps_ros.nodes.process import GRACE, one_line, run
from dvps_ros.nodes.worker import LatestWorker
from dvps_ros.runtime import DeviceMemoryError, NonFiniteOutputError, Perceiver, load_perceiver, locate
from dvps_ros.structures import Intrinsics

#: Seconds that a transition waits for the frame in work.
PATIENCE = 5.0
#: The same kind of trouble is logged at most once in this many seconds.
LOG_EVERY = 5.0
#: Diagnostics warn when images come in but none was answered for this many seconds.
STALLED = 5.0
#: Causes of unanswered frames that are as wanted, and how diagnostics say so.
WANTED = {
    "no subscribers": "active, nobody subscribes",
    "disabled": "active, ignoring frames (service enable)",
    "max_rate": "active",
}


@dataclass(frozen=True)
class Job:
    """An image that came in, with its camera_info (or why there is none) and when (``time.monotonic``).

    ``activation`` counts the node's activations: a frame of an earlier one is not published in the next.
    """

    image: ImageMessage
    info: CameraInfo | None
    reason: str
    received: float
    activation: int


class PerceptionNode(LifecycleNode):
    """Lifecycle node ``perception``; topics, parameters and services are described in the README.

    The executor's thread receives and answers; frames are worked on in a thread of their own.

    Parameters
    ----------
    load : makes the perceiver of a model, a device, a precision, a pair's two networks, and whether programs may run.
    """

    def __init__(self, load: Callable[[Path, str, str, str, str, bool], Perceiver] = load_perceiver, **options) -> None:
        super().__init__("perception", **options)
        self._load = load
        self._declared = NodeParameters(self, PerceptionConfig, self._on_parameters, self._is_unconfigured)
        self._statistics = Statistics(time.monotonic())
        self._bridge, bridge_description = image_conversion.select_bridge()
        self._descriptions = f"{synchronizer.DESCRIPTION}; {bridge_description}"
        self._perceiver: Perceiver | None = None
        self._outputs: Outputs | None = None
        self._input: CameraInput | None = None
        self._worker: LatestWorker[Job] | None = None
        self._active = False
        self._activation = 0
        self._enabled = True
        self._publishing = threading.Lock()  # held while results go out; deactivation waits for it
        self._reset_wanted = threading.Event()
        self._errors_in_a_row = 0
        self._answered = 0.0  # when the last frame was published, or the node activated
        self._unanswered = ("", "")  # cause and sentence of the last frame that was not published
        self._camera_state = "no camera_info yet"
        self._trouble = ""
        self._model_facts: dict[str, str] = {}
        self._logged: dict[str, float] = {}
        self._taken = 0.0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics_timer = self._create_diagnostics_timer()
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset_tracks", self._on_reset_tracks)
        self._guard_transitions()
        self._autostart: Timer | None = None
        self._prepare_autostart()

    @property
    def settings(self) -> PerceptionConfig:
        """The current parameters."""
        return self._declared.config

    # --- lifecycle ---------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Validate parameters, load the model and warm it up; FAILURE with one line when something is wrong."""
        try:
            self._configure()
        except Exception as error:  # whatever a broken model folder or driver raises, the node stays usable
            self._release()
            return self._failed("configuring", error)
        self._trouble = ""
        self.get_logger().info(self._descriptions)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to take frames."""
        result = super().on_activate(state)
        jump = self._reset_wanted.set
        try:
            self._input = CameraInput(
                self, lambda: self.settings, self._take, self._statistics.received, self._fault, jump
            )
            self._outputs.publish_labels(self._perceiver.labels, self._perceiver.merge_config.score_threshold)
        except Exception as error:
            self._stop_input()
            super().on_deactivate(state)
            return self._failed("activating", error)
        self._errors_in_a_row, self._trouble, self._camera_state = 0, "", "no camera_info yet"
        self._answered, self._unanswered = time.monotonic(), ("", "")
        self._activation += 1
        self._active = True
        self.get_logger().info(f"active: {' and '.join(self._input.topics)} -> {self.get_fully_qualified_name()}/*")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop taking frames; the one in work publishes nothing any more."""
        self._stop_input()
        if not self._worker.wait_idle(PATIENCE):
            self.get_logger().error(f"the frame in work did not end within {PATIENCE} s")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and its memory."""
        result = super().on_cleanup(state)
        self._release()
        self._trouble = ""
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
        """End the worker, then the node."""
        self._stop_input()
        if self._worker is not None:
            self._worker.stop(GRACE / 2)
        super().destroy_node()

    def _configure(self) -> None:
        if self._declared.problems:
            raise ValueError(self._declared.problems[0])
        given = self.settings
        model = locate(given.model)
        started = time.perf_counter()
        self._perceiver = self._load(
            model, given.device, given.precision, given.segmentation, given.depth, given.allow_programs
        )
        self._perceiver.warm_up()
        self._apply_thresholds()
        self._outputs = Outputs(self)
        self._worker = LatestWorker(self._process, self._replaced, self._lost)
        name = " + ".join(filter(None, (str(model), given.segmentation, given.depth)))
        self._model_facts = {"model": name, "model sha256": self._perceiver.digest}
        took = time.perf_counter() - started
        self.get_logger().info(f"model {name} on {self._perceiver.device}, ready after {took:.1f} s")

    def _stop_input(self) -> None:
        with self._publishing:
            self._active = False
        if self._input is not None:
            self._input.destroy()
            self._input = None
            self._forget_destroyed()
        if self._worker is not None and self._worker.clear() is not None:
            self._statistics.dropped("deactivated")

    def _release(self) -> None:
        if self._worker is not None and not self._worker.stop(PATIENCE):
            self.get_logger().error(f"the frame in work did not end within {PATIENCE} s")
        if self._outputs is not None:
            self._outputs.destroy()
        self._worker = self._outputs = self._perceiver = None
        self._forget_destroyed()
        self._model_facts = {}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _forget_destroyed(self) -> None:
        """Take out of the callback group what rclpy leaves there: a dead reference for each destroyed entity."""
        entities = self.default_callback_group.entities
        entities -= {reference for reference in entities if reference() is None}

    def _failed(self, doing: str, error: Exception) -> TransitionCallbackReturn:
        self._trouble = f"{doing} failed: {one_line(error)}"
        self.get_logger().error(self._trouble)
        return TransitionCallbackReturn.FAILURE

    def _guard_transitions(self) -> None:
        """Answer a transition that the state does not have with failure; rclpy would let the node die of it."""
        service = self._service_change_state
        answer = service.callback

        def guarded(request, response):
            try:
                return answer(request, response)
            except Exception as error:
                self.get_logger().error(f"transition refused: {one_line(error)}")
                response.success = False
                return response

        service.callback = guarded

    def _prepare_autostart(self) -> None:
        if self.settings.autostart and self._autostart is None:
            self._autostart = self.create_timer(0.0, self._start, clock=STEADY)

    def _start(self) -> None:
        self.destroy_timer(self._autostart)
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # --- control -----------------------------------------------------------------------------------------------------

    def _is_unconfigured(self) -> bool:
        return self._state_machine.current_state[1] == "unconfigured"

    def _on_parameters(self, settings: PerceptionConfig) -> None:
        if 1e9 / self._diagnostics_timer.timer_period_ns != settings.diagnostics_rate:
            self.destroy_timer(self._diagnostics_timer)
            self._diagnostics_timer = self._create_diagnostics_timer()
        self._prepare_autostart()
        if self._perceiver is None:
            return
        before = self._perceiver.merge_config
        self._apply_thresholds()
        if self._active and self._perceiver.merge_config != before:
            self._outputs.publish_labels(self._perceiver.labels, self._perceiver.merge_config.score_threshold)

    def _apply_thresholds(self) -> None:
        names = ("score_threshold", "mask_threshold", "overlap_threshold")
        given = {name: value for name in names if (value := getattr(self.settings, name)) >= 0}
        self._perceiver.merge_config = replace(self._perceiver.config.merge, **given)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success, response.message = True, "taking frames" if request.data else "ignoring frames"
        return response

    def _on_reset_tracks(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_wanted.set()
        response.success, response.message = True, "track ids start anew with the next frame"
        return response

    # --- one frame ---------------------------------------------------------------------------------------------------

    def _take(self, image: ImageMessage, info: CameraInfo | None, reason: str) -> None:
        """Hand a frame to the worker; on the executor's thread."""
        now = time.monotonic()
        if not self._enabled:
            self._leave_out("disabled")
        elif self.settings.max_rate and now - self._taken < 1 / self.settings.max_rate:
            self._leave_out("max_rate")
        else:
            self._taken = now
            self._worker.submit(Job(image, info, reason, now, self._activation))

    def _process(self, job: Job) -> None:
        """Decode, perceive, pack, publish; on the worker's thread."""
        try:
            self._answer(job)
            return
        except torch.cuda.OutOfMemoryError as error:
            reason = one_line(error)
        # Only now, with the error gone, are the frame's tensors unreferenced and their memory can be given back.
        torch.cuda.empty_cache()
        raise DeviceMemoryError(reason)

    def _answer(self, job: Job) -> None:
        clock = _Stopwatch(job.received)
        clock.lap("wait")
        perceiver, outputs = self._perceiver, self._outputs
        if self._too_old(job):
            return
        wanted = outputs.wanted()
        if not wanted:
            self._leave_out("no subscribers")
            return
        try:
            image = image_to_rgb(job.image, self._bridge, self.settings.max_pixels)
        except ValueError as error:
            self._fault("malformed image", f"image dropped: {error}", lost=True)
            return
        intrinsics = self._intrinsics(job, image.shape[:2])
        clock.lap("decode")
        if self._reset_wanted.is_set():
            self._reset_wanted.clear()
            perceiver.reset_tracks()
        scene = perceiver.step(image, intrinsics)
        clock.lap("perceive")
        info = job.info if intrinsics is not None else None
        frame = Frame(job.image.header, image, scene, intrinsics, info, perceiver.labels, self.settings)
        messages = outputs.pack(frame, wanted)
        clock.lap("pack")
        with self._publishing:
            if not self._is_current(job):
                self._statistics.dropped("deactivated")
                return
            outputs.publish(messages)
        clock.lap("publish")
        self._answered, self._errors_in_a_row = time.monotonic(), 0
        self._statistics.published()
        stages = {name: seconds for name, seconds in clock.laps.items() if name != "perceive"}
        if (age := self._age(job)) is not None:
            stages["age"] = age
        self._statistics.took(**stages, **perceiver.timings, total=time.monotonic() - job.received)

    def _is_current(self, job: Job) -> bool:
        """Whether the node is still as active as when the frame was taken."""
        return self._active and job.activation == self._activation

    def _age(self, job: Job) -> float | None:
        """Seconds since the image's stamp; None where it has none."""
        stamp = nanoseconds(job.image.header.stamp)
        return (self.get_clock().now().nanoseconds - stamp) / 1e9 if stamp else None

    def _too_old(self, job: Job) -> bool:
        limit, age = self.settings.max_age, self._age(job)
        if not limit or age is None or age <= limit:
            return False
        self._fault("too old", f"image dropped: {age:.2f} s old, max_age is {limit} s", lost=True)
        return True

    def _intrinsics(self, job: Job, size: tuple[int, int]) -> Intrinsics | None:
        """The frame's camera, or None with the reason in diagnostics."""
        state, camera = job.reason, None
        if job.info is not None:
            try:
                camera, state = intrinsics_of(job.info, size[1], size[0], self.settings.rectified), "ok"
            except ValueError as error:
                state = str(error)
        if camera is None:
            self._fault("camera_info", f"no depth in metres and no clouds: {state}", lost=False)
        self._camera_state = state
        return camera

    # --- trouble -----------------------------------------------------------------------------------------------------

    def _fault(self, cause: str, sentence: str, lost: bool) -> None:
        """Count a fault, and log it unless its like was logged just now."""
        if lost:
            self._leave_out(cause, sentence)
        else:
            self._statistics.warned(cause)
        now = time.monotonic()
        if now - self._logged.get(cause, -LOG_EVERY) >= LOG_EVERY:
            self._logged[cause] = now
            self.get_logger().warning(sentence)

    def _leave_out(self, cause: str, sentence: str = "") -> None:
        """Count a frame that is not answered."""
        self._statistics.dropped(cause)
        self._unanswered = (cause, sentence or cause)

    def _replaced(self, job: Job) -> None:
        self._leave_out("replaced", "a newer image came while one was in work")

    def _lost(self, job: Job, error: Exception) -> None:
        """A frame failed in the network or after it; on the worker's thread."""
        if not self.context.ok():  # the process is ending, and the publishers with it
            return
        if not self._is_current(job):  # what it works with may be gone
            self._statistics.dropped("deactivated")
            return
        cause = "not finite" if isinstance(error, NonFiniteOutputError) else "error"
        self._fault(cause, f"frame lost: {one_line(error)}", lost=True)
        self._errors_in_a_row += 1
        if self._errors_in_a_row >= self.settings.max_consecutive_errors and self.executor is not None:
            self.executor.create_task(self._give_up, job, one_line(error))

    def _give_up(self, job: Job, reason: str) -> None:
        if not self._is_current(job):
            return
        self._trouble = f"deactivated after {self._errors_in_a_row} failed frames in a row, the last: {reason}"
        self.get_logger().error(self._trouble)
        self.trigger_deactivate()

    # --- diagnostics -------------------------------------------------------------------------------------------------

    def _create_diagnostics_timer(self) -> Timer:
        return self.create_timer(1 / self.settings.diagnostics_rate, self._publish_diagnostics, clock=STEADY)

    def _publish_diagnostics(self) -> None:
        report = self._statistics.report(time.monotonic())
        level, message = self._health()
        facts = {
            "state": self._state_machine.current_state[1],
            "enabled": str(self._enabled),
            "camera_info": self._camera_state,
            **self._model_facts,
        }
        if self._perceiver is not None:
            facts.update(device_facts(self._perceiver.device))
        stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name().lstrip("/")
        self._diagnostics.publish(diagnostic_array(stamp, name, level, message, report, facts))

    def _health(self) -> tuple[bytes, str]:
        if self._trouble:
            return DiagnosticStatus.ERROR, self._trouble
        if not self._active:
            return DiagnosticStatus.OK, self._state_machine.current_state[1]
        if self._errors_in_a_row:
            return DiagnosticStatus.WARN, f"the last {self._errors_in_a_row} frames failed"
        if silence := self._input.silence:
            return DiagnosticStatus.WARN, silence
        cause, sentence = self._unanswered
        unanswered = time.monotonic() - self._answered
        if unanswered > STALLED and cause in WANTED:
            return DiagnosticStatus.OK, WANTED[cause]
        if unanswered > STALLED:
            reason = f"; the last: {sentence}" if sentence else ""
            return DiagnosticStatus.WARN, f"no frame answered for {unanswered:.0f} s{reason}"
        if self._camera_state != "ok":
            return DiagnosticStatus.WARN, f"no depth in metres and no clouds: {self._camera_state}"
        return DiagnosticStatus.OK, "active"


class _Stopwatch:
    """Seconds from lap to lap, from a start on ``time.monotonic``."""

    def __init__(self, start: float) -> None:
        self._last = start
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = now - self._last, now


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the executable ``perception_node``."""
    run(PerceptionNode, arguments)
