"""What nobody reads is not computed: which functions run, in the node on real DDS, for a reader of one topic; costs."""

import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from node_helpers import CAMERA, Camera, QuickPerceiver, image_of, spinning, wait_for
from rclpy.parameter import Parameter

from dvps_ros import resources
from dvps_ros.benchmarks import topic_costs
from dvps_ros.benchmarks.topic_costs import ADVICE, VARIANTS, Cost, markdown
from dvps_ros.cli.main import main
from dvps_ros.config import PerceptionConfig
from dvps_ros.drawing.overlay import overlay
from dvps_ros.nodes import detections, messages, objects, outputs, packing
from dvps_ros.nodes.frame import Frame
from dvps_ros.nodes.outputs import topics
from dvps_ros.nodes.perception_node import PerceptionNode
from dvps_ros.scene import boxes, clouds, edges, rays, voxels

#: Whatever computes or copies something for an output, down to the pixels; and the trip there.
WORK = (
    *(packing.panoptic, packing.semantic, packing.instance, packing.confidence, packing.depth, packing.millimetres),
    *(packing.cloud_message, packing.image_message, packing.marker_array, packing.Buffer.fill),
    *(clouds.organized_cloud, clouds.scene_cloud, rays.unproject, edges.depth_edges),
    *(clouds.valid_pixels, clouds.obstacle_cloud, clouds.ground_cloud, voxels.merged, boxes.instances, overlay),
    *(
        detections.detection_array,
        objects.tracked_objects,
        Frame.picture.func,
        messages.image_to_rgb,
        QuickPerceiver.step,
    ),
)
CODES = {work.__code__: work.__name__ for work in WORK}
TRIP = {"image_to_rgb", "step"}
PLACES = {"valid_pixels", "depth_edges", "picture"}
CLOUD = PLACES | {"scene_cloud"}
MESSAGE = {"cloud_message", "fill"}
#: What each topic needs, beside the trip.
NEEDS = {
    "panoptic": {"panoptic", "image_message", "fill"},
    "semantic": {"semantic", "image_message", "fill"},
    "instance": {"instance", "image_message", "fill"},
    "confidence": {"confidence", "image_message", "fill"},
    "depth": {"depth", "image_message", "fill"},
    "depth/camera_info": set(),
    "camera_info": set(),
    "points": CLOUD | MESSAGE,
    "obstacles": PLACES | MESSAGE | {"obstacle_cloud", "merged"},
    "ground": PLACES | MESSAGE | {"ground_cloud", "merged"},
    "instances": CLOUD | MESSAGE | {"instances"},
    "markers": CLOUD | {"instances", "marker_array"},
    "detections": CLOUD | {"instances", "detection_array"},
    "objects": CLOUD | {"instances", "tracked_objects"},
    "overlay": {"overlay", "picture", "image_message", "fill"},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """An active node in this process, what of ``WORK`` it has called so far, and a camera beside it."""
    called, folder = set(), tmp_path_factory.mktemp("cost")
    (folder / "model.safetensors").write_bytes(b"weights")

    def note(frame, event, argument):
        if event == "call" and frame.f_code in CODES:
            called.add(CODES[frame.f_code])

    threading.setprofile(note)  # of the threads that start from now on: the node's worker among them
    try:
        values = {"model": str(folder), "autostart": True, "diagnostics_rate": 20.0}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = PerceptionNode(lambda *_: QuickPerceiver(), parameter_overrides=overrides)
        camera = Camera("cost_camera")
        with spinning(node), spinning(camera.node):
            wait_for(lambda: camera.images.get_subscription_count() and camera.infos.get_subscription_count())
            yield SimpleNamespace(node=node, camera=camera, called=called)
    finally:
        threading.setprofile(None)


def send_until(running, condition):
    """Send frames one by one until the condition holds."""
    timer = running.camera.node.create_timer(0.1, running.camera.send)
    try:
        wait_for(condition)
    finally:
        running.camera.node.destroy_timer(timer)


def settle(running):
    """Wait until no frame is in work, and forget what was called."""
    wait_for(lambda: running.node._pipeline.wait_idle(1.0))
    running.called.clear()


@pytest.mark.parametrize("topic", topics())
def test_a_reader_of_one_topic_costs_that_topic_alone(running, topic):
    got = []
    kind, name = topics()[topic], f"/perception/{topic}"
    subscription = running.camera.node.create_subscription(kind, name, got.append, 10)
    wait_for(lambda: running.node._outputs.wanted() == {topic})
    settle(running)
    send_until(running, lambda: len(got) >= 2)
    settled = set(running.called)
    running.camera.node.destroy_subscription(subscription)
    wait_for(lambda: not running.node._outputs.wanted())
    settle(running)
    assert settled == TRIP | NEEDS[topic]


def test_without_a_reader_not_even_the_image_is_converted(running):
    def counted():
        return int(running.camera.diagnostics().get("dropped: no subscribers", 0))

    settle(running)
    before = counted()
    send_until(running, lambda: counted() >= before + 3)
    assert running.called == set()


def test_parameters_decide_which_cloud_is_made():
    """A cloud of things alone serves readers of things alone; an organised one needs no dense one."""
    frame = quick_frame()

    def rows(*wanted, **settings):
        varied = replace(frame, config=replace(frame.config, **settings))
        made = outputs.pack(varied, wanted, {name: packing.Buffer() for name in wanted})
        return {name: message.width * message.height for name, message in made.items() if hasattr(message, "row_step")}

    things = int((frame.scene.panoptic == 13001).sum())
    everything = rows("points", edge_threshold=0.0)["points"]
    assert everything > things
    assert rows("instances", edge_threshold=0.0) == {"instances": things}
    assert rows("instances", "points", edge_threshold=0.0) == {"instances": things, "points": everything}
    assert rows("instances", "points", edge_threshold=0.0, organized=True) == {"instances": things, "points": 64 * 32}


def test_a_scaled_output_scales_no_picture_that_nobody_sees(monkeypatch):
    resized = []
    resize = cv2.resize
    monkeypatch.setattr(cv2, "resize", lambda *a, **k: (resized.append(a[1]), resize(*a, **k))[1])
    frame = quick_frame()
    frame = replace(frame, config=replace(frame.config, output_scale=0.5))
    depth = outputs.pack(frame, ["depth"], {"depth": packing.Buffer()})["depth"]
    assert (depth.width, depth.height, resized) == (32, 16, [])
    points = outputs.pack(frame, ["points"], {"points": packing.Buffer()})["points"]
    assert points.width <= 32 * 16
    assert resized == [(32, 16)]


def quick_frame():
    image = np.random.default_rng(0).integers(0, 255, (32, 64, 3), dtype=np.uint8)
    perceiver = QuickPerceiver()
    header = image_of(image).header
    config = PerceptionConfig()
    return Frame(header, image, perceiver.step(image, CAMERA), CAMERA, None, perceiver.labels, config)


# --- dvps topics -----------------------------------------------------------------------------------------------------


def test_the_table_of_costs():
    columns = {"a": {"`~/depth`": Cost(2.5e6, 0.004, 0.001)}, "b": {"`~/depth`": Cost(1e4, 0.0, 0.0001)}}
    _, line, row = markdown(columns, 10.0).split("\n")
    assert line == "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"
    assert row.startswith("| `~/depth` | 2.50 | 25.0 | 5.0 | 2.0 | 0.01 | 0.10 | 0.1 | - | metres")
    assert set(ADVICE) == set(NEEDS) >= set(topics())


@pytest.fixture
def dvps_topics(monkeypatch, capsys):
    """Runs the command, with what it starts in this process; gives the exit code, output and errors."""

    def run(*arguments):
        def start(command, check):
            assert command[:3] == [sys.executable, "-m", "dvps_ros.benchmarks.topic_costs"]
            return SimpleNamespace(returncode=topic_costs.main(command[3:]))

        monkeypatch.setattr(subprocess, "run", start)
        return main(["topics", *arguments]), *capsys.readouterr()

    return run


def test_the_command_measures_every_topic(dvps_topics):
    model = str(resources.find("models/street"))
    code, text, _ = dvps_topics("--model", model, "--sizes", "96x64", "--frames", "1", "--repeats", "1")
    assert code == 0
    rows = [line.split(" | ") for line in text.splitlines()[2:]]
    names = [row[0].removeprefix("| ") for row in rows]
    assert [name for name in names if name.startswith("`~/")] == [f"`~/{name}`" for name in topics()]
    assert len(names) == len(topics()) + len(VARIANTS) + 1
    sizes = {name: float(row[1]) for name, row in zip(names, rows, strict=True)}
    assert sizes["`~/depth`"] == pytest.approx(96 * 64 * 4 / 1e6, abs=0.006)


@pytest.mark.parametrize(
    ("arguments", "words"), [(("--sizes", "1024"), "WIDTHxHEIGHT"), (("--model", "models/none"), "models/none")]
)
def test_a_users_mistake_is_one_line(arguments, words, dvps_topics):
    code, text, error = dvps_topics(*arguments)
    assert (code, text) == (2, "")
    assert words in error
    assert error.count("\n") == 1
