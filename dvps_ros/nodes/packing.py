"""From arrays and tensors to messages.

Large arrays are written once, into an ``array.array('B')`` that is reused for the next frame: rclpy takes this type
unchanged, but checks every element of others. From a CUDA device each output is copied once, through pinned memory.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence

import numpy as np
import torch
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from torch import Tensor
from visualization_msgs.msg import Marker, MarkerArray

from dvps_ros.labels import DIVISOR, VOID, VOID_CLASS, LabelSet
from dvps_ros.scene.boxes import InstanceBox
from dvps_ros.scene.clouds import of_classes
from dvps_ros.scene.rays import has_ray
from dvps_ros.structures import Intrinsics, Scene, SegmentCloud, TrackedThing

#: Value of unlabelled pixels in the instance image: the type's maximum, as vision_msgs has it.
VOID_INSTANCE = 65535
#: Things slower than this, in m/s, get no arrow.
MOVING = 0.5
#: Seconds after which a viewer removes markers that no message has replaced, because the camera or the node ended.
_LIFETIME = 5

_FIELDS = tuple(
    PointField(name=name, offset=offset, datatype=datatype, count=1)
    for name, offset, datatype in (
        ("x", 0, PointField.FLOAT32),
        ("y", 4, PointField.FLOAT32),
        ("z", 8, PointField.FLOAT32),
        ("rgb", 12, PointField.FLOAT32),
        ("label", 16, PointField.UINT16),
        ("instance", 18, PointField.UINT16),
        ("score", 20, PointField.FLOAT32),
    )
)
#: Layout of one point of every cloud, for NumPy.
POINT = np.dtype(
    [
        *((name, "<f4") for name in ("x", "y", "z")),
        ("rgb", "<u4"),
        ("label", "<u2"),
        ("instance", "<u2"),
        ("score", "<f4"),
    ]
)


class Buffer:
    """Memory of one topic's data field, reused for each frame.

    The size of a cloud changes with each frame. The memory grows and shrinks in place and is not cleared.
    """

    def __init__(self) -> None:
        self._data = array("B")
        self._pinned: Tensor | None = None

    def fill(self, values: Tensor | np.ndarray) -> array:
        """The bytes of ``values`` (any shape and type) in C order; what the previous call returned is overwritten."""
        if isinstance(values, Tensor):
            values = self._on_host(values)
        size = values.nbytes
        self._resize(size)
        if size:
            np.frombuffer(self._data, values.dtype).reshape(values.shape)[...] = values
        return self._data

    def _resize(self, size: int) -> None:
        missing = size - len(self._data)
        try:
            if missing > 0:
                self._data.frombytes(bytes(missing))
            else:
                del self._data[size:]
        except BufferError:  # a view of the previous result is still in use
            self._data = array("B", bytes(size))

    def _on_host(self, values: Tensor) -> np.ndarray:
        if values.device.type == "cpu":
            return values.numpy()
        pinned = self._pinned
        if pinned is None or pinned.dtype != values.dtype or pinned.numel() < values.numel():
            self._pinned = pinned = torch.empty(values.numel(), dtype=values.dtype, pin_memory=True)
        host = pinned[: values.numel()].view(values.shape)
        host.copy_(values, non_blocking=True)
        torch.cuda.current_stream(values.device).synchronize()
        return host.numpy()


def image_message(header: Header, values: Tensor | np.ndarray, encoding: str, buffer: Buffer) -> Image:
    """An Image of ``values`` (H, W) or (H, W, C), whose type must be the encoding's; little-endian, rows unpadded."""
    height, width = values.shape[:2]
    data = buffer.fill(values)
    return Image(
        header=header,
        height=int(height),
        width=int(width),
        encoding=encoding,
        is_bigendian=0,
        step=len(data) // int(height),
        data=data,
    )


def panoptic(scene: Scene) -> Tensor:
    """(H, W) int32, class * 1000 + instance; 255000 where unlabelled."""
    return scene.panoptic.int()


def semantic(scene: Scene) -> Tensor:
    """(H, W) uint8 class; 255 where unlabelled."""
    return (scene.panoptic // DIVISOR).to(torch.uint8)


def instance(scene: Scene) -> Tensor:
    """(H, W) int16 whose bits are uint16: track id of the thing, 0 for stuff, 65535 where unlabelled."""
    # torch supports few operations on uint16; -1 has the bits of 65535
    return (scene.panoptic % DIVISOR).where(scene.panoptic != VOID, -1).to(torch.int16)


def confidence(scene: Scene) -> Tensor:
    """(H, W) uint8, 0..255 for 0..1."""
    return (scene.confidence * 255).round().clamp(0, 255).to(torch.uint8)


def depth(scene: Scene, labels: LabelSet, max_depth: float, camera: Intrinsics | None = None) -> Tensor:
    """(H, W) float32 metres along z; +Inf for sky and beyond ``max_depth``, NaN where unknown (REP 117, REP 118).

    It is unknown where the lens of a ``camera`` shows nothing.
    """
    beyond = of_classes(scene.panoptic, labels.sky).logical_or_(scene.depth > max_depth)
    known = scene.depth.where(scene.depth > 0, math.nan)
    known.masked_fill_(beyond, math.inf)
    if camera is not None and camera.distorted:
        known.masked_fill_(~has_ray(camera, str(known.device)), math.nan)
    return known.float()


def uncertainty(scene: Scene, labels: LabelSet, max_depth: float, camera: Intrinsics | None = None) -> Tensor:
    """(H, W) float32 metres, one standard deviation of ``depth``; NaN where that is no finite number."""
    assert scene.depth_std is not None, "callers check depth_std first"
    return scene.depth_std.where(depth(scene, labels, max_depth, camera).isfinite(), math.nan).float()


def millimetres(metres: Tensor) -> Tensor:
    """(H, W) int16 whose bits are uint16: metres (H, W) as millimetres, 0 where not finite or over 65.535 m."""
    values = (metres * 1000).round()
    values = values.where(values.isfinite() & (values <= 65535), 0.0).int()
    return torch.where(values > 32767, values - 65536, values).to(torch.int16)


def cloud_message(
    header: Header, cloud: SegmentCloud, buffer: Buffer, shape: tuple[int, int] | None = None
) -> PointCloud2:
    """A cloud with fields x y z rgb (float32), label instance (uint16), score (float32): 24 bytes a point.

    ``shape`` (H, W) makes it organised: the cloud then has H * W rows, NaN where there is no point.
    """
    rows = len(cloud)
    color = cloud.rgb.int()
    columns = (
        *(cloud.xyz.float().view(torch.int32).unbind(1)),
        color[:, 0] << 16 | color[:, 1] << 8 | color[:, 2],
        cloud.label.int() & 0xFFFF | cloud.instance.int() << 16,
        cloud.score.float().view(torch.int32),
    )
    height, width = shape or (1, rows)
    return PointCloud2(
        header=header,
        height=int(height),
        width=int(width),
        fields=list(_FIELDS),
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * int(width),
        data=buffer.fill(torch.stack(columns, 1)),
        is_dense=shape is None,
    )


def marker_array(
    header: Header, boxes: Sequence[InstanceBox], labels: LabelSet, things: Sequence[TrackedThing] = ()
) -> MarkerArray:
    """A box and a name for each instance, after a marker that deletes the previous frame's.

    The name of a moving, confirmed one of ``things`` has its speed, with "relative" if that is relative to the camera.
    Such a thing also has an arrow to its position one second later.
    """
    known = {thing.id: thing for thing in things if thing.confirmed}
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for box in boxes:
        red, green, blue = (channel / 255 for channel in labels.colors[box.class_id])
        center = Point(**dict(zip("xyz", map(float, box.center), strict=True)))
        solid = Marker(header=header, ns="box", id=box.id, type=Marker.CUBE, action=Marker.ADD)
        solid.pose = Pose(position=center, orientation=Quaternion(w=1.0))
        solid.scale = Vector3(**{axis: max(float(size), 0.01) for axis, size in zip("xyz", box.size, strict=True)})
        solid.color = ColorRGBA(r=red, g=green, b=blue, a=0.4)
        text = Marker(header=header, ns="name", id=box.id, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD)
        above = Point(x=center.x, y=center.y - float(box.size[1]) / 2 - 0.3, z=center.z)  # y points down
        text.pose = Pose(position=above, orientation=Quaternion(w=1.0))
        text.scale.z = 0.4
        text.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        text.text = f"{labels.names[box.class_id]} {box.instance}"
        markers += [solid, text]
        thing = known.get(box.id)
        if thing is not None and thing.speed >= MOVING:
            text.text += f" {thing.speed:.1f} m/s" + (" relative" if thing.relative else "")
            markers.append(_arrow(header, center, thing))
    for marker in markers[1:]:
        marker.lifetime = Duration(sec=_LIFETIME)
    return MarkerArray(markers=markers)


def _arrow(header: Header, start: Point, thing: TrackedThing) -> Marker:
    """An arrow from ``start`` to a thing's position a second later; grey for a velocity relative to the camera."""
    arrow = Marker(header=header, ns="velocity", id=thing.id, type=Marker.ARROW, action=Marker.ADD)
    x, y, z = map(float, thing.velocity)
    arrow.points = [start, Point(x=start.x + x, y=start.y + y, z=start.z + z)]
    arrow.pose.orientation.w = 1.0
    arrow.scale = Vector3(x=0.1, y=0.25)  # of the shaft and the head
    shade = 0.6 if thing.relative else 1.0
    arrow.color = ColorRGBA(r=shade, g=shade, b=shade, a=1.0)
    return arrow


def labels_json(labels: LabelSet, score_threshold: float) -> str:
    """The meaning of the numbers in the images, as JSON: classes, divisor, void values, score threshold."""
    classes = [
        {
            "id": index,
            "name": name,
            "thing": labels.is_thing[index],
            "color": list(labels.colors[index]),
            "drivable": index in labels.drivable,
            "sky": index in labels.sky,
        }
        for index, name in enumerate(labels.names)
    ]
    return json.dumps(
        {
            "name": labels.name,
            "divisor": DIVISOR,
            "void": VOID,
            "void_class": VOID_CLASS,
            "void_instance": VOID_INSTANCE,
            "score_threshold": score_threshold,
            "classes": classes,
        }
    )
