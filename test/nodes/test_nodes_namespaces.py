"""Two cameras on one robot: two nodes of one name in one domain, each in a namespace and a process of its own."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_children import Child, camera, perception
from node_helpers import spinning, wait_for
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, PointCloud2
from std_srvs.srv import SetBool

#: Namespace -> size of its camera's images.
SIZES = {"left": (64, 32), "right": (96, 48)}
TOPICS = {"semantic": Image, "depth": Image, "points": PointCloud2}
NODES = [f"{side}/perception" for side in SIZES]


class Watcher:
    """A node outside both namespaces that reads what each of the two answers, and calls their services."""

    def __init__(self):
        self.node = Node("watcher")
        self.received = {f"/{name}/{topic}": [] for name in NODES for topic in TOPICS}
        self.statuses = {}
        for topic, messages in self.received.items():
            kind = TOPICS[topic.rpartition("/")[2]]
            self.node.create_subscription(kind, topic, messages.append, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._note, 10)

    def _note(self, message):
        self.statuses.update((status.name, status) for status in message.status)

    def call(self, kind, name, **request):
        client = self.node.create_client(kind, name)
        try:
            assert client.wait_for_service(20), name
            future = client.call_async(kind.Request(**request))
            wait_for(future.done)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def state(self, side):
        return self.call(GetState, f"/{side}/perception/get_state").current_state.label

    def new(self, side, topic="semantic"):
        """Wait for an answer that comes in from now on; gives it."""
        messages = self.received[f"/{side}/perception/{topic}"]
        before = len(messages)
        return wait_for(lambda: messages[before:], what=f"{side} {topic}, {self.statuses}")[0]


def two_cameras_and_two_nodes(model):
    """Four processes; each camera's and each node's topics are told apart by nothing but their namespace."""
    children = {}
    for side, (width, height) in SIZES.items():
        settings = {"width": width, "height": height, "frame_id": f"{side}_optical", "fx": float(width)}
        children[f"{side} camera"] = Child(camera, {"namespace": side, **settings})
        arguments = ["-p", "autostart:=true", "-r", f"__ns:=/{side}"]
        children[side] = Child(perception, model, arguments)
    return children


@pytest.fixture
def pair(tmp_path):
    children = two_cameras_and_two_nodes(str(tmp_path))
    try:
        watcher = Watcher()
        with spinning(watcher.node):
            for side in SIZES:
                children[side].wait_for_line("active: ")
                for topic in TOPICS:
                    watcher.new(side, topic)
            yield watcher, children
    finally:
        for child in children.values():
            child.kill()


def test_two_nodes_side_by_side_under_namespaces(pair):
    """Each answers its own camera alone; what is asked of one leaves the other as it is; one's death, too."""
    watcher, children = pair
    _assert_answers_are_of_the_own_camera(watcher)

    name = Parameter("max_depth", value=4.0).to_parameter_msg()  # nearer than anything that the stand-in sees
    assert watcher.call(SetParameters, "/left/perception/set_parameters", parameters=[name]).results[0].successful
    wait_for(lambda: watcher.new("left", "points").width == 0)
    assert watcher.new("right", "points").width > 0

    assert watcher.call(SetBool, "/left/perception/enable", data=False).success
    wait_for(lambda: "ignoring frames" in watcher.statuses["left/perception"].message)
    watcher.new("right")
    wait_for(lambda: watcher.statuses["right/perception"].message == "active", what=f"{watcher.statuses}")

    deactivate = Transition(id=Transition.TRANSITION_DEACTIVATE)
    assert watcher.call(ChangeState, "/left/perception/change_state", transition=deactivate).success
    assert (watcher.state("left"), watcher.state("right")) == ("inactive", "active")
    watcher.new("right")

    children["left"].kill()
    for _ in range(5):
        watcher.new("right")
    _assert_answers_are_of_the_own_camera(watcher)


def _assert_answers_are_of_the_own_camera(watcher):
    for side, (width, height) in SIZES.items():
        for topic in TOPICS:
            messages = watcher.received[f"/{side}/perception/{topic}"]
            assert messages, topic
            assert {message.header.frame_id for message in messages} == {f"{side}_optical"}
            stamps = [(message.header.stamp.sec, message.header.stamp.nanosec) for message in messages]
            assert len(stamps) == len(set(stamps)), "one frame answered twice"
            if topic != "points":
                assert {(message.width, message.height) for message in messages} == {(width, height)}
    # Diagnostics come once a second, of each node in its own time: the first may be late behind the answers.
    wait_for(lambda: set(NODES) <= {name.partition(":")[0] for name in watcher.statuses}, what=f"{watcher.statuses}")
