"""dvps_ros.demo.recording: two independent readers get back what was written."""

import importlib
import json

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TransformStamped
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray

from dvps_ros.demo.recording import Recording, definition, type_name

STAMP = 1_700_000_000_000_000_000


def image() -> Image:
    message = Image(height=2, width=3, encoding="rgb8", step=9)
    message.header.frame_id = "camera"
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 34
    message.data.frombytes(bytes(range(18)))
    return message


def messages() -> dict[str, object]:
    info = CameraInfo(width=3, height=2, d=[0.1, 0.2], k=[float(i) for i in range(9)], distortion_model="plumb_bob")
    status = DiagnosticStatus(level=b"\x02", name="n", values=[KeyValue(key="a", value="b")])
    return {
        "/image": image(),
        "/camera_info": info,
        "/diagnostics": DiagnosticArray(header=Header(frame_id="x"), status=[status]),
        "/labels": String(data=json.dumps({"0": "road"})),
        "/points": PointCloud2(fields=[PointField(name="x", offset=4, datatype=7, count=1)], is_dense=True),
    }


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "new folder" / "recording.mcap"
    with Recording(path) as recording:
        for step in range(3):
            for topic, message in messages().items():
                recording.write(topic, type(message), serialize_message(message), STAMP + step)
    assert recording.messages == 15
    return path


def test_mcap_s_own_ros2_decoder_reads_it(recorded):
    with recorded.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        assert reader.get_summary().statistics.message_count == 15
        found = {}
        for schema, channel, raw, message in reader.iter_decoded_messages():
            found[channel.topic] = (schema, raw, message)
    assert set(found) == set(messages())
    schema, raw, read = found["/image"]
    assert (schema.name, schema.encoding, raw.log_time) == ("sensor_msgs/msg/Image", "ros2msg", STAMP + 2)
    assert (read.header.stamp.sec, read.header.stamp.nanosec, read.header.frame_id) == (12, 34, "camera")
    assert (read.height, read.width, read.encoding, bytes(read.data)) == (2, 3, "rgb8", bytes(range(18)))
    info = found["/camera_info"][2]
    assert list(info.k) == list(range(9))
    assert list(info.d) == [0.1, 0.2]
    assert found["/diagnostics"][2].status[0].values[0].value == "b"
    assert found["/points"][2].fields[0].datatype == 7
    assert found["/points"][2].is_dense is True


def test_rosbags_reads_the_bytes_with_its_own_message_definitions(recorded):
    store = get_typestore(Stores.ROS2_JAZZY)
    with recorded.open("rb") as file:
        for schema, _, raw in make_reader(file).iter_messages():
            read = store.deserialize_cdr(raw.data, schema.name)
            if schema.name == "sensor_msgs/msg/Image":
                assert read.header.frame_id == "camera"
                np.testing.assert_array_equal(read.data, np.arange(18))


@pytest.mark.parametrize(
    "message_class",
    [Image, CameraInfo, PointCloud2, DiagnosticArray, String, TransformStamped, MarkerArray],
    ids=lambda c: c.__name__,
)
def test_definitions_have_the_fields_of_the_published_ones(message_class):
    jazzy = get_typestore(Stores.ROS2_JAZZY)
    ours = {}
    for index, part in enumerate(definition(message_class).split("=" * 80 + "\n")):
        name = type_name(message_class) if index == 0 else part.partition("\n")[0].removeprefix("MSG: ")
        text = part if index == 0 else part.partition("\n")[2]
        ours.update(get_types_from_msg(text, name))
    for name, (_, members) in ours.items():
        assert members == jazzy.fielddefs[name][1], name


def test_bounded_types_keep_their_bounds():
    parameter = importlib.import_module("rcl_interfaces.msg").ParameterDescriptor
    assert "IntegerRange[<=1] integer_range" in definition(parameter)


def test_closing_twice_is_no_fault(tmp_path):
    recording = Recording(tmp_path / "a.mcap")
    recording.close()
    recording.close()
    with (tmp_path / "a.mcap").open("rb") as file:
        assert make_reader(file).get_summary().statistics.message_count == 0
