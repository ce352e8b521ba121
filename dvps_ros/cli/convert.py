"""``dvps convert``: makes model folders from weights of other projects, and exports models."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvps_ros.files import open_to_others

if TYPE_CHECKING:
    from dvps_ros.checkpoints.foreign_files import Checkpoint, Fit
    from dvps_ros.config import Config
    from dvps_ros.network import DvpsNet

#: The parts of DvpsNet, for the summary.
SEGMENTATION = ("backbone", "semantic_decoder", "query_decoder", "segment_head")
PARTS = (*SEGMENTATION, "depth_decoder", "geometry")
#: Forms of exported programs.
PROGRAMS = ("torch-export", "aotinductor", "onnx")


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "convert",
        help="convert a Mask2Former or DeepDPS checkpoint to a model folder, or the reverse",
        description="Reads Mask2Former of detectron2 (.pkl, .pth), the checkpoints of the DeepDPS authors, "
        "Mask2Former of transformers (a folder, or a name on the hub, which is downloaded once) and model folders of "
        "dvps. All matching weights are loaded; missing ones stay random and are listed. Reading a pickle never runs "
        "code from it.",
    )
    parser.add_argument("source", metavar="SOURCE", help="checkpoint file, model folder or hub name")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="folder to write; must not exist yet")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="configuration whose network the weights must fit, e.g. config/deepdps_r50.yaml (default: the sizes of "
        "the weights)",
    )
    parser.add_argument(
        "--source-config",
        type=Path,
        metavar="FILE",
        help="detectron2 configuration of SOURCE (YAML), for the preprocessing of its pictures",
    )
    parser.add_argument(
        "--depth-from-semantic",
        action="store_true",
        help="start the depth pixel decoder as a copy of the semantic one",
    )
    parser.add_argument(
        "--to",
        choices=("dvps", "transformers", *PROGRAMS),
        default="dvps",
        help="format to write; transformers: the segmentation half only; torch-export, aotinductor (compiled for this "
        "processor, takes minutes) and onnx: a program for one image size, compared with the network "
        "(default: dvps)",
    )
    parser.add_argument("--pixels", type=int, metavar="N", help="area of the network's input (sets input.pixels)")
    for side in ("height", "width"):
        parser.add_argument(
            f"--{side}",
            type=int,
            metavar="PIXELS",
            help=f"{side} of a program's input; pictures are fitted into it (default: the model's input.pixels in the "
            "shape of its training crops)",
        )
    parser.add_argument("--verbose", action="store_true", help="list every weight loaded, missing and left over")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert. Raises ``FileNotFoundError`` or ``ValueError`` naming the mismatch; nothing is written then."""
    import torch

    from dvps_ros import checkpoints, resources
    from dvps_ros.checkpoints import transformers_folder
    from dvps_ros.checkpoints.foreign_files import load_into, open_checkpoint
    from dvps_ros.config import Config, load_config
    from dvps_ros.network import build
    from dvps_ros.runtime import export

    _check_out(args.out)
    if args.to == "transformers" and args.depth_from_semantic:
        raise ValueError("--depth-from-semantic cannot be used with --to transformers, which has no depth")
    given = load_config(resources.find(args.config)) if args.config else None
    checkpoint = open_checkpoint(args.source, (given or Config()).network, args.source_config)
    config = _sized(_configuration(checkpoint, given, args.config), args)
    size = _program_size(config, args)
    if size is not None:
        export.check_possible(args.to)
    torch.manual_seed(config.training.seed)
    net = build(config.network)
    fit = load_into(net, checkpoint)
    if args.depth_from_semantic and config.network.depth_decoder == "shared":
        raise ValueError("--depth-from-semantic needs a separate depth decoder; network.depth_decoder is shared")
    if args.depth_from_semantic:
        net.depth_decoder.load_state_dict(net.semantic_decoder.state_dict())
    parts = SEGMENTATION if args.to == "transformers" else PARTS
    lines = _summary(net, checkpoint, fit, parts, args.depth_from_semantic, config.input.pixels)
    print("\n".join(lines))
    if args.verbose:
        print("\n".join(_listing(fit)))
    with _atomic_folder(args.out) as folder:
        if args.to == "transformers":
            transformers_folder.write(net, folder, config)
        elif size is not None:
            agreement = export.write(net, folder, config, args.to, size)
            lines.append(f"checked against the network: {agreement or 'no, onnxruntime is not installed'}")
            print(lines[-1])
        else:
            checkpoints.save(net, folder, config)
        (folder / "README.md").write_text(_card(args, lines))
    print(f"{args.out} written")
    return 0


def _check_out(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"--out {out} exists already; choose another folder, or remove it")


@contextmanager
def _atomic_folder(out: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to ``out`` at the end, and removed after an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield folder
        # mkdtemp and safetensors deny access to other users, such as the robot's own.
        for path in (folder, *folder.iterdir()):
            open_to_others(path)
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configuration(checkpoint: Checkpoint, given: Config | None, file: str | None) -> Config:
    """The configuration to write: ``given``, or that of the checkpoint.

    Raises ``ValueError`` if ``given`` does not fit the checkpoint, or the classes do not fit the class table.
    """
    from dvps_ros.checkpoints.sizes import difference
    from dvps_ros.config import Config, InputConfig
    from dvps_ros.labels import LABEL_SETS

    prepared = checkpoint.preprocessing
    if given is None:
        config = replace(checkpoint.config or Config(), network=checkpoint.network)
        if prepared is not None:
            config = replace(config, input=InputConfig(prepared.pixels))
    elif found := difference(checkpoint.network, given.network, metres=checkpoint.config is not None):
        key, theirs, wanted = found
        raise ValueError(f"{checkpoint.source} does not fit {file}: {key} is {_plain(theirs)}, not {_plain(wanted)}")
    else:
        theirs = checkpoint.network.backbone
        backbone = replace(given.network.backbone, mean=theirs.mean, deviation=theirs.deviation)
        config = replace(given, network=replace(given.network, backbone=backbone))
        if prepared is not None and not given.input.pixels:
            config = replace(config, input=replace(given.input, pixels=prepared.pixels))
    if checkpoint.naming == "dvps" and checkpoint.config is None:
        depth = f"canonical_focal {config.network.canonical_focal}, max_depth {config.network.max_depth:g}"
        print(f"note: {checkpoint.source} does not tell what its depth means; taken from "
              f"{file or 'the defaults'}: {depth}", file=sys.stderr)  # fmt: skip
    labels = LABEL_SETS[config.labels]
    if config.network.classes != len(labels):
        raise ValueError(
            f"{checkpoint.source} has {config.network.classes} classes, class table {config.labels} has {len(labels)}"
        )
    for index, (theirs, ours) in enumerate(zip(checkpoint.class_names, labels.names, strict=False)):
        if not theirs.startswith("LABEL_") and _word(theirs) != _word(ours):
            print(f"note: class {index} is {theirs!r} in {checkpoint.source}, {ours!r} here", file=sys.stderr)
    # Training starts from these weights, so the backbone's pretrained ones are not needed.
    return replace(config, network=config.network.with_random_weights())


def _sized(config: Config, args: argparse.Namespace) -> Config:
    """``config`` with the input size of the command line; raises ``ValueError`` for an invalid size."""
    from dvps_ros.config import apply_overrides

    given = {"pixels": args.pixels}
    if args.to not in PROGRAMS:
        given |= {"height": args.height, "width": args.width}
    return apply_overrides(config, [f"input.{key}={value}" for key, value in given.items() if value is not None])


def _program_size(config: Config, args: argparse.Namespace) -> tuple[int, int] | None:
    """(H, W) of the program to write; None for other formats. Raises ``ValueError`` if no size is known."""
    from dvps_ros.config.crops import sides

    if args.to not in PROGRAMS:
        return None
    if args.height is None and args.width is None and config.input.pixels:
        height, width = sides(config.input.pixels, config.data.crop_width / config.data.crop_height)
        print(f"the program's input is {width}x{height}; --height and --width choose another size")
        return height, width
    if args.height is None or args.width is None or min(args.height, args.width) < 1:
        raise ValueError("an exported program has a fixed input size: set --height and --width")
    return args.height, args.width


def _plain(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _word(text: str) -> str:
    return "".join(filter(str.isalpha, text.lower()))


def _summary(
    net: DvpsNet, checkpoint: Checkpoint, fit: Fit, parts: tuple[str, ...], copied: bool, pixels: int
) -> list[str]:
    """Lines on the checkpoint, each of the network's ``parts``, unused weights and the preprocessing.

    ``pixels`` is the area of pictures that is written, 0 if they keep their size.
    """
    c = net.config
    sizes = f"{c.backbone.kind} {_plain(c.backbone.depths)}, width {c.width}, {c.queries} queries, {c.classes} classes"
    lines = [f"{Path(checkpoint.source).name}: names of {checkpoint.naming}; {sizes}"]
    for part in parts:
        loaded = sum(name.startswith(f"{part}.") for name in fit.loaded)
        missing = sum(name.startswith(f"{part}.") for name in fit.missing)
        note = f", {missing} missing: random until trained" if missing else ""
        if part == "depth_decoder" and copied:
            note = ", copied from the semantic decoder"
        lines.append(f"  {part:<17}{loaded:4} of {loaded + missing:4} loaded{note}")
    lines.append(f"  {len(fit.left_over)} left over" + (f": {_some(fit.left_over)}" if fit.left_over else ""))
    return [*lines, *_preparation(checkpoint, pixels)]


def _preparation(checkpoint: Checkpoint, pixels: int) -> list[str]:
    """One line on the preprocessing of pictures; none for a model of dvps, whose configuration holds it."""
    if checkpoint.naming == "dvps":
        return []
    given = checkpoint.preprocessing
    if given is None:
        hint = " (--source-config reads detectron2's configuration)" if checkpoint.naming == "detectron2" else ""
        return [f"  pictures: not stated by the source; assumed to be RGB with ImageNet's mean and deviation{hint}"]
    values = [" ".join(f"{value:g}" for value in three) for three in (given.mean, given.deviation)]
    order = "BGR, folded into the first weight" if given.bgr else "RGB"
    size = f"as large as {pixels} pixels (input.pixels)" if pixels else "of their own size"
    return [f"  pictures: {order}, mean {values[0]}, deviation {values[1]}, {size}"]


def _some(names: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ... (all with --verbose)" if len(names) > most else "")


def _listing(fit: Fit) -> list[str]:
    groups = (("loaded", fit.loaded), ("missing", fit.missing), ("left over", fit.left_over))
    return [f"{label:<10}{name}" for label, names in groups for name in names]


def _card(args: argparse.Namespace, lines: list[str]) -> str:
    """A model card with the origin of the weights and the parts that are not trained."""
    summary = "\n".join(lines)
    if args.to == "transformers":
        use = "The segmentation half, to be loaded with `Mask2FormerForUniversalSegmentation.from_pretrained`."
    elif args.to in PROGRAMS:
        use = f"A program ({args.to}) for one image size, in 32 bit. It is used like any model folder, but not trained."
    else:
        use = "Parts that are random above must be trained first: `dvps train --init` starts from this folder."
    origin = "Converted by `dvps convert`; the license of the source applies."
    return "\n\n".join((f"# {args.out.name}", origin, f"```\n{summary}\n```", use)) + "\n"
