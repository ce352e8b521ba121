"""The place of the camera in the recording, read by independent readers."""

import numpy as np
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dvps_ros.demo.frames import record_camera_frame
from dvps_ros.demo.recording import Recording
from dvps_ros.nodes.transforms import rotation

NOW = 1_700_000_000_123_456_789


def recorded(tmp_path, frame):
    with Recording(tmp_path / "a.mcap") as recording:
        record_camera_frame(recording, frame, NOW)
    with (tmp_path / "a.mcap").open("rb") as file:
        [(schema, channel, raw, message)] = make_reader(
            file, decoder_factories=[DecoderFactory()]
        ).iter_decoded_messages()
    return schema, channel, raw, message


def test_the_optical_frame_hangs_below_the_base(tmp_path):
    for frame in ("c", "front", "sim_camera_optical_frame"):  # each ends elsewhere between two doubles
        schema, channel, _, message = recorded(tmp_path, frame)
        assert (schema.name, channel.topic) == ("tf2_msgs/msg/TFMessage", "/tf_static")
        [transform] = message.transforms
        assert (transform.header.frame_id, transform.child_frame_id) == ("base_link", frame)
        assert (transform.header.stamp.sec, transform.header.stamp.nanosec) == divmod(NOW, 10**9)
        place, turn = transform.transform.translation, transform.transform.rotation
        assert (place.x, place.y, place.z) == (0.0, 0.0, 1.5)
        turned = rotation(turn.x, turn.y, turn.z, turn.w)
        np.testing.assert_allclose(turned @ (0, 0, 1), (1, 0, 0), atol=1e-12)  # what lies ahead of the camera
        np.testing.assert_allclose(turned @ (0, 1, 0), (0, 0, -1), atol=1e-12)  # and below it


def test_its_definition_is_that_of_tf2_msgs(tmp_path):
    schema, channel, raw, _ = recorded(tmp_path, "front")
    jazzy = get_typestore(Stores.ROS2_JAZZY)
    assert jazzy.deserialize_cdr(raw.data, schema.name).transforms[0].child_frame_id == "front"
    first = schema.data.decode().split("=" * 80)[0]
    assert get_types_from_msg(first, schema.name)[schema.name][1] == jazzy.fielddefs[schema.name][1]
    assert "durability: 1" in channel.metadata["offered_qos_profiles"]  # transient local
