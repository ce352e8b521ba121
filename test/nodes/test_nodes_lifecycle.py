"""The lifecycle taken seriously: many rounds leak nothing, frames in flight, illegal transitions, shutdown."""

import copy
import gc
import json
import os
import statistics
import threading
import time

import pytest
import rclpy
import slow
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetAvailableTransitions
from node_bench import save_tiny_model
from node_children import Child
from node_helpers import Camera, Gated, QuickPerceiver, image_of, wait_for
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from dvps_ros.nodes import perception_node
from dvps_ros.nodes.perception_node import PerceptionNode
from dvps_ros.runtime import Perceiver, load_perceiver

#: Rounds in all, and after which of them the first look is taken: caches are filled by then.
ROUNDS, SETTLED = slow.of(200, 120), slow.of(60, 40)
#: Every this many rounds a look.
LOOK_EVERY = 10
#: Growth of resident memory that counts as flat, over the rounds after the first look.
FLAT = 0.02


# --- leaks -----------------------------------------------------------------------------------------------------------


def look(node):
    """What a process holds: resident memory in MiB, and numbers of what may be forgotten."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    topics = [name for name, _ in node.get_topic_names_and_types()]
    endpoints = sum(node.count_publishers(topic) + node.count_subscribers(topic) for topic in topics)
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "endpoints": endpoints,
        "publishers": len(list(node.publishers)),
        "subscriptions": len(list(node.subscriptions)),
        "timers": len(list(node.timers)),
        "managed": len(node._managed_entities),
        "parameters": len(node._parameters),
        "objects": len(gc.get_objects()),
    }


def many_rounds(folder):
    """Walk a node with a real network through all rounds, with a frame in some; print a look now and then."""
    rclpy.init(args=[])
    loaded = load_perceiver(folder, "cpu")

    def load(*_):
        return Perceiver(copy.deepcopy(loaded.network), loaded.config, "cpu")

    overrides = [Parameter("model", value=folder), Parameter("camera_info_timeout", value=0.0)]
    node = PerceptionNode(load, parameter_overrides=overrides)
    node.get_logger().set_level(rclpy.logging.LoggingSeverity.ERROR)
    camera = Camera()
    camera.collect(Image, "/perception/semantic")
    executor = SingleThreadedExecutor()
    for one in (node, camera.node):
        executor.add_node(one)

    def spin_for(seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)

    def one_round(number):
        answers = camera.received["/perception/semantic"]
        answers.clear()
        for trigger in (node.trigger_configure, node.trigger_activate):
            assert trigger() == TransitionCallbackReturn.SUCCESS
        if number % LOOK_EVERY == 0:
            end = time.monotonic() + 60
            while not answers:
                assert time.monotonic() < end, ("no answer", number, camera.diagnostics(), look(node))
                camera.send()
                spin_for(0.05)  # a frame needs several callbacks: not one for each that is sent
        for trigger in (node.trigger_deactivate, node.trigger_cleanup):
            assert trigger() == TransitionCallbackReturn.SUCCESS
        executor.spin_once(timeout_sec=0)
        camera.received["/diagnostics"].clear()

    for number in range(ROUNDS):
        one_round(number)
        if number % LOOK_EVERY == LOOK_EVERY - 1:
            print("look", json.dumps(look(node)))
    print("done")
    os._exit(0)


def test_many_rounds_leave_nothing_behind(tmp_path):
    child = Child(many_rounds, str(save_tiny_model(tmp_path / "model")))
    try:
        wait_for(lambda: child.wait(0) is not None, 240, "the rounds")
    finally:
        output = child.output
        child.kill()
    assert "done" in output, output
    looks = [json.loads(line.removeprefix("look ")) for line in output.splitlines() if line.startswith("look ")]
    before, after = looks[SETTLED // LOOK_EVERY], looks[-1]
    print("before:", before, "\nafter: ", after)
    assert len(looks) == ROUNDS // LOOK_EVERY
    for name in ("threads", "files", "endpoints", "publishers", "subscriptions", "timers", "managed", "parameters"):
        assert after[name] <= before[name], (name, [one[name] for one in looks])
    # a few objects of ROS come and go; one for each round would be 140
    assert after["objects"] - before["objects"] < (ROUNDS - SETTLED) / 2, [one["objects"] for one in looks]
    memory = [one["memory"] for one in looks[SETTLED // LOOK_EVERY :]]
    half = len(memory) // 2
    assert statistics.median(memory[half:]) < (1 + FLAT) * statistics.median(memory[:half]), memory


# --- frames in flight ------------------------------------------------------------------------------------------------


def accounted(b):
    said = b.camera.diagnostics()
    return int(said["frames in"]) == int(said["frames out"]) + int(said["frames dropped"])


def test_rounds_with_frames_in_flight(bench):
    """Frames keep coming, faster than they are worked on, whatever the node is doing."""
    with bench("semantic", "points", perceiver=QuickPerceiver(0.02), active=False) as b:
        timer = b.camera.node.create_timer(0.01, b.camera.send)
        for _ in range(6):
            b.start("semantic", "points")
            before = len(b.got("semantic"))
            wait_for(lambda: len(b.got("semantic")) >= before + 2)  # noqa: B023
            assert b.change(Transition.TRANSITION_DEACTIVATE)
            told = len(b.got("semantic"))
            assert b.change(Transition.TRANSITION_CLEANUP)
            assert b.state() == "unconfigured"
            assert len(b.got("semantic")) <= told + 1  # one may have been on its way
        b.camera.node.destroy_timer(timer)
        wait_for(lambda: accounted(b))
        assert b.counted("dropped: error") == 0


def test_deactivated_with_a_frame_in_work_it_is_not_published(bench):
    perceiver = Gated()
    with bench("semantic", perceiver=perceiver) as b:
        b.send_until(lambda: perceiver.started.acquire(blocking=False))
        b.camera.send()
        done = []
        transition = threading.Thread(target=lambda: done.append(b.change(Transition.TRANSITION_DEACTIVATE)))
        transition.start()
        wait_for(lambda: b.camera.node.count_subscribers("/image") == 0)  # it waits for the frame in work
        perceiver.go_on.release(10)
        transition.join(20)
        assert done == [True]
        assert b.got("semantic") == []
        wait_for(lambda: b.counted("dropped: deactivated") >= 1 and accounted(b))
        assert b.change(Transition.TRANSITION_ACTIVATE)
        b.send_until(lambda: b.got("semantic"))


def test_images_that_wait_for_their_camera_info_are_counted_when_the_node_is_deactivated(bench):
    with bench("semantic", camera_info_timeout=600.0) as b:
        b.send_until(lambda: b.got("semantic"))
        wait_for(lambda: accounted(b))
        before = int(b.camera.diagnostics()["frames in"])
        other = image_of(b.camera.pixels, frame_id="other")  # for which no earlier camera_info can stand in
        b.send_until(lambda: b.counted("frames in") >= before + 5, image=other, info=None)
        assert not accounted(b)
        assert b.change(Transition.TRANSITION_DEACTIVATE)
        wait_for(lambda: accounted(b))
        assert b.counted("dropped: deactivated") >= 1


def test_a_frame_that_hangs_holds_up_nothing_for_good(bench, monkeypatch):
    """Cleaned up and configured again while a network step hangs; when that ends after all, it disturbs nothing."""
    monkeypatch.setattr(perception_node, "PATIENCE", 0.2)
    hanging = Gated()
    with bench("semantic", perceiver=hanging) as b:
        b.send_until(lambda: hanging.started.acquire(blocking=False))
        assert b.change(Transition.TRANSITION_DEACTIVATE)
        assert b.change(Transition.TRANSITION_CLEANUP)
        b.node._load = lambda *_: QuickPerceiver()
        b.start("semantic")
        b.send_until(lambda: b.got("semantic"))
        before = b.camera.diagnostics()
        hanging.go_on.release(10)
        wait_for(lambda: b.counted("dropped: deactivated") > int(before.get("dropped: deactivated", 0)))
        b.settle("semantic")
        wait_for(lambda: accounted(b))
        assert b.counted("dropped: error") == 0
        b.says("active", whole=True)


# --- transitions -----------------------------------------------------------------------------------------------------

#: State -> the transitions to it, and those that it has.
PATHS = {
    "unconfigured": ((), {Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN}),
    "inactive": (
        (Transition.TRANSITION_CONFIGURE,),
        {Transition.TRANSITION_CLEANUP, Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_INACTIVE_SHUTDOWN},
    ),
    "active": (
        (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE),
        {Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN},
    ),
    "finalized": ((Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,), set()),
}
#: Every transition that can be asked for, and numbers that are none.
ALL = {
    *(Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP, Transition.TRANSITION_ACTIVATE),
    *(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN),
    *(Transition.TRANSITION_INACTIVE_SHUTDOWN, Transition.TRANSITION_ACTIVE_SHUTDOWN),
    *(Transition.TRANSITION_DESTROY, Transition.TRANSITION_CALLBACK_SUCCESS, 99, 255),
}


def walk(b, state):
    for transition in PATHS[state][0]:
        assert b.change(transition)
    assert b.state() == state


@pytest.mark.parametrize("state", PATHS)
def test_transitions_that_a_state_does_not_have_are_refused(bench, state):
    with bench(active=False) as b:
        walk(b, state)
        for transition in sorted(ALL - PATHS[state][1]):
            assert not b.change(transition), transition
            assert b.state() == state
        assert not b.change(0, label="fly")
        offered = b.call(GetAvailableTransitions, "get_available_transitions").available_transitions
        assert {found.transition.id for found in offered} == PATHS[state][1]
        wait_for(lambda: b.camera.diagnostics().get("state") == state)
        if state != "finalized":  # and what it has still works
            assert b.change(min(PATHS[state][1]))


def test_a_transition_by_its_label(bench):
    with bench(active=False) as b:
        for label, state in (("configure", "inactive"), ("activate", "active"), ("deactivate", "inactive")):
            assert b.change(0, label=label)
            assert b.state() == state


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "active"])
def test_shutdown_from_every_state(bench, state):
    shutdown = {
        "unconfigured": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
        "inactive": Transition.TRANSITION_INACTIVE_SHUTDOWN,
        "active": Transition.TRANSITION_ACTIVE_SHUTDOWN,
    }[state]
    with bench("semantic", active=False) as b:
        walk(b, state)
        if state == "active":
            b.send_until(lambda: b.got("semantic"))
        assert b.change(shutdown)
        assert b.state() == "finalized"
        b.says("finalized", whole=True)
        assert b.node._perceiver is None
        wait_for(lambda: b.camera.node.count_subscribers("/image") == 0)
        wait_for(lambda: b.camera.node.count_publishers("/perception/semantic") == 0)
        b.camera.received["/diagnostics"].clear()
        wait_for(lambda: b.camera.received["/diagnostics"])  # it still answers, until a signal ends it


def test_an_override_that_is_no_reliability_fails_to_activate_and_leaves_no_subscription(bench):
    override = {"qos_overrides./camera_info.subscription.reliability": "sometimes"}
    with bench(active=False, **override) as b:
        walk(b, "inactive")
        for _ in range(2):
            assert not b.change(Transition.TRANSITION_ACTIVATE)
            assert b.state() == "inactive"
            assert "must be auto, reliable or best_effort" in b.says("activating failed")
            assert list(b.node.subscriptions) == []


def test_the_trouble_of_an_earlier_try_is_forgotten(bench):
    with bench(active=False) as b:
        good = b.node._load
        b.node._load = lambda *_: (_ for _ in ()).throw(RuntimeError("no such device"))
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        b.says("configuring failed: RuntimeError: no such device")
        b.node._load = good
        assert b.change(Transition.TRANSITION_CONFIGURE)
        b.says("inactive", whole=True)


# --- parameters that are fixed while the node is configured ----------------------------------------------------------


def test_fixed_parameters_are_set_while_unconfigured_and_take_effect(bench):
    with bench("semantic", active=False, model="models/nowhere", max_depth=-1.0) as b:
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        b.says("max_depth is -1.0")
        assert b.set("max_depth", 30.0).successful
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        b.says("no such file or folder: models/nowhere")
        settings = {"model": "models", "reliability": "best_effort", "diagnostics_rate": 50.0, "organized": True}
        for name, value in settings.items():
            assert b.set(name, value).successful, name
        assert not b.set("precision", "8").successful
        b.start("semantic")
        found = b.camera.node.get_subscriptions_info_by_topic("/image")
        assert [info.qos_profile.reliability.name for info in found] == ["BEST_EFFORT"]
        for name in settings:
            assert not b.set(name, settings[name]).successful, name
        assert b.set("max_depth", 20.0).successful  # a runtime one
        b.send_until(lambda: b.got("semantic"))


def test_autostart_can_be_set_on_a_waiting_node(bench):
    with bench(active=False) as b:
        assert b.set("autostart", True).successful
        wait_for(lambda: b.state() == "active")
