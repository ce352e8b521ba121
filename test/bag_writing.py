"""Small recordings for tests, written by rosbags: pictures of noise with their camera_info."""

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dvps_ros.structures import Intrinsics

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
H, W = 24, 32
CAMERA = Intrinsics(40.0, 41.0, 15.0, 11.0, W, H)
START = 1_700_000_000_000_000_000
PLUGINS = {"mcap": StoragePlugin.MCAP, "db3": StoragePlugin.SQLITE3}


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def header(stamp):
    time = TYPES["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return TYPES["std_msgs/msg/Header"](stamp=time, frame_id="camera_optical")


def raw(stamp, rgb, encoding="rgb8"):
    """An Image of (H, W, 3) uint8 RGB, or of values in another encoding as they are."""
    data = np.ascontiguousarray(rgb[..., ::-1] if encoding == "bgr8" else rgb)
    return TYPES["sensor_msgs/msg/Image"](
        header=header(stamp),
        height=rgb.shape[0],
        width=rgb.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=data[0].nbytes,
        data=data.view(np.uint8).reshape(-1),
    )


def compressed(stamp, rgb, suffix=".png"):
    done, data = cv2.imencode(suffix, rgb[..., ::-1])
    assert done
    return TYPES["sensor_msgs/msg/CompressedImage"](header=header(stamp), format=suffix[1:], data=data.reshape(-1))


def camera_info(stamp, camera=CAMERA, p=None, roi=(0, 0, 0, 0)):
    """A CameraInfo; P is given by fx, fy, cx, cy or stays empty, roi by x, y, width, height."""
    p = (0,) * 4 if p is None else p
    k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1], float)
    window = TYPES["sensor_msgs/msg/RegionOfInterest"](
        x_offset=roi[0], y_offset=roi[1], height=roi[3], width=roi[2], do_rectify=False
    )
    return TYPES["sensor_msgs/msg/CameraInfo"](
        header=header(stamp),
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model or "plumb_bob",
        d=np.array(camera.distortion or [0.0] * 5),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.array([p[0], 0, p[2], 0, 0, p[1], p[3], 0, 0, 0, float(bool(p[0])), 0]),
        binning_x=0,
        binning_y=0,
        roi=window,
    )


def record(path, messages, plugin="mcap", compression=None):
    """A bag of (topic, message) pairs or (topic, message, time of recording); returns its folder.

    ``compression`` is a ``CompressionMode``. Without a time of recording it is the header's.
    """
    writer = Writer(path, version=9, storage_plugin=PLUGINS[plugin])
    if compression is not None:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, message, *received in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=STORE)
            time = received[0] if received else stamp_of(message) or START
            writer.write(connections[topic], time, STORE.serialize_cdr(message, message.__msgtype__))
    return path


def stamp_of(message):
    """The header's stamp in nanoseconds."""
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def drive(count=10, rate=10, make=raw, topic="/camera/image_raw"):
    """Pictures at ``rate`` Hz, each with its camera_info."""
    rows = []
    for number in range(count):
        stamp = START + number * 10**9 // rate
        rows += [(topic, make(stamp, picture(number))), ("/camera/camera_info", camera_info(stamp))]
    return rows
