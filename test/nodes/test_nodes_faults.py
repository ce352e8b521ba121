"""What a camera, a clock, a network and a model folder can do to the running node, each on real DDS."""

import math
import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition
from node_bench import save_tiny_model, started
from node_children import Child, camera
from node_helpers import CAMERA, HEIGHT, WIDTH, image_of, spinning, wait_for
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo

from dvps_ros.launch_arguments import profile_variables
from dvps_ros.nodes import camera_input, health, mounting
from dvps_ros.nodes.messages import info_of
from dvps_ros.runtime import load_perceiver

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of a real model."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


def at(seconds):
    return Time(sec=int(seconds), nanosec=round(seconds % 1 * SECOND))


# --- the camera dies and comes back ----------------------------------------------------------------------------------

#: A participant that is forgotten two seconds after its death, instead of Fast DDS' twenty.
SHORT_LEASE = """<leaseDuration><sec>2</sec></leaseDuration>
            <leaseAnnouncement><sec>0</sec><nanosec>500000000</nanosec></leaseAnnouncement>
            <initialAnnouncements>"""


@pytest.fixture
def cameras(tmp_path, monkeypatch):
    """Starts cameras as processes; the bench's own camera sends nothing then."""
    monkeypatch.setattr(camera_input, "SILENT", 0.5)  # sooner than a dead publisher is forgotten
    profile = tmp_path / "short_lease.xml"
    with open(os.environ[profile_variables()[0]]) as file:
        profile.write_text(file.read().replace("<initialAnnouncements>", SHORT_LEASE))
    made = []

    def start(**settings):
        made.append(Child(camera, settings, environment={profile_variables()[0]: str(profile)}))
        return made[-1]

    yield start
    for child in made:
        child.kill()


def silence_own_camera(b):
    b.camera.node.destroy_publisher(b.camera.images)
    b.camera.node.destroy_publisher(b.camera.infos)


def new_message(b, topic, condition=lambda message: True):
    """Wait for a message that comes in from now on; gives it."""
    before = len(b.got(topic))
    return wait_for(lambda: next(filter(condition, b.got(topic)[before:]), None), what=b.camera.diagnostics())


def resources_of_this_process():
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir("/proc/self/task"))


def test_camera_killed_and_restarted(bench, cameras):
    with bench("semantic", "depth") as b:
        silence_own_camera(b)
        seen = []
        for _ in range(3):
            child = cameras()
            new_message(b, "depth")
            b.says("active", whole=True)
            child.kill()
            assert b.says("is silent") == "no images: the publisher of /image is silent"
            assert b.says("no publisher") == "no images: /image has no publisher"
            wait_for(lambda: b.camera.node.count_publishers("/camera_info") == 0)
            seen.append(resources_of_this_process())
        assert b.state() == "active"
        assert len(list(b.node.subscriptions)) == 2
        print("files, Python threads, threads after each death:", seen)
        assert all(now <= first + 1 for first, now in zip(seen[0], seen[-1], strict=True)), seen


@pytest.mark.parametrize(
    ("after", "check"),
    [
        ({"width": 96, "height": 48, "fx": 70.0}, lambda m: (m.width, m.height) == (96, 48)),
        ({"encoding": "mono8", "channels": 1, "name": "gray"}, lambda m: (m.width, m.height) == (WIDTH, HEIGHT)),
        ({"frame_id": "other_camera"}, lambda m: m.header.frame_id == "other_camera"),
    ],
    ids=["size", "encoding", "frame_id"],
)
def test_camera_killed_and_another_started(bench, cameras, after, check):
    with bench("semantic", "depth", "points") as b:
        silence_own_camera(b)
        first = cameras()
        new_message(b, "depth")
        first.kill()
        b.says("is silent")
        cameras(**after)
        for topic in ("semantic", "depth"):
            assert check(new_message(b, topic))
        assert new_message(b, "points").header.frame_id == after.get("frame_id", "camera")
        b.says("active", whole=True)
        assert b.counted("frames dropped") == sum(b.counted(f"dropped: {cause}") for cause in ("replaced", "too old"))


@pytest.mark.parametrize(
    ("before", "after"), [("reliable", "best_effort"), ("best_effort", "reliable")], ids=["worse", "better"]
)
def test_camera_killed_and_restarted_with_other_reliability(bench, cameras, before, after):
    def asked():
        topics = "/image", "/camera_info"
        found = [info for topic in topics for info in b.camera.node.get_subscriptions_info_by_topic(topic)]
        return {info.qos_profile.reliability.name.lower() for info in found}

    with bench("depth") as b:
        silence_own_camera(b)
        first = cameras(reliability=before)
        new_message(b, "depth")
        wait_for(lambda: asked() == {before})
        first.kill()
        cameras(reliability=after)
        new_message(b, "depth")
        wait_for(lambda: asked() == {after})  # at the latest when the dead publisher is forgotten
        new_message(b, "depth")
        b.says("active", whole=True)


# --- camera_info -----------------------------------------------------------------------------------------------------


def send_apart(b, stamp, delay, image_first=True):
    """Publish an image and its camera_info ``delay`` seconds apart."""
    image, info = image_of(b.camera.pixels, stamp=stamp), info_of(CAMERA)
    info.header = image.header
    parts = [(b.camera.images, image), (b.camera.infos, info)]
    for publisher, message in parts if image_first else reversed(parts):
        publisher.publish(message)
        time.sleep(delay)


def test_camera_info_that_comes_after_its_image_is_waited_for(bench):
    with bench("semantic", "depth") as b:
        b.send_until(lambda: b.got("depth"))
        for _ in range(4):
            stamp = b.camera.node.get_clock().now().to_msg()
            send_apart(b, stamp, 0.05)
            wait_for(lambda: b.answered("depth", stamp))  # noqa: B023
        assert b.counted("warned: camera_info") == 0


def test_camera_info_that_is_late_after_it_was_missing_pairs_again(bench):
    """While images go on alone, a late camera_info still shows that it pays to wait, and no frame is answered twice."""
    with bench("semantic", "depth") as b:
        b.send_until(lambda: b.counted("warned: camera_info") >= 3, info=None)
        assert not b.got("depth")

        def attempt():
            send_apart(b, b.camera.node.get_clock().now().to_msg(), 0.05)
            return len(b.got("depth")) >= 3

        wait_for(attempt, what=b.camera.diagnostics())
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in b.got("semantic")]
        assert stamps == sorted(set(stamps))


def test_a_pause_of_the_camera_costs_no_camera_info(bench):
    """As when the simulated camera builds its next street: after the pause the image is the first to come."""
    with bench("semantic", "depth", camera_info_timeout=0.2) as b:
        b.send_until(lambda: b.got("depth"))
        for _ in range(3):
            time.sleep(0.5)
            stamp = b.camera.node.get_clock().now().to_msg()
            send_apart(b, stamp, 0.05)
            wait_for(lambda: b.answered("depth", stamp))  # noqa: B023
        assert b.counted("warned: camera_info") == 0


def test_camera_info_that_stays_away_is_replaced_by_the_last_one(bench):
    """As where large images hold it up on its way: no frame is lost, and metres go on."""
    with bench("depth") as b:
        b.send_until(lambda: b.got("depth"))
        for number in range(5):
            stamp = b.camera.send(info=None)
            wait_for(lambda: b.answered("depth", stamp))  # noqa: B023
            wait_for(lambda: b.counted("warned: camera_info late") > number)  # noqa: B023
        b.says("active", whole=True)
        assert b.counted("dropped: no camera_info") == 0
        assert b.counted("warned: camera_info") == 0


def test_a_calibration_that_changes_makes_images_wait_for_their_own(bench):
    with bench("depth", "depth/camera_info", camera_info_timeout=600.0) as b:
        b.send_until(lambda: b.got("depth"))
        changed = info_of(replace(CAMERA, fx=60.0, fy=60.0))
        changed.header.frame_id = "camera_optical"
        b.camera.infos.publish(changed)
        wait_for(lambda: b.node._input._infos_seen.latest.k[0] == 60.0)
        stamp = b.camera.send(info=None)
        time.sleep(5 * camera_input.LATE)
        assert not b.answered("depth", stamp)
        changed.header.stamp = stamp
        b.camera.infos.publish(changed)  # its own, which says the same as the one before
        wait_for(lambda: b.answered("depth", stamp) and b.answered("depth/camera_info", stamp))
        assert b.got("depth/camera_info")[-1].k[0] == 60.0
        stamp = b.camera.send(info=None)
        wait_for(lambda: b.answered("depth", stamp) and b.answered("depth/camera_info", stamp))
        assert b.got("depth/camera_info")[-1].k[0] == 60.0


def test_camera_info_that_begins_late_with_stamps_of_zero(bench):
    with bench("semantic", "depth") as b:
        b.send_until(lambda: b.counted("warned: camera_info") >= 2, info=None, stamp=Time())
        b.send_until(lambda: len(b.got("depth")) >= 3, stamp=Time())
        assert b.counted("warned: zero stamp") >= 5


@pytest.mark.parametrize("broken", [0.0, math.nan], ids=["zero", "NaN"])
def test_intrinsics_that_go_bad_and_come_back(bench, broken):
    bad = info_of(CAMERA)
    bad.k, bad.p = [broken] * 9, [broken] * 12
    with bench("semantic", "depth", "points") as b:
        b.send_until(lambda: b.got("depth") and b.got("points"))
        b.send_until(lambda: b.counted("warned: camera_info") >= 3, info=bad)
        b.says("no depth in metres and no clouds: camera_info is")
        stamp = b.camera.send(info=bad)
        wait_for(lambda: b.answered("semantic", stamp))
        assert not b.answered("depth", stamp)
        assert not b.answered("points", stamp)
        before = len(b.got("depth"))
        b.send_until(lambda: len(b.got("depth")) > before)
        b.says("active", whole=True)


def test_camera_info_of_another_size_in_midstream(bench):
    with bench("semantic", "depth") as b:
        b.send_until(lambda: b.got("depth"))
        bigger = image_of(np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8))
        b.send_until(lambda: b.counted("warned: camera_info") >= 3, image=bigger)
        assert b.got("semantic")[-1].width == 2 * WIDTH
        assert {message.width for message in b.got("depth")} == {WIDTH}
        b.says(f"camera_info is for {WIDTH}x{HEIGHT}, the image is {2 * WIDTH}x{2 * HEIGHT}")
        larger = info_of(CAMERA.resized(2 * WIDTH, 2 * HEIGHT))
        b.send_until(lambda: b.got("depth")[-1].width == 2 * WIDTH, image=bigger, info=larger)
        b.says("active", whole=True)


@pytest.mark.parametrize("mode", ["synced", "latest"])
def test_two_publishers_of_camera_info_that_disagree(bench, mode):
    other = Node("impostor")
    with bench("semantic", "depth", camera_info_mode=mode) as b, spinning(other):
        b.send_until(lambda: b.got("depth"))
        publisher = other.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=1))
        wait_for(publisher.get_subscription_count)
        wrong = info_of(replace(CAMERA, fx=99.0, fy=99.0))

        def send_both():
            image = image_of(b.camera.pixels, stamp=b.camera.node.get_clock().now().to_msg())
            wrong.header = image.header
            publisher.publish(wrong)
            b.camera.send(image, stamp=image.header.stamp)
            time.sleep(0.03)
            return "disagree" in b.camera.diagnostics()["message"]

        wait_for(send_both)
        said = b.says("publishers of /camera_info disagree")
        assert "/impostor" in said
        assert "/test_camera" in said
        before = len(b.got("semantic")), len(b.got("depth"))
        wait_for(lambda: send_both() and len(b.got("semantic")) > before[0] + 5)
        assert len(b.got("depth")) == before[1]
        other.destroy_publisher(publisher)
        b.send_until(lambda: len(b.got("depth")) > before[1])
        b.says("active", whole=True)


def test_camera_infos_from_the_future_do_not_block_the_queue_for_good(bench):
    with bench("semantic", "depth") as b:
        b.send_until(lambda: b.got("depth"))
        for ahead in range(camera_input.QUEUE + 1):
            info = info_of(CAMERA)
            info.header.stamp = Time(sec=2**31 - 100 + ahead)
            b.camera.infos.publish(info)
            time.sleep(0.02)
        before = len(b.got("depth"))
        b.send_until(lambda: len(b.got("depth")) >= before + 5)


def test_a_base_frame_without_a_transform_costs_metres_of_the_ground_alone(bench):
    """Frames are answered, and diagnostics say that depth is not anchored."""
    with bench("semantic", "depth", base_frame="base_link") as b:
        b.send_until(lambda: b.got("depth") and b.got("semantic"))
        wait_for(lambda: b.counted("warned: camera height") > 0)
        assert b.counted("frames dropped") == 0


def test_the_camera_s_motion_comes_from_the_fixed_frame(bench, monkeypatch):
    """The pose is looked up by frame and stamp of the image."""

    class Standing:
        problem = ""

        def __init__(self, node):
            pass

        def at(self, target, source, stamp, timeout):
            asked.add((target, source, stamp > 0, timeout))
            return np.eye(4)

        def destroy(self):
            pass

    asked = set()
    monkeypatch.setattr(mounting, "Transforms", Standing)
    with bench("semantic", "depth", fixed_frame="odom", transform_timeout=0.2) as b:
        b.send_until(lambda: len(b.got("depth")) >= 3)
        assert wait_for(lambda: b.camera.diagnostics().get("camera's motion") == "from TF")
        assert b.counted("warned: fixed frame") == 0
    assert asked == {("odom", "camera_optical", True, 0.2)}


def test_clouds_stay_in_the_camera_s_frame_without_a_transform(bench):
    """The target frame is not known: a warning, and clouds all the same."""
    with bench("obstacles", target_frame="base_link") as b:
        b.send_until(lambda: b.got("obstacles"))
        wait_for(lambda: b.counted("warned: target frame") > 0)
        assert b.counted("frames dropped") == 0
        assert b.got("obstacles")[-1].header.frame_id == "camera_optical"


def test_a_fixed_frame_without_a_transform_costs_nothing_but_a_warning(bench):
    """Frames are answered with the motion from the picture, and diagnostics say that TF does not give it."""
    with bench("semantic", "depth", fixed_frame="odom") as b:
        b.send_until(lambda: b.got("depth") and b.got("semantic"))
        wait_for(lambda: b.counted("warned: fixed frame") > 0)
        assert b.counted("frames dropped") == 0


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_bag_that_loops(bench):
    """Stamps of last week that jump back by minutes, as ``ros2 bag play --loop`` sends them without a clock."""
    with bench("semantic", "depth") as b:
        start = b.camera.node.get_clock().now().nanoseconds / SECOND - 7 * 86400
        for _ in range(3):
            for offset in (0.0, 0.1, 100.0, 300.0):
                before = len(b.got("depth"))
                b.camera.send(stamp=at(start + offset))
                wait_for(lambda: len(b.got("depth")) > before)  # noqa: B023
        assert wait_for(lambda: b.counted("warned: stamp jumped back") == 2)
        # a jump back, and each gap of more than three seconds, starts anew in the frame that has it
        assert b.node._perceiver.numbers == [1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 8, 9]
        assert b.counted("frames dropped") == 0


def test_stamps_of_another_time_with_max_age_are_said_and_the_parameter_helps_at_once(bench, monkeypatch):
    monkeypatch.setattr(health, "STALLED", 0.5)
    with bench("semantic", max_age=2.0) as b:
        old = at(b.camera.node.get_clock().now().nanoseconds / SECOND - 1000)
        b.send_until(lambda: "no frame answered" in b.camera.diagnostics().get("message", ""), stamp=old)
        assert "max_age is 2.0 s" in b.says("no frame answered for")
        assert not b.got("semantic")
        assert b.set("max_age", 0.0).successful
        b.send_until(lambda: b.got("semantic"), stamp=old)
        assert b.set("max_age", 2.0).successful
        before = len(b.got("semantic"))
        b.send_until(lambda: len(b.got("semantic")) > before)  # fresh ones again


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["zero", "future"])
def test_max_age_spares_what_has_no_age(bench, seconds):
    """A stamp of zero says nothing of the age, and one ahead of the clock is not old."""
    stamp = Time() if not seconds else Time(sec=2**31 - 1)
    with bench("semantic", max_age=0.5) as b:
        b.send_until(lambda: len(b.got("semantic")) >= 3, stamp=stamp)
        assert b.counted("dropped: too old") == 0
        b.camera.received.clear()
        b.send_until(lambda: b.got("semantic"))


def test_simulated_time_that_jumps_and_stands_still(bench):
    with bench("semantic", "depth", use_sim_time=True, max_age=1.0) as b:
        clock = b.camera.node.create_publisher(Clock, "/clock", 10)
        wait_for(clock.get_subscription_count)

        def move_to(seconds):
            def attempt():
                clock.publish(Clock(clock=at(seconds)))
                time.sleep(0.02)
                return abs(b.node.get_clock().now().nanoseconds / SECOND - seconds) < 1e-3

            wait_for(attempt)

        for now in (1000.0, 1000.5, 100.0, 5000.0, 5000.2, 1.0):  # back by minutes, forward by an hour, start again
            move_to(now)
            before = len(b.got("depth"))
            b.send_until(lambda: len(b.got("depth")) > before, stamp=at(now))  # noqa: B023
            assert b.got("depth")[-1].header.stamp == at(now)
        assert b.counted("dropped: too old") == 0
        b.camera.received["/diagnostics"].clear()
        wait_for(lambda: len(b.camera.received["/diagnostics"]) > 5)  # although the clock stands still
        assert b.camera.received["/diagnostics"][-1].header.stamp == at(1.0)
        move_to(3.0)
        b.send_until(lambda: b.counted("dropped: too old") >= 1, stamp=at(1.0))


# --- the network -----------------------------------------------------------------------------------------------------


class Faulty(torch.nn.Module):
    """A network that fails as told, as long as told."""

    def __init__(self, network):
        super().__init__()
        self.network, self.fault, self.left, self.calls = network, None, 0, 0

    def fail(self, fault, times):
        self.fault, self.left = fault, times

    def forward(self, images):
        self.calls += 1
        prediction = self.network(images)
        if self.left > 0:
            self.left -= 1
            return self.fault(prediction)
        return prediction


def not_finite(prediction):
    prediction.depth_features[..., 0, 0] = math.nan
    return prediction


def out_of_memory(prediction):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has 1 GiB free.")


def broken(prediction):
    raise RuntimeError("cuDNN error:\nCUDNN_STATUS_EXECUTION_FAILED")


FAULTS = {
    "NaN": (not_finite, "dropped: not finite", "not finite: depth_features"),
    "memory": (out_of_memory, "dropped: error", "CUDA out of memory"),
    "driver": (broken, "dropped: error", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
}


@pytest.fixture
def real(tiny):
    """Starts a node with a real model whose network can be made to fail: ``bench.node._perceiver.network``."""

    def load(*given):
        perceiver = load_perceiver(*given)
        perceiver.network = Faulty(perceiver.network)
        return perceiver

    def start(*topics, **settings):
        return started(load, *topics, model=str(tiny), **settings)

    return start


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_network_costs_one_frame(real, fault):
    inject, key, _ = FAULTS[fault]
    with real("semantic") as b:
        b.settle("semantic")
        network = b.node._perceiver.network
        calls = network.calls
        network.fail(inject, 1)
        lost = b.camera.send()
        wait_for(lambda: network.calls > calls)
        wait_for(lambda: b.counted(key) == 1)
        assert not b.answered("semantic", lost)
        following = b.camera.send()
        wait_for(lambda: b.answered("semantic", following))
        assert not b.answered("semantic", lost)
        assert b.state() == "active"
        b.says("active", whole=True)


def test_memory_that_runs_out_while_clouds_are_made_costs_one_frame(real, monkeypatch):
    with real("semantic") as b:
        b.settle("semantic")
        outputs, freed = b.node._outputs, []
        pack = outputs.pack
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(True))

        def fail_once(frame, wanted):
            outputs.pack = pack
            out_of_memory(None)

        outputs.pack = fail_once
        b.camera.send()
        wait_for(lambda: b.counted("dropped: error") == 1)
        assert freed
        following = b.camera.send()
        wait_for(lambda: b.answered("semantic", following))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_that_keeps_failing_deactivates_the_node_which_can_be_activated_again(real, fault):
    inject, key, words = FAULTS[fault]
    with real("semantic", max_consecutive_errors=3) as b:
        network = b.node._perceiver.network
        network.fail(inject, 10**6)
        b.send_until(lambda: b.state() == "inactive")
        said = b.says("deactivated after 3 failed frames in a row, the last: ")
        assert words in said
        assert "\n" not in said
        assert b.counted(key) == 3
        wait_for(lambda: b.camera.node.count_subscribers("/image") == 0)
        network.fail(None, 0)
        assert b.change(Transition.TRANSITION_ACTIVATE)
        b.send_until(lambda: b.got("semantic"))
        b.says("active", whole=True)
        network.fail(inject, 2)  # fewer than it takes, and counted anew
        b.send_until(lambda: network.left == 0)
        before = len(b.got("semantic"))
        b.send_until(lambda: len(b.got("semantic")) > before)
        assert b.state() == "active"


# --- the model folder ------------------------------------------------------------------------------------------------


def flip_a_bit_of_the_weights(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def edit_the_configuration(folder):
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("max_depth: 80.0", "max_depth: 81.0"))


TAMPERED = {
    "weights changed": (flip_a_bit_of_the_weights, "model.safetensors is damaged or was replaced"),
    "configuration edited": (edit_the_configuration, "config.yaml is damaged or was replaced"),
    "hashes missing": (lambda folder: (folder / "model.sha256").unlink(), "has no model.sha256"),
    "weights missing": (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    "configuration missing": (lambda folder: (folder / "config.yaml").unlink(), "has no config.yaml"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_model_is_refused_and_the_right_one_works(tmp_path, how):
    tamper, words = TAMPERED[how]
    bad, good = save_tiny_model(tmp_path / "bad"), save_tiny_model(tmp_path / "good")
    tamper(bad)
    with started(load_perceiver, "semantic", active=False, model=str(bad)) as b:
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        assert b.state() == "unconfigured"
        said = b.says("configuring failed: ")
        assert words in said
        assert str(bad) in said
        assert "\n" not in said
        assert b.set("model", str(good)).successful
        b.start("semantic")
        b.send_until(lambda: b.got("semantic"))
        b.says("active", whole=True)
        refused = b.set("model", str(bad))
        assert not refused.successful
        assert refused.reason == "parameter: model can be set only while the node is unconfigured"


def test_an_exported_program_is_code_and_is_loaded_only_where_allowed(tmp_path):
    (tmp_path / "program.yaml").write_text("form: torch-export")
    with started(load_perceiver, active=False, model=str(tmp_path)) as b:
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        b.says(f"{tmp_path} is an exported program, which runs as code: allow_programs must be true")
        assert b.set("allow_programs", True).successful
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        b.says(f"model folder {tmp_path} has no config.yaml")  # it is read now
