"""Files that ``dvps predict`` writes for each frame: pictures and a cloud."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from dvps_ros.config import PredictConfig
    from dvps_ros.labels import LabelSet
    from dvps_ros.structures import CameraFrame, Scene, SegmentCloud

OVERLAY, PANOPTIC, DEPTH, CLOUD, VIDEO = OUTPUTS = ("overlay", "panoptic", "depth", "cloud", "video")


def write_prediction(
    stem: Path,
    frame: CameraFrame,
    picture: np.ndarray,
    scene: Scene,
    labels: LabelSet,
    kinds: Collection[str],
    config: PredictConfig,
) -> None:
    """Write the files of one frame, whose names begin with ``stem``.

    Parameters
    ----------
    picture : (H, W, 3) uint8 RGB, the overlay.
    kinds : members of ``OUTPUTS``; a cloud is written only if the frame has a camera.
    """
    import numpy as np

    from dvps_ros.datasets import png
    from dvps_ros.scene.clouds import of_classes, scene_cloud
    from dvps_ros.scene.rays import has_ray

    def named(kind: str, suffix: str) -> Path:
        return stem.with_name(f"{stem.name}_{kind}{suffix}")

    if OVERLAY in kinds:
        png.write(named(OVERLAY, ".png"), picture)
    if PANOPTIC in kinds:
        png.write(named(PANOPTIC, ".png"), encode_panoptic(scene.panoptic.numpy(), labels))
    if DEPTH in kinds:
        depth = scene.depth.masked_fill(of_classes(scene.panoptic, labels.sky), 0)
        if frame.intrinsics is not None and frame.intrinsics.distorted:
            depth = depth.masked_fill(~has_ray(frame.intrinsics, "cpu"), 0)
        png.write(named(DEPTH, ".png"), png.encode_depth(depth.numpy()))
    if CLOUD in kinds and frame.intrinsics is not None:
        image = np.require(frame.image, requirements="W")  # torch warns of read-only arrays
        far, edges = config.max_depth, config.edge_threshold
        cloud = scene_cloud(scene, image, frame.intrinsics, labels, max_depth=far, edge_threshold=edges)
        write_ply(named(CLOUD, ".ply"), cloud)


def encode_panoptic(panoptic: np.ndarray, labels: LabelSet) -> np.ndarray:
    """The pixels of a label file: class * 1000 + instance, with instance 0 for stuff.

    Up to 32 classes they are (H, W) uint16 with 32000 for void, as in Cityscapes-DVPS. More classes do not fit 16 bits:
    they are (H, W, 3) uint8 RGB, ``R + 256 G + 65536 B``, as in COCO's panoptic format, with 255000 for void.

    Parameters
    ----------
    panoptic : (H, W) int, class * 1000 + instance, 255000 void.
    """
    import numpy as np

    from dvps_ros.datasets.cityscapes_dvps import FILE_VOID
    from dvps_ros.labels import DIVISOR, VOID

    void = panoptic >= VOID
    is_thing = np.array([*labels.is_thing, True])[np.where(void, len(labels), panoptic // DIVISOR)]
    values = np.where(is_thing, panoptic, panoptic // DIVISOR * DIVISOR)
    if len(labels) * DIVISOR <= FILE_VOID:
        return np.where(void, FILE_VOID, values).astype(np.uint16)
    return np.stack([values >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)


def write_ply(path: Path, cloud: SegmentCloud) -> None:
    """Write a cloud as binary little-endian PLY (Stanford's format, version 1.0).

    Vertices have x y z (float, metres, optical frame), red green blue (uchar), label and instance (ushort), score
    (float).
    """
    import numpy as np

    from dvps_ros.files import write_bytes

    fields = [
        *((axis, "<f4", cloud.xyz[:, i]) for i, axis in enumerate("xyz")),
        *((name, "u1", cloud.rgb[:, i]) for i, name in enumerate(("red", "green", "blue"))),
        ("label", "<u2", cloud.label),
        ("instance", "<u2", cloud.instance),
        ("score", "<f4", cloud.score),
    ]
    names = {"<f4": "float", "u1": "uchar", "<u2": "ushort"}
    vertices = np.empty(len(cloud), np.dtype([(name, kind) for name, kind, _ in fields]))
    for name, _, values in fields:
        vertices[name] = values.cpu().numpy()
    properties = [f"property {names[kind]} {name}" for name, kind, _ in fields]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}", *properties, "end_header", ""]
    write_bytes(path, "\n".join(header).encode("ascii") + vertices.tobytes())
