"""The shipped model in the node, as two processes: when frames come five times too fast, answers stay fresh."""

import statistics
from itertools import pairwise

import pytest
import rclpy.time
from node_helpers import Camera, image_of, interrupt, spinning, start_process, wait_for
from sensor_msgs.msg import Image

from dvps_ros import resources
from dvps_ros.config import StreetConfig
from dvps_ros.nodes.messages import info_of
from dvps_ros.simulation import Street, StreetCamera

#: Seconds that a process may take to start on a busy machine.
STARTING = 120
OUTPUT = "/perception/panoptic"


@pytest.fixture(scope="module")
def street():
    """One frame of a street at 512 x 256, and its camera_info."""
    camera = StreetCamera(Street(1, StreetConfig()))
    frame = camera.render(0.0)
    camera.close()
    return image_of(frame.rgb), info_of(camera.intrinsics)


@pytest.mark.slow
def test_answers_stay_fresh_when_frames_come_five_times_too_fast(street):
    camera, ages, stamps = Camera("fast_camera"), [], []

    def answer(message):
        now = camera.node.get_clock().now()
        stamps.append(rclpy.time.Time.from_msg(message.header.stamp))
        ages.append((now - stamps[-1]).nanoseconds / 1e9)

    camera.node.create_subscription(Image, OUTPUT, answer, 10)
    model = resources.find("models/street")
    process = start_process(
        *("--ros-args", "-p", "autostart:=true", "-p", f"model:={model}"),
        code="from dvps_ros.nodes.perception_node import main; main()",
    )
    try:
        with spinning(camera.node):
            wait_for(camera.images.get_subscription_count, STARTING)
            retry = camera.node.create_timer(3.0, lambda: camera.send(*street))  # DDS may lose the first ones
            for count in range(1, 8):  # one at a time: age is then the time of one frame
                camera.send(*street)
                wait_for(lambda count=count: len(ages) >= count, STARTING)
                retry.reset()
            retry.cancel()
            processing = statistics.median(ages[2:])

            alone = len(ages)
            timer = camera.node.create_timer(processing / 5, lambda: camera.send(*street))
            wait_for(lambda: len(ages) >= alone + 20, STARTING)
            timer.cancel()
            dropped = wait_for(lambda: int(camera.diagnostics().get("dropped: replaced", 0)), STARTING)
            interrupt(process)
    finally:
        process.kill()
        process.wait()

    loaded = ages[alone + 2 :]
    print(f"one frame {processing:.3f} s, age under load: median {statistics.median(loaded):.3f} s, {dropped} replaced")
    assert statistics.median(loaded) < 3 * processing
    assert all(earlier < later for earlier, later in pairwise(stamps))  # none twice or reordered
