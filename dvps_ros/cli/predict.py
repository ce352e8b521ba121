"""``dvps predict``: pictures in; overlays, labels, depth and point clouds out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from dvps_ros.runtime import Perceiver
    from dvps_ros.structures import Intrinsics, SegmentCloud

CAMERA = ("fx", "fy", "cx", "cy")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "predict",
        help="label pictures, estimate their depth and write point clouds",
        description="Writes for each picture NAME: NAME_overlay.png (for people), NAME_panoptic.png (16 bit, "
        "class * 1000 + instance, 32000 unlabelled), NAME_depth.png (16 bit, metres * 256, 0 none) and, when the "
        "camera is given, NAME_cloud.ply (x right, y down, z forward in metres; colour, class, instance, score). "
        "Without the camera, depth is relative and there is no cloud.",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="picture, or folder of pictures")
    parser.add_argument("--model", required=True, help="model folder, e.g. models/street")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where the results go")
    parser.add_argument("--fx", type=_positive, help="horizontal focal length in pixels of the pictures")
    parser.add_argument("--fy", type=_positive, help="vertical focal length in pixels (default: fx)")
    parser.add_argument("--cx", type=float, help="principal point, column in pixels (default: the centre)")
    parser.add_argument("--cy", type=float, help="principal point, row in pixels (default: the centre)")
    parser.add_argument("--video", action="store_true", help="the pictures are one video, in this order: keep numbers")
    parser.add_argument("--score", type=_share, help="keep queries scoring more than this (default: the model's own)")
    parser.add_argument("--max-depth", type=_positive, default=80.0, help="clouds end here, in metres (default: 80)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision", choices=("auto", "32", "16", "bf16"), default="auto", help="arithmetic (default: auto)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict and write; ``FileNotFoundError`` or ``ValueError`` names a missing or broken picture or model."""
    from dataclasses import replace

    from dvps_ros.runtime import load_perceiver

    pictures = _pictures(args.images)
    if args.fx is None and any(getattr(args, name) is not None for name in CAMERA):
        raise ValueError("--fy, --cx and --cy need --fx")
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out} is not a folder")
    perceiver = load_perceiver(args.model, args.device, args.precision)
    if args.score is not None:
        perceiver.merge_config = replace(perceiver.merge_config, score_threshold=args.score)
    args.out.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(pictures, 1):
        if not args.video:
            perceiver.reset_tracks()
        print(f"[{number}/{len(pictures)}] {path.name}: {_predict(perceiver, path, args)}", flush=True)
    if args.fx is None:
        print("no --fx: depth is relative and no clouds were written")
    return 0


def _predict(perceiver: Perceiver, path: Path, args: argparse.Namespace) -> str:
    """Write one picture's results and tell what is in it."""
    from dvps_ros.datasets import png
    from dvps_ros.datasets.cityscapes_dvps import encode_panoptic
    from dvps_ros.scene.render import overlay
    from dvps_ros.scene.unproject import scene_cloud

    image = _read(path)
    camera = _camera(args, image)
    scene = perceiver.step(image, camera).cpu()
    png.write(args.out / f"{path.stem}_overlay.png", overlay(image, scene, perceiver.labels))
    png.write(args.out / f"{path.stem}_panoptic.png", encode_panoptic(scene.panoptic.numpy()))
    png.write(args.out / f"{path.stem}_depth.png", png.encode_depth(scene.depth.numpy()))
    if camera is not None:
        cloud = scene_cloud(scene, image, camera, perceiver.labels, max_depth=args.max_depth, edge_threshold=0.1)
        write_ply(args.out / f"{path.stem}_cloud.ply", cloud)
    things = sum(perceiver.labels.is_thing[s.class_id] for s in scene.segments)
    milliseconds = 1000 * sum(perceiver.timings.values())
    return f"{things} things, {len(scene.segments) - things} kinds of stuff, {milliseconds:.0f} ms"


def write_ply(path: Path, cloud: SegmentCloud) -> None:
    """Write a cloud as binary little-endian PLY (Stanford's format, version 1.0).

    Vertices have x y z (float, metres, optical frame), red green blue (uchar), label and instance (ushort), score
    (float).
    """
    import numpy as np

    from dvps_ros.datasets import png

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
    png.write_bytes(path, "\n".join(header).encode("ascii") + vertices.tobytes())


def _camera(args: argparse.Namespace, image: np.ndarray) -> Intrinsics | None:
    from dvps_ros.structures import Intrinsics

    if args.fx is None:
        return None
    height, width = image.shape[:2]
    cx = (width - 1) / 2 if args.cx is None else args.cx
    cy = (height - 1) / 2 if args.cy is None else args.cy
    return Intrinsics(args.fx, args.fy or args.fx, cx, cy, width, height)


def _pictures(given: list[Path]) -> list[Path]:
    """The given files and the pictures in given folders; two of one name would overwrite each other's results."""
    pictures: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise FileNotFoundError(f"no pictures in folder {path}")
            pictures += inside
        elif path.is_file():
            pictures.append(path)
        else:
            raise FileNotFoundError(f"no such picture: {path}")
    seen: dict[str, Path] = {}
    for path in pictures:
        if path.stem in seen:
            raise ValueError(f"{seen[path.stem]} and {path} would be written under one name")
        seen[path.stem] = path
    return pictures


def _read(path: Path) -> np.ndarray:
    from dvps_ros.datasets.pictures import decode

    try:
        return decode(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not a picture that can be used: {error}") from error


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be a number above 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must be between 0 and 1")
    return value
