"""SIGINT and SIGTERM in every state of the node: it ends by itself, quietly, with exit code 0."""

import signal
import time

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_children import Child, perception
from node_helpers import Camera, spinning, wait_for
from sensor_msgs.msg import Image

#: A network that works, or loads, for longer than any test waits.
FOREVER = 600.0
#: The promise is two seconds; a machine that is busy with other tests may take longer.
PATIENCE = 20.0
#: State -> the transitions to it from unconfigured, and the state after each.
STEPS = {
    "unconfigured": (),
    "inactive": ((Transition.TRANSITION_CONFIGURE, "inactive"),),
    "active": ((Transition.TRANSITION_CONFIGURE, "inactive"), (Transition.TRANSITION_ACTIVATE, "active")),
    "finalized": ((Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, "finalized"),),
}


@pytest.fixture
def node(tmp_path):
    """A process with the node; ``camera`` sends it images and listens."""
    made, camera = [], Camera()
    camera.collect(Image, "/perception/semantic")

    def start(*arguments, **times):
        made.append(Child(perception, str(tmp_path), arguments, *times.values()))
        made[-1].camera = camera
        return made[-1]

    with spinning(camera.node):
        yield start
    for child in made:
        child.kill()


def ask(camera, transition, reached):
    """Ask for a transition until a condition holds: DDS may lose the first requests to a process that just started."""
    client = camera.node.create_client(ChangeState, "/perception/change_state")
    wait_for(client.service_is_ready, 60)
    request = ChangeState.Request(transition=Transition(id=transition))
    client.call_async(request)
    asking = camera.node.create_timer(3.0, lambda: client.call_async(request))
    wait_for(reached, 60)
    camera.node.destroy_timer(asking)


def walk(child, state):
    """Bring the node to a state and wait until it says that it is there."""

    def says(expected):
        return child.camera.diagnostics().get("state") == expected

    wait_for(lambda: says("unconfigured"), 60)
    for transition, expected in STEPS[state]:
        ask(child.camera, transition, lambda: says(expected))  # noqa: B023


def send_until(child, words):
    """Publish frames until the node has printed ``words``."""

    def attempt():
        child.camera.send()
        time.sleep(0.05)
        return words in child.output

    wait_for(attempt, 60)


def ends(child, *numbers, within=PATIENCE):
    """Send it signals; it must end by itself, with exit code 0 and no traceback."""
    began = time.monotonic()
    for number in numbers:
        child.send_signal(number)
        time.sleep(0.02)
    code = child.wait(within)
    print(f"ended {time.monotonic() - began:.2f} s after {' and '.join(signal.Signals(n).name for n in numbers)}")
    assert code == 0, child.output
    assert "Traceback" not in child.output
    assert "Exception" not in child.output, child.output


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


@pytest.mark.parametrize("state", STEPS)
def test_in_a_state(node, state):
    child = node()
    walk(child, state)
    ends(child, signal.SIGINT)


@BOTH
def test_with_a_frame_in_work(node, number):
    child = node(loading=0.0, working=FOREVER)
    walk(child, "active")
    send_until(child, "working")
    ends(child, number)


@BOTH
def test_while_configuring(node, number):
    child = node(loading=FOREVER)
    ask(child.camera, Transition.TRANSITION_CONFIGURE, lambda: "loading" in child.output)
    ends(child, number)


def test_while_deactivating(node):
    child = node(loading=0.0, working=FOREVER)
    walk(child, "active")
    send_until(child, "working")
    # it waits for the frame in work, and hears nothing meanwhile
    ask(child.camera, Transition.TRANSITION_DEACTIVATE, lambda: child.camera.node.count_subscribers("/image") == 0)
    ends(child, signal.SIGINT)


def test_sigterm_while_active(node):
    child = node()
    walk(child, "active")
    ends(child, signal.SIGTERM)


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGINT,) * 2, (signal.SIGINT, signal.SIGTERM), (signal.SIGINT,) * 20],
    ids=["twice", "then SIGTERM", "twenty times"],
)
def test_again_and_again(node, numbers):
    child = node(loading=0.0, working=FOREVER)
    walk(child, "active")
    send_until(child, "working")
    ends(child, *numbers)


def test_from_the_first_moment_on(node):
    """At moments spread over the start: while ROS starts, while the node is made, and just after."""
    for delay in (0.0, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2):
        child = node()
        child.wait_for_line("starting")
        time.sleep(delay)
        ends(child, signal.SIGINT)
