"""The perception node on real DDS, with a stand-in for the network: topics, lifecycle, control and faults."""

import array
import json
import math
import time

import cv2
import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition
from node_bench import TOPICS
from node_helpers import CAMERA, HEIGHT, WIDTH, Gated, image_of, wait_for
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import MarkerArray

from dvps_ros.nodes.messages import info_of
from dvps_ros.runtime import DeviceMemoryError, NonFiniteOutputError
from dvps_ros.scene.rays import rays


def pixels(message, dtype):
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


# --- outputs ---------------------------------------------------------------------------------------------------------


def test_every_output_of_a_frame_carries_its_header(bench):
    with bench(*TOPICS) as b:
        b.camera.collect(MarkerArray, "/perception/markers")
        b.send_until(lambda: all(b.got(topic) for topic in TOPICS))
        stamp = b.camera.send()
        wait_for(lambda: all(b.got(topic)[-1].header.stamp == stamp for topic in TOPICS))
        for topic in TOPICS:
            assert b.got(topic)[-1].header.frame_id == "camera_optical", topic
        depth, labels = pixels(b.got("depth")[-1], "<f4"), pixels(b.got("panoptic")[-1], "<i4")
        assert np.isposinf(depth[0]).all()
        assert (depth[-1] == 5.0).all()
        assert labels[HEIGHT // 2, WIDTH // 2] == 13001
        info = b.got("depth/camera_info")[-1]
        assert (info.width, info.height, info.k[0]) == (WIDTH, HEIGHT, CAMERA.fx)
        wait_for(lambda: b.got("markers") and all(m.header.stamp == stamp for m in b.got("markers")[-1].markers))


def test_nothing_is_made_for_topics_that_nobody_reads(bench):
    with bench() as b:
        b.send_until(lambda: b.counted("dropped: no subscribers") >= 2)
        assert b.perceiver.steps == 0
        b.collect("semantic")
        b.send_until(lambda: b.got("semantic"))
        filled = {name for name, buffer in b.node._outputs._buffers.items() if len(buffer._data)}
        assert filled == {"semantic"}


def test_organized_cloud_has_the_image_shape(bench):
    with bench("points", organized=True) as b:
        cloud = b.send_until(lambda: b.got("points"))[0]
        assert (cloud.height, cloud.width, cloud.is_dense) == (HEIGHT, WIDTH, False)
        z = np.frombuffer(cloud.data, "<f4").reshape(HEIGHT, WIDTH, 6)[..., 2]
        assert np.isnan(z[0]).all()
        assert (z[-1] == 5.0).all()


def test_output_scale_shrinks_images_and_camera_together(bench):
    with bench("semantic", "depth", "depth/camera_info", output_scale=0.5, depth_encoding="16UC1") as b:
        b.send_until(lambda: b.got("depth/camera_info") and b.got("depth") and b.got("semantic"))
        depth, info = b.got("depth")[0], b.got("depth/camera_info")[0]
        assert (depth.width, depth.height, depth.encoding) == (WIDTH // 2, HEIGHT // 2, "16UC1")
        assert (pixels(depth, "<u2")[-1] == 5000).all()
        assert (info.width, info.k[0], info.binning_x) == (WIDTH // 2, CAMERA.fx / 2, 0)


def test_labels_are_latched_and_follow_the_threshold(bench):
    with bench() as b:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        b.camera.collect(String, "/perception/labels", latched)
        first = json.loads(wait_for(lambda: b.got("labels"))[0].data)
        assert first["classes"][13]["name"] == "car"
        assert first["score_threshold"] == b.perceiver.config.merge.score_threshold
        assert b.node.set_parameters([Parameter("score_threshold", value=0.25)])[0].successful
        wait_for(lambda: json.loads(b.got("labels")[-1].data)["score_threshold"] == 0.25)
        assert b.perceiver.merge_config.score_threshold == 0.25


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_latest_frame_wins(bench):
    with bench("semantic", perceiver=Gated()) as b:
        first = b.camera.send()
        assert b.perceiver.started.acquire(timeout=10)
        for number in range(4):  # while one is in work, each newer one replaces the one that waits
            last = b.camera.send()
            wait_for(lambda: b.counted("frames in") == number + 2)  # noqa: B023
        b.perceiver.go_on.release(10)
        wait_for(lambda: len(b.got("semantic")) == 2)
        assert [message.header.stamp for message in b.got("semantic")] == [first, last]
        wait_for(lambda: b.counted("dropped: replaced") == 3)


def test_frames_older_than_max_age_are_dropped(bench):
    with bench("semantic", max_age=5.0) as b:
        now = b.camera.node.get_clock().now().nanoseconds // 10**9
        b.send_until(lambda: b.counted("dropped: too old") >= 2, stamp=Time(sec=now - 60))
        assert b.got("semantic") == []
        b.send_until(lambda: b.got("semantic"))


def test_max_rate_leaves_frames_out(bench):
    with bench("semantic", max_rate=0.01) as b:
        b.send_until(lambda: b.counted("dropped: max_rate") >= 3)
        assert b.perceiver.steps == 1


def test_without_camera_info_labels_go_on_and_clouds_stop(bench):
    with bench("panoptic", "depth", "points", "depth/relative") as b:
        b.send_until(lambda: b.got("panoptic") and b.got("depth/relative"), info=None)
        assert not b.got("depth")
        assert not b.got("points")
        relative = b.got("depth/relative")[0]
        assert (relative.encoding, relative.header.frame_id) == ("32FC1", "camera_optical")
        assert (pixels(relative, "<f4")[-1] == 5.0).all()  # as the network says it
        assert np.isposinf(pixels(relative, "<f4")[0]).all()  # sky
        wait_for(lambda: b.camera.diagnostics()["camera_info"] == "no camera_info: /camera_info is silent")
        b.send_until(lambda: b.got("depth") and b.got("points"))  # it comes late
        wait_for(lambda: b.camera.diagnostics()["camera_info"] == "ok")
        stamp = b.camera.send()
        wait_for(lambda: b.answered("depth", stamp) and b.answered("panoptic", stamp))
        assert not b.answered("depth/relative", stamp)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 640, "height": 480}, "640x480, the image is 64x32"),
        ({"k": [0.0] * 9, "p": [0.0] * 12}, "uncalibrated"),
        ({"p": [math.nan] * 12}, "not valid"),
    ],
)
def test_contradictory_camera_info_is_said_and_labels_go_on(bench, fields, words):
    info = info_of(CAMERA)
    for name, value in fields.items():
        setattr(info, name, value)
    with bench("panoptic", "points") as b:
        b.send_until(lambda: b.got("panoptic"), info=info)
        wait_for(lambda: words in b.camera.diagnostics()["camera_info"])
        assert not b.got("points")


def test_latest_mode_uses_one_camera_info_for_all_images(bench):
    with bench("depth", camera_info_mode="latest") as b:
        b.camera.infos.publish(info_of(CAMERA))
        b.send_until(lambda: b.got("depth"), info=None)


@pytest.mark.parametrize("transport", ["auto", "compressed"])
def test_compressed_input(bench, transport):
    settings = {"input_transport": transport, "camera_info_mode": "latest"}
    with bench("semantic", active=False, remappings=["image:=image/compressed"], **settings) as b:
        publisher = b.camera.node.create_publisher(CompressedImage, "image/compressed", 1)
        assert b.change(Transition.TRANSITION_CONFIGURE)
        assert b.change(Transition.TRANSITION_ACTIVATE)
        data = array.array("B", cv2.imencode(".jpg", b.camera.pixels)[1].tobytes())
        broken = CompressedImage(format="jpeg", data=data[:50])

        def attempt(message):
            publisher.publish(message)
            time.sleep(0.03)

        wait_for(lambda: (attempt(broken), b.counted("dropped: malformed image"))[1])
        wait_for(lambda: (attempt(CompressedImage(format="jpeg", data=data)), b.got("semantic"))[1])


@pytest.fixture
def other():
    """A node of another participant of DDS: within one, a topic has one type."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("other", context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_the_type_follows_the_publisher(bench, other):
    """As where a driver is started again with a plugin of image_transport on the same topic."""
    with bench("semantic") as b:
        b.send_until(lambda: b.got("semantic"))
        b.camera.node.destroy_publisher(b.camera.images)
        b.camera.images = other.create_publisher(CompressedImage, "image", 1)
        data = array.array("B", cv2.imencode(".png", b.camera.pixels[..., ::-1])[1].tobytes())
        compressed = CompressedImage(format="png", data=data)
        compressed.header.frame_id = "compressed"
        b.send_until(lambda: b.got("semantic")[-1].header.frame_id == "compressed", image=compressed)
        b.says("active", whole=True)


def test_a_camera_info_topic_that_nobody_publishes_is_named(bench):
    with bench("semantic", remappings=["camera_info:=front/camera_info"], active=False) as b:
        assert b.change(Transition.TRANSITION_CONFIGURE)
        assert b.change(Transition.TRANSITION_ACTIVATE)
        b.send_until(lambda: b.got("semantic"))
        b.says("no depth in metres and no clouds: no camera_info: /front/camera_info has no publisher")


def test_reliability_follows_the_publishers(bench):
    def asked():
        found = b.camera.node.get_subscriptions_info_by_topic("/image")
        return [info.qos_profile.reliability for info in found]

    with bench("semantic") as b:
        wait_for(lambda: asked() == [ReliabilityPolicy.RELIABLE])
        b.camera.node.destroy_publisher(b.camera.images)
        b.camera.images = b.camera.node.create_publisher(
            Image, "image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        wait_for(lambda: asked() == [ReliabilityPolicy.BEST_EFFORT])
        b.send_until(lambda: b.got("semantic"))


def test_standard_qos_override_goes_first(bench):
    with bench(**{"qos_overrides./image.subscription.reliability": "best_effort"}) as b:
        found = b.camera.node.get_subscriptions_info_by_topic("/image")
        assert [info.qos_profile.reliability for info in found] == [ReliabilityPolicy.BEST_EFFORT]


def test_camera_info_that_is_latched_and_was_sent_before_the_node_came(bench):
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with bench(active=False, camera_info_mode="latest") as b:
        b.camera.node.destroy_publisher(b.camera.infos)
        b.camera.infos = b.camera.node.create_publisher(CameraInfo, "camera_info", qos)
        b.camera.infos.publish(info_of(CAMERA))
        b.collect("depth")
        b.start("depth")
        b.send_until(lambda: b.got("depth"), info=None)


@pytest.mark.parametrize("mode", ["synced", "latest"])
def test_images_that_come_later_than_many_camera_infos_have_depth(bench, mode):
    """Half a second late at 30 Hz, as images are that are decoded or republished on their way."""
    with bench("depth", camera_info_mode=mode, camera_info_timeout=5.0) as b:
        b.send_until(lambda: b.got("depth"))

        def attempt():
            now = b.camera.node.get_clock().now()
            stamps = [(now + Duration(seconds=number / 30)).to_msg() for number in range(30)]
            for stamp in stamps:
                info = info_of(CAMERA)
                info.header.stamp = stamp
                b.camera.infos.publish(info)
                time.sleep(0.01)
            b.camera.images.publish(image_of(b.camera.pixels, stamp=stamps[14]))
            time.sleep(1.0)  # the stamps of another attempt must lie after these
            return b.answered("depth", stamps[14])

        wait_for(attempt, what=b.camera.diagnostics())


# --- control ---------------------------------------------------------------------------------------------------------


def test_lifecycle_rounds(bench):
    with bench(active=False) as b:
        assert b.state() == "unconfigured"
        for _ in range(3):
            assert b.change(Transition.TRANSITION_CONFIGURE)
            assert b.change(Transition.TRANSITION_ACTIVATE)
            b.collect("points")
            b.send_until(lambda: b.got("points"))
            assert rays.cache_info().currsize >= 1
            assert b.change(Transition.TRANSITION_DEACTIVATE)
            assert b.state() == "inactive"
            wait_for(lambda: b.camera.node.count_subscribers("/image") == 0)
            assert b.change(Transition.TRANSITION_CLEANUP)
            assert b.node._perceiver is None
            assert rays.cache_info().currsize == 0
            b.camera.received.clear()
        assert b.state() == "unconfigured"
        assert b.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert b.state() == "finalized"


def test_wrong_transition_is_refused_and_harmless(bench):
    with bench(active=False) as b:
        assert not b.change(Transition.TRANSITION_ACTIVATE)
        assert b.state() == "unconfigured"
        assert b.change(Transition.TRANSITION_CONFIGURE)
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        assert b.state() == "inactive"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "models/nowhere"}, "no such file or folder: models/nowhere"),
        ({"max_depth": -3.0}, "max_depth is -3.0"),
        ({"precision": "8"}, "precision is '8'"),
    ],
)
def test_configure_with_something_wrong_fails_in_one_line(bench, settings, words):
    with bench(active=False, **settings) as b:
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        assert b.state() == "unconfigured"
        message = wait_for(lambda: words in (text := b.camera.diagnostics().get("message", "")) and text)
        assert "\n" not in message


def test_a_model_that_does_not_load_fails_and_the_next_try_works(bench):
    with bench(active=False) as b:
        good = b.node._load
        b.node._load = lambda *_: (_ for _ in ()).throw(RuntimeError("weights\nare torn"))
        assert not b.change(Transition.TRANSITION_CONFIGURE)
        assert b.state() == "unconfigured"
        wait_for(lambda: b.camera.diagnostics().get("message") == "configuring failed: RuntimeError: weights are torn")
        b.node._load = good
        assert b.change(Transition.TRANSITION_CONFIGURE)


def test_autostart_walks_to_active(bench):
    with bench(active=False, autostart=True) as b:
        wait_for(lambda: b.state() == "active")


def test_frames_are_ignored_while_the_node_is_disabled(bench):
    with bench("semantic") as b:
        assert b.call(SetBool, "enable", data=False).success
        for _ in range(3):
            b.camera.send()
        wait_for(lambda: b.counted("frames in") >= 1)
        assert b.perceiver.steps == 0
        assert b.call(SetBool, "enable", data=True).success
        b.send_until(lambda: b.got("semantic"))


def test_reset_tracks_numbers_things_from_one_again(bench):
    with bench("semantic") as b:
        b.send_until(lambda: b.perceiver.numbers)
        now = b.camera.node.get_clock().now()
        later = (now + Duration(seconds=100)).to_msg()  # a gap: numbers that were not used yet
        wait_for(lambda: b.camera.send(stamp=later) and b.perceiver.numbers[-1] == 2)
        assert b.call(Trigger, "reset_tracks").success
        wait_for(lambda: b.camera.send(stamp=later) and b.perceiver.numbers[-1] == 1)


# --- faults ----------------------------------------------------------------------------------------------------------


def torn():
    image = image_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    image.data = image.data[:-7]
    return image


@pytest.mark.parametrize("image", [torn(), Image(encoding="rgb8"), image_of(np.zeros((4, 4, 1), np.uint8), "32FC1")])
def test_malformed_image_is_counted_and_the_next_good_one_works(bench, image):
    with bench("semantic") as b:
        b.send_until(lambda: b.counted("dropped: malformed image"), image=image)
        b.send_until(lambda: b.got("semantic"))


def test_camera_that_changes_size_encoding_and_frame(bench):
    with bench("semantic", "depth") as b:
        b.send_until(lambda: b.got("depth"))
        bigger = image_of(np.zeros((50, 70, 1), np.uint8), "mono8", frame_id="other")
        b.send_until(lambda: b.got("depth")[-1].width == 70, image=bigger, info=info_of(CAMERA.resized(70, 50)))
        assert b.got("depth")[-1].header.frame_id == "other"


def test_stamps_that_jump_back_reset_tracks_and_go_on(bench):
    with bench("semantic", "depth") as b:
        start = b.camera.node.get_clock().now().nanoseconds // 10**9
        for offset in (0, 1, 2, -1000):
            before = len(b.got("depth"))
            b.camera.send(stamp=Time(sec=start + offset))
            wait_for(lambda: len(b.got("depth")) > before)  # noqa: B023
        assert b.perceiver.numbers == [1, 1, 1, 2]  # the frame that jumped has a number of its own
        wait_for(lambda: b.counted("warned: stamp jumped back") == 1)


@pytest.mark.parametrize(
    ("stamp", "key"),
    [
        (Time(), "warned: zero stamp"),
        (Time(sec=2**31 - 1), "warned: future stamp"),
        (Time(sec=-5), "dropped: bad stamp"),
    ],
)
def test_odd_stamps_are_counted_and_the_next_good_frame_works(bench, stamp, key):
    with bench("semantic") as b:
        b.send_until(lambda: b.counted(key), stamp=stamp)
        b.camera.received.clear()
        b.send_until(lambda: b.got("semantic"))


def test_one_failed_frame_is_lost_alone(bench):
    with bench("semantic") as b:
        for error in (NonFiniteOutputError("NaN"), DeviceMemoryError("out of memory"), RuntimeError("odd\nthing")):
            b.perceiver.fail_next = [error]
            b.send_until(lambda: not b.perceiver.fail_next)
            before = len(b.got("semantic"))
            b.send_until(lambda: len(b.got("semantic")) > before)  # noqa: B023
        wait_for(lambda: b.counted("dropped: not finite") == 1 and b.counted("dropped: error") == 2)
        assert b.state() == "active"


def test_too_many_failed_frames_deactivate_the_node(bench):
    with bench("semantic", max_consecutive_errors=3) as b:
        b.perceiver.fail_next = [RuntimeError("broken") for _ in range(50)]
        b.send_until(lambda: b.state() == "inactive")
        message = wait_for(lambda: "deactivated" in (text := b.camera.diagnostics()["message"]) and text)
        assert "broken" in message
        b.perceiver.fail_next = []
        assert b.change(Transition.TRANSITION_ACTIVATE)
        b.send_until(lambda: b.got("semantic"))


def test_diagnostics_tell_rates_latencies_and_what_runs(bench):
    with bench("semantic") as b:
        b.send_until(lambda: len(b.got("semantic")) >= 5)
        wait_for(lambda: b.counted("frames out") >= 5)
        found = b.camera.diagnostics()
        for stage in ("wait", "decode", "network", "merge", "pack", "publish", "total", "age"):
            assert float(found[f"latency {stage} p99 (ms)"]) >= float(found[f"latency {stage} p50 (ms)"])
        assert (found["state"], found["device"], found["enabled"]) == ("active", "cpu", "True")
        assert int(found["frames in"]) >= int(found["frames out"]) >= 5
        wait_for(lambda: "is silent" in b.camera.diagnostics()["message"])
