"""The launch files: what they offer, and, where launch_ros is installed, that they do it."""

import ast
import os
import signal
import sys

import numpy as np
import pytest
from launch_helpers import LAUNCH, STARTING, Launched, write_program
from node_helpers import CAMERA, HEIGHT, WIDTH, Camera, image_of, spinning, wait_for
from rcl_interfaces.srv import GetParameters
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image

from dvps_ros.demo.recording import Recording
from dvps_ros.nodes.messages import info_of

OFFERED = {
    "perception": {
        *("model", "segmentation", "depth", "image", "camera_info"),
        *("device", "params_file", "namespace", "rviz", "enclave"),
        *("camera_height", "base_frame", "fixed_frame"),
    },
    "demo": {"model", "device", "seed", "rate", "rviz"},
    "bag": {"bag", "model", "image", "camera_info", "camera_height", "params_file", "rviz"},
}


def arguments_of(name):
    """The literal ARGUMENTS of a launch file: name -> (default, description)."""
    tree = ast.parse((LAUNCH / f"{name}.launch.py").read_text())
    [value] = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "ARGUMENTS"]
    return ast.literal_eval(value)


@pytest.mark.parametrize("name", OFFERED)
def test_arguments_are_offered_and_described(name):
    found = arguments_of(name)
    assert set(found) >= OFFERED[name]
    assert all(description.endswith(".") for _, description in found.values())


def test_every_launch_file_is_known_here():
    assert {path.name.removesuffix(".launch.py") for path in LAUNCH.glob("*.launch.py")} == set(OFFERED)


def test_what_is_included_passes_arguments_that_exist():
    perception = set(arguments_of("perception"))
    tree = ast.parse((LAUNCH / "bag.launch.py").read_text())
    [forwarded] = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "FORWARDED"]
    assert set(ast.literal_eval(forwarded)) <= perception & set(arguments_of("bag"))


@pytest.mark.parametrize("name", OFFERED)
def test_launch_declares_each_argument_with_its_description(name):
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    declared = get_launch_description_from_python_launch_file(str(LAUNCH / f"{name}.launch.py")).get_launch_arguments()
    assert {argument.name: argument.description for argument in declared} == {
        name: description for name, (_, description) in arguments_of(name).items()
    }


def parameters(node, names, *, of):
    """Values of another node's parameters, asked for until it answers."""
    client = node.create_client(GetParameters, f"{of}/get_parameters")
    assert client.wait_for_service(STARTING)
    answers = []

    def ask():
        client.call_async(GetParameters.Request(names=names)).add_done_callback(
            lambda done: answers.append(done.result())
        )

    asking = node.create_timer(1.0, ask)
    wait_for(lambda: answers, STARTING, f"parameters of {of}")
    node.destroy_timer(asking)
    return answers[0].values


@pytest.mark.usefixtures("ros")
def test_perception_runs_as_its_arguments_say(prefix, model, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "/**/perception: {ros__parameters: {max_depth: 33.0, device: auto, use_sim_time: true}}"
    )
    arguments = (
        *(f"model:={model}", "device:=cpu", f"params_file:={tmp_path / 'mine.yaml'}", "namespace:=front"),
        *("image:=/roof/image_raw", "enclave:=/front/perception", "rviz:=true", "frame:=map"),
        *("camera_height:=2", "fixed_frame:=odom"),
    )
    camera = Camera()
    camera.images, camera.infos = (
        camera.node.create_publisher(kind, f"/roof/{name}", 1)
        for kind, name in ((Image, "image_raw"), (CameraInfo, "camera_info"))
    )
    camera.collect(Image, "/front/perception/depth")
    with spinning(camera.node), Launched(prefix, "perception", *arguments) as launched:
        launched.wait_for("active: /roof/image_raw and /roof/camera_info -> /front/perception/*")
        publishing = camera.node.create_timer(0.2, camera.send)
        wait_for(
            lambda: camera.received["/front/perception/depth"], STARTING, "depth of an image on the remapped topic"
        )
        publishing.cancel()
        # what the command line says goes before params_file, and that before the defaults
        names = ["device", "max_depth", "camera_height", "fixed_frame", "base_frame", "use_sim_time"]
        [device, max_depth, height, fixed, base, simulated] = parameters(camera.node, names, of="/front/perception")
        assert (device.string_value, max_depth.double_value) == ("cpu", 33.0)
        assert (height.double_value, fixed.string_value, base.string_value) == (2.0, "odom", "")
        assert simulated.bool_value
        found = camera.node.get_node_names_and_namespaces_with_enclaves()
        assert ("perception", "/front", "/front/perception") in found
        output = launched.end(lambda: launched.process.send_signal(signal.SIGINT))
    [rviz] = [line for line in output.splitlines() if "called:" in line]
    assert "config/perception.rviz -f map " in rviz
    assert "-r /perception/points:=/front/perception/points" in rviz


def test_a_users_mistake_is_one_line_and_the_launch_stays(prefix):
    with Launched(prefix, "perception", "model:=models/nowhere") as launched:
        words = "configuring failed: no such file or folder: models/nowhere"
        launched.wait_for(words)
        output = launched.end(lambda: launched.process.send_signal(signal.SIGINT))
        assert sum(words in line for line in output.splitlines()) == 1


def test_a_launch_interrupted_while_the_node_is_still_importing_ends_quietly(prefix):
    with Launched(prefix, "perception", "model:=models/nowhere") as launched:
        # before that, Python itself is starting, and has its own words for an interruption
        wait_for(lambda: "libtorch_cpu" in launched.mapped(), STARTING, "the import of PyTorch")
        launched.end(lambda: launched.process.send_signal(signal.SIGINT))


@pytest.mark.usefixtures("ros")
def test_the_demo_drives_and_ctrl_c_in_a_terminal_ends_all_of_it(prefix, model):
    camera = Camera("watcher")
    for publisher in (camera.images, camera.infos):
        camera.node.destroy_publisher(publisher)
    camera.collect(Image, "/perception/panoptic")
    arguments = (f"model:={model}", "device:=cpu", "seed:=7", "rate:=4.0", "rviz:=true")
    with spinning(camera.node), Launched(prefix, "demo", *arguments) as launched:
        wait_for(lambda: camera.received["/perception/panoptic"], STARTING, "labels of a frame of the simulated street")
        assert camera.received["/perception/panoptic"][0].header.frame_id == "sim_camera_optical_frame"
        [seed, rate] = parameters(camera.node, ["seed", "rate"], of="/sim_camera")
        assert (seed.integer_value, rate.double_value) == (7, 4.0)
        # a terminal sends the signal to the launch and to everything it started, which then gets it twice
        output = launched.end(lambda: os.killpg(launched.process.pid, signal.SIGINT))
    called = [line for line in output.splitlines() if "called:" in line]
    assert len(called) == 2
    assert any("--frame-id base_link --child-frame-id sim_camera_optical_frame" in line for line in called)
    assert any("perception.rviz -f base_link" in line for line in called)


def test_without_rviz_only_the_nodes_are_started(prefix, model):
    with Launched(prefix, "demo", f"model:={model}", "rviz:=false") as launched:
        launched.wait_for("[sim_camera]: street 1, ")
        launched.wait_for("active: ")
        output = launched.end(lambda: launched.process.send_signal(signal.SIGINT))
    assert output.count("process started with pid") == 3  # the place of the camera among them


#: Runs at the start of a Python that finds no MuJoCo.
NO_MUJOCO = """
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, *rest: None if name == "mujoco" else find(name, *rest)
"""


def test_the_demo_without_mujoco_is_one_line_and_starts_nothing(prefix, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_MUJOCO)
    with Launched(prefix, "demo", "rviz:=false", paths=tmp_path) as launched:
        assert launched.process.wait(STARTING) == 1
    assert "the simulated street needs MuJoCo: pip install mujoco" in launched.process.output
    assert "process started" not in launched.process.output


def test_the_demo_without_tf2_ros_is_one_line_and_starts_nothing(prefix, model):
    (prefix / "share" / "ament_index" / "resource_index" / "packages" / "tf2_ros").unlink()
    with Launched(prefix, "demo", f"model:={model}", "rviz:=false") as launched:
        assert launched.process.wait(STARTING) == 1
    assert "tf2_ros is not installed: sudo apt install ros-" in launched.process.output
    assert "process started" not in launched.process.output


@pytest.mark.usefixtures("ros")
def test_rviz_gets_a_frame_of_the_camera_whatever_the_images_frame_is(prefix, model):
    camera = Camera("watcher")
    arguments = (f"model:={model}", "device:=cpu", "rviz:=on", "namespace:=left/front")
    with spinning(camera.node), Launched(prefix, "perception", *arguments) as launched:
        launched.wait_for("active: ")
        [view] = parameters(camera.node, ["view_frame"], of="/left/front/perception")
        assert view.string_value == "left_front_perception_view"
        output = launched.end(lambda: launched.process.send_signal(signal.SIGINT))
    assert "perception.rviz -f left_front_perception_view " in output


#: Plays a recording's images and camera_info as ``ros2 bag play`` with these options does.
PLAYER = f"""#!{sys.executable}
import os, signal, sys, time
import rclpy
from mcap.reader import make_reader
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

assert sys.argv[1:3] == ["bag", "play"] and "--clock" in sys.argv, sys.argv
rate, delay = (float(sys.argv[sys.argv.index(name) + 1]) for name in ("--rate", "--delay"))
kinds = {{"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CameraInfo": CameraInfo}}
with open(sys.argv[3], "rb") as file:
    messages = [(c.topic, kinds[s.name], m.log_time, m.data) for s, c, m in make_reader(file).iter_messages()]
rclpy.init()
node = rclpy.create_node("player")
publishers = {{topic: node.create_publisher(kind, topic, 10) for topic, kind, *_ in messages}}
clock = node.create_publisher(Clock, "/clock", 10)
time.sleep(delay)
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
while True:
    began = time.monotonic()
    for topic, kind, moment, data in messages:
        time.sleep(max(0.0, began + (moment - messages[0][2]) / 1e9 / rate - time.monotonic()))
        now = Clock()
        now.clock.sec, now.clock.nanosec = divmod(moment, 1_000_000_000)
        clock.publish(now)
        publishers[topic].publish(deserialize_message(data, kind))
    if "--loop" not in sys.argv:
        break
"""


@pytest.fixture
def recording(tmp_path):
    """Ten frames of the year 1970, five a second."""
    path = tmp_path / "drive.mcap"
    image, info = image_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), info_of(CAMERA)
    with Recording(path) as file:
        for moment in range(1_000_000_000_000, 1_002_000_000_000, 200_000_000):
            image.header.stamp.sec, image.header.stamp.nanosec = divmod(moment, 1_000_000_000)
            info.header = image.header
            file.write("/roof/camera_info", CameraInfo, serialize_message(info), moment)
            file.write("/roof/image_raw", Image, serialize_message(image), moment)
    return path


@pytest.mark.usefixtures("ros")
@pytest.mark.parametrize("player", ["stand-in", "ros2bag"])
def test_a_recording_is_played_through_the_node_on_its_own_clock(prefix, model, recording, tmp_path, player):
    if player == "ros2bag":
        pytest.importorskip("ros2bag", reason="ros2bag is not installed")
        programs = None
    else:
        write_program(tmp_path / "bin" / "ros2", PLAYER)
        programs = tmp_path / "bin"
    watcher = Camera("watcher")
    for publisher in (watcher.images, watcher.infos):
        watcher.node.destroy_publisher(publisher)
    watcher.collect(Image, "/front/perception/depth")
    arguments = (
        f"bag:={recording}",
        "image:=roof/image_raw",  # a topic of the recording, which is not in the node's namespace
        "namespace:=front",
        f"model:={model}",
        "device:=cpu",
        "loop:=true",
        "delay:=0",
    )
    with spinning(watcher.node), Launched(prefix, "bag", *arguments, programs=programs) as launched:
        wait_for(
            lambda: len(watcher.received["/front/perception/depth"]) > 12, STARTING, "depth of a frame of the recording"
        )
        # by the wall clock, the frames would be 50 years old
        wait_for(
            lambda: float(watcher.diagnostics().get("latency age p50 (ms)", "inf")) < 60_000, what="ages by /clock"
        )
        launched.end(lambda: launched.process.send_signal(signal.SIGINT))
    assert {message.header.stamp.sec for message in watcher.received["/front/perception/depth"]} <= {1000, 1001}


#: Plays nothing, until a file appears.
SILENT_PLAYER = f"""#!{sys.executable}
import os, sys, time
print("called:", *sys.argv[1:], flush=True)
while not os.path.exists({{over!r}}):
    time.sleep(0.05)
"""


def test_the_launch_ends_with_the_recording(prefix, tmp_path):
    write_program(tmp_path / "bin" / "ros2", SILENT_PLAYER.format(over=str(tmp_path / "over")))
    arguments = ("bag:=drive.mcap", "model:=models/nowhere", "rate:=0.5", "delay:=2")
    with Launched(prefix, "bag", *arguments, programs=tmp_path / "bin") as launched:
        launched.wait_for("configuring failed: no such file or folder: models/nowhere")
        output = launched.end((tmp_path / "over").touch)
    assert (
        "called: bag play drive.mcap --clock --rate 0.5 --delay 2 --topics /image /camera_info /tf /tf_static\n"
        in output
    )


def test_other_machines_see_a_launched_node_and_the_demo_stays_here():
    profiles = {name: (LAUNCH.parent / "config" / f"{name}.xml").read_text() for name in ("fastdds", "fastdds_local")}
    assert "interfaceWhiteList" not in profiles["fastdds"]
    assert "127.0.0.1" in profiles["fastdds_local"]
    for text in profiles.values():
        assert "<type>SHM</type>" in text
        assert "<type>UDPv4</type>" in text
    assert arguments_of("perception")["dds_profile"][0] == "config/fastdds.xml"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("rviz:=yes", "rviz2 is not installed: sudo apt install ros-"),
        ("rviz:=perhaps", "rviz:=perhaps: must be true or false"),
        ("params_file:=nowhere.yaml", "params_file: no such file: nowhere.yaml"),
    ],
)
def test_what_is_missing_or_wrong_ends_the_launch_before_anything_starts(prefix, argument, words):
    (prefix / "share" / "ament_index" / "resource_index" / "packages" / "rviz2").unlink()
    with Launched(prefix, "perception", argument, "model:=models/nowhere") as launched:
        assert launched.process.wait(STARTING) == 1
    assert words in launched.process.output
    assert "process started" not in launched.process.output


def test_a_launch_without_a_profile(prefix):
    with Launched(prefix, "perception", "dds_profile:=none", "model:=models/nowhere") as launched:
        launched.wait_for("configuring failed: no such file or folder: models/nowhere")
        launched.end(lambda: launched.process.send_signal(signal.SIGINT))
