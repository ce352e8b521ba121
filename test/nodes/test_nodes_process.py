"""The executables as processes: they end quickly and quietly in every state, and two of them work together."""

import textwrap
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_helpers import Camera, interrupt, spinning, start_process, wait_for
from sensor_msgs.msg import Image, PointCloud2

#: Seconds that a process may take to start on a busy machine.
STARTING = 120

NODE = """
import faulthandler, sys, time
faulthandler.enable()
sys.path.insert(0, {helpers!r})
from node_helpers import QuickPerceiver
from dvps_ros.nodes.perception_node import PerceptionNode
from dvps_ros.nodes.process import run

class Perceiver(QuickPerceiver):
    @classmethod
    def load(cls, model, *_):
        print("loading", flush=True)
        time.sleep({loading})
        return cls()

    def step(self, image, intrinsics=None, stamp=None, pose=None):
        print("working", flush=True)
        time.sleep({working})
        return super().step(image, intrinsics)

run(lambda: PerceptionNode(Perceiver.load), ["--ros-args", "-p", "model:={model}", *sys.argv[1:]])
"""


@pytest.fixture
def start(tmp_path):
    """Starts a perception node in a process, with a stand-in perceiver that loads and works as long as told."""
    started = []
    (tmp_path / "model.safetensors").write_bytes(b"weights")

    def perception(*arguments, loading=0, working=0, model=tmp_path):
        code = NODE.format(helpers=str(Path(__file__).parent), loading=loading, working=working, model=model)
        started.append(start_process(*arguments, code=textwrap.dedent(code)))
        return started[-1]

    yield perception
    for process in started:
        process.kill()
        process.wait()


def configure(camera):
    """Ask for the transition until the node says that it is inactive: DDS may lose a first answer or request."""
    client = camera.node.create_client(ChangeState, "/perception/change_state")
    assert client.wait_for_service(STARTING)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    asking = camera.node.create_timer(2.0, lambda: client.call_async(request))
    wait_for(lambda: camera.diagnostics().get("state") == "inactive", STARTING)
    asking.cancel()


def test_a_users_mistake_is_one_line_and_the_unconfigured_node_ends_quietly(start):
    words = "configuring failed: no such file or folder: models/nowhere"
    camera = Camera()
    with spinning(camera.node):
        process = start("-p", "autostart:=true", "-p", "model:=models/nowhere")
        wait_for(lambda: words in camera.diagnostics().get("message", ""), STARTING)
        assert camera.diagnostics()["state"] == "unconfigured"
    output = interrupt(process)
    assert sum(words in line for line in output.splitlines()) == 1


def test_interrupt_inactive(start):
    camera = Camera()
    with spinning(camera.node):
        process = start()
        configure(camera)
        interrupt(process)


def test_interrupt_while_the_model_is_loading(start):
    process = start("-p", "autostart:=true", loading=600)
    process.wait_for_line("loading", STARTING)
    interrupt(process)


def test_interrupt_while_a_frame_is_in_work(start):
    camera = Camera()
    camera.collect(Image, "/perception/semantic")
    with spinning(camera.node):
        process = start("-p", "autostart:=true", working=600)
        wait_for(lambda: camera.images.get_subscription_count(), STARTING)
        publish = camera.node.create_timer(0.2, camera.send)
        process.wait_for_line("working", STARTING)
        publish.cancel()
        interrupt(process)


def test_simulated_camera_and_perception_as_two_processes(start):
    camera = Camera("watcher")
    camera.node.destroy_publisher(camera.images)
    camera.node.destroy_publisher(camera.infos)
    topics = {"/image": Image, "/sim_camera/panoptic": Image, "/sim_camera/depth": Image}
    outputs = {"/perception/panoptic": Image, "/perception/depth": Image, "/perception/points": PointCloud2}
    for topic, kind in {**topics, **outputs}.items():
        camera.collect(kind, topic)

    def complete():
        """A stamp for which every topic has a message."""
        stamps = [
            {(m.header.stamp.sec, m.header.stamp.nanosec) for m in camera.received[t]} for t in (*topics, *outputs)
        ]
        return set.intersection(*stamps)

    with spinning(camera.node):
        perception = start("-p", "autostart:=true")
        street = start_process(
            *("--ros-args", "-p", "width:=128", "-p", "height:=64", "-p", "rate:=5.0"),
            code="from dvps_ros.nodes.sim_camera_node import main; main()",
        )
        try:
            wait_for(complete, STARTING)
            frames = {m.header.frame_id for topic in (*topics, *outputs) for m in camera.received[topic]}
            assert frames == {"sim_camera_optical_frame"}
            image = camera.received["/image"][0]
            assert (image.width, image.height, image.encoding) == (128, 64, "rgb8")
            interrupt(street)
            interrupt(perception)
        finally:
            street.kill()
