"""``dvps render``: write a data set of simulated streets in the Cityscapes-DVPS format."""

from __future__ import annotations

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dvps_ros.cli.arguments import configured, count, whole_number
from dvps_ros.config import Config, StreetConfig, check_rig, load_config, save_config

#: Parity of the seeds of each split: seed = 2 * (base * 10^6 + sequence) + parity.
PARITY = {"train": 0, "val": 1}


@dataclass(frozen=True)
class Task:
    """One sequence to render: output folder, number, seed of its street, and configuration."""

    folder: Path
    sequence: int
    seed: int
    config: StreetConfig


def street_seed(split: str, base: int, sequence: int) -> int:
    """The seed of a sequence's street: even for train, odd for val, so that the splits have different streets."""
    return 2 * (base * 10**6 + sequence) + PARITY[split]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand and its arguments."""
    parser = subparsers.add_parser(
        "render",
        help="write a data set of simulated streets",
        description="Renders simulated streets to a Cityscapes-DVPS data set. After an interruption the same command "
        "continues.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set; video_sequence/ is made in it")
    parser.add_argument("--split", choices=sorted(PARITY), default="train", help="split to write (default: train)")
    parser.add_argument(
        "--sequences", type=whole_number(1, 10**6), default=400, help="number of streets (default: 400)"
    )
    parser.add_argument("--frames", type=count, help="frames per street (default: the configuration's)")
    parser.add_argument(
        "--seed", type=whole_number(0, 999999), default=0, help="another seed gives other streets (default: 0)"
    )
    parser.add_argument(
        "--config",
        nargs="+",
        metavar="FILE",
        help="configuration with the section street; of several files a later one overrides the earlier ones",
    )
    parser.add_argument("--workers", type=count, default=2, help="processes (default: 2)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render the missing sequences; returns 0.

    Raises ``ValueError`` if ``--out`` has streets of other settings, or if options of the rig contradict each other.
    Raises ``OSError`` if MuJoCo cannot be loaded.
    """
    config = configured(args.config).street if args.config else StreetConfig()
    if args.frames:
        config = replace(config, frames=args.frames)
    check_rig(config)
    _require_graphics()
    from dvps_ros.datasets.frames import split_folder

    folder = split_folder(args.out, args.split)
    _check_same(folder, config, args.seed)
    tasks = [Task(folder, k, street_seed(args.split, args.seed, k), config) for k in range(args.sequences)]
    missing = _incomplete(tasks, folder)
    from tqdm import tqdm

    label = f"{args.split} streets"
    with tqdm(total=len(tasks), initial=len(tasks) - len(missing), desc=label, unit="street") as bar:
        for _ in _render_all(missing, args.workers):
            bar.update()
    return 0


def _require_graphics() -> None:
    """Raise ``OSError`` if MuJoCo cannot load the OpenGL library that ``MUJOCO_GL`` selects."""
    try:
        import dvps_ros.simulation  # noqa: F401
    except (AttributeError, ImportError, RuntimeError) as error:
        raise OSError(f"MuJoCo cannot be loaded with MUJOCO_GL={os.environ.get('MUJOCO_GL')}: {error}") from error


def _check_same(folder: Path, config: StreetConfig, seed: int) -> None:
    """Save the settings beside the pictures. Raises ``ValueError`` if the pictures there have other settings."""
    folder.mkdir(parents=True, exist_ok=True)
    note, whole = folder / "street.yaml", Config(street=config)
    seed_note = folder / "seed.txt"
    if note.is_file() and (load_config(note) != whole or seed_note.read_text().strip() != str(seed)):
        raise ValueError(f"{folder} has streets of another configuration or seed; choose another --out")
    save_config(whole, note)
    seed_note.write_text(f"{seed}\n")


def _render_all(tasks: list[Task], workers: int) -> Iterator[int]:
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from map(_render, tasks)
        return
    import multiprocessing

    # software rendering starts threads of its own: divide the cores among the processes
    os.environ.setdefault("LP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_render, tasks)


def _incomplete(tasks: list[Task], folder: Path) -> list[Task]:
    """The tasks without a camera or with missing frames."""
    from dvps_ros.datasets.cityscapes_dvps import IMAGE, read_cameras

    cameras = read_cameras(folder)
    frames = Counter(int(path.name[:6]) for path in folder.glob(f"[0-9]*_{IMAGE}.png"))
    return [task for task in tasks if task.sequence not in cameras or frames[task.sequence] != task.config.frames]


def _render(task: Task) -> int:
    """Render one sequence to a temporary folder, then move it to its place; returns its number."""
    from dvps_ros.datasets.cityscapes_dvps import IMAGE, write_cameras, write_frame
    from dvps_ros.simulation import sequence

    partial = task.folder / f".{task.sequence:06d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for k, frame in enumerate(sequence(task.seed, task.config)):
            write_frame(partial, task.sequence, k, frame.rgb, frame.panoptic, frame.depth)
            intrinsics = frame.intrinsics
        write_cameras(task.folder, {task.sequence: intrinsics})
        # images last, because readers find a frame by its image
        for path in sorted(partial.iterdir(), key=lambda path: IMAGE in path.name):
            path.replace(task.folder / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return task.sequence
