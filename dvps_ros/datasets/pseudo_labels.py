"""Pseudo labels: a training set in the folder format from a model's scenes, written so that it can be resumed.

Each sequence of at most ``LabelConfig.length`` frames is labelled in a temporary folder, moved to its place and
recorded in ``labels.json``. A resumed run continues with the first sequence that is not recorded there.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvps_ros.config import LabelConfig
from dvps_ros.datasets import cameras_file, folder
from dvps_ros.datasets.frames import LabelledFrame
from dvps_ros.files import write_bytes
from dvps_ros.labels import DIVISOR, VOID, LabelSet
from dvps_ros.scene.rays import has_ray
from dvps_ros.structures import Intrinsics, Scene

NOTE = "labels.json"
_PARTIAL = ".partial"


def sure_labels(
    scene: Scene, labels: LabelSet, config: LabelConfig, camera: Intrinsics | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a scene that are confident enough for training; none where the lens of ``camera`` shows nothing.

    Returns
    -------
    panoptic : (H, W) int32; void where confidence is below the threshold, and in segments of which more than half is.
    depth : (H, W) float32 metres; 0 (no label) where panoptic is void, in the sky and where depth is not finite; 0
        everywhere if the scene's depth is not metric.
    """
    scene = scene.cpu()
    panoptic, confidence = scene.panoptic.numpy(), scene.confidence.numpy()
    sure = (confidence >= config.confidence) & (panoptic < VOID)
    if camera is not None and camera.distorted:
        sure &= has_ray(camera, "cpu").numpy()
    ids, index = np.unique(panoptic, return_inverse=True)
    index = index.reshape(-1)
    share = np.bincount(index, sure.reshape(-1), len(ids)) / np.bincount(index, minlength=len(ids))
    sure &= (share >= config.min_share)[index].reshape(panoptic.shape)
    depth = scene.depth.numpy()
    has_depth = sure & np.isfinite(depth) & (depth > 0) & ~np.isin(panoptic // DIVISOR, sorted(labels.sky))
    return (
        np.where(sure, panoptic, VOID).astype(np.int32),
        np.where(has_depth & scene.metric, depth, 0).astype(np.float32),
    )


@dataclass(frozen=True)
class Chunk:
    """Frames that become one sequence.

    Attributes
    ----------
    name : name of the sequence.
    split : ``"train"`` or ``"val"``.
    first, last : indices of its first and last frame among the frames used of the source.
    """

    name: str
    split: str
    first: int
    last: int


def plan(name: str, runs: Sequence[int], config: LabelConfig) -> list[Chunk]:
    """Cut a source's frames into sequences.

    Parameters
    ----------
    name : name of the source.
    runs : the run (see ``SourceFrame``) of each of its frames.
    config : length of sequences, and the share of frames for validation. The last frames of each run are for
        validation. If the share is not 0, at least one frame of a source with two frames or more is.
    """
    lengths = [runs.count(run) for run in dict.fromkeys(runs)]
    held = [round(length * config.val) for length in lengths]
    if config.val > 0 and not any(held) and len(runs) > 1:
        held[-1] = 1
    pieces: list[tuple[str, int, int]] = []
    start = 0
    for length, last in zip(lengths, held, strict=True):
        for split, count in (("train", length - last), ("val", last)):
            for offset in range(0, count, config.length):
                pieces.append((split, start + offset, start + min(offset + config.length, count) - 1))
            start += count
    return [Chunk(f"{name}_{number:04d}", *piece) for number, piece in enumerate(pieces)]


class LabelledFolder:
    """A data set that is being written.

    Parameters
    ----------
    root : the data set's folder; the first sequence creates it.
    labels : the class table.
    settings : everything that the labels depend on; a data set holds labels of one setting only.

    Raises
    ------
    ValueError : the folder holds something else, or labels of other settings.
    """

    def __init__(self, root: Path, labels: LabelSet, settings: dict[str, Any]) -> None:
        self.root, self.labels = Path(root), labels
        path = self.root / NOTE
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"--out {root} is not a folder")
        if not path.is_file():
            if self.root.is_dir() and any(entry.name != _PARTIAL for entry in self.root.iterdir()):
                raise ValueError(f"{root} contains other files; choose another --out")
            self._note: dict[str, Any] = {"settings": settings, "sources": {}, "sequences": {}}
            return
        try:
            self._note = json.loads(path.read_text())
            before = self._note["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is broken ({error}); choose another --out") from error
        for key in sorted({*before, *settings}):
            if before.get(key) != settings.get(key):
                raise ValueError(
                    f"{root} has labels made with {key} {before.get(key)}, not {settings.get(key)}; "
                    "choose another --out"
                )

    @property
    def sequences(self) -> dict[str, dict[str, Any]]:
        """Finished sequences: split, frames written, frames left out and share of labelled pixels of each."""
        return self._note["sequences"]

    def register(self, path: Path, topic_name: str, frames: int, topic: str = "") -> str:
        """The name of a source's sequences in this data set, the same in a resumed run.

        The topics of a recording are sources of their own. Raises ``ValueError`` if the source had another number of
        frames before: its content has changed.
        """
        key = f"{path.resolve()}|{topic_name}"
        known = self._note["sources"].get(key)
        if known is not None and known.setdefault("topic", topic) != topic:  # earlier versions did not note the topic
            key += f"|{topic}"
            known = self._note["sources"].get(key)
        if known is not None:
            if known["frames"] != frames:
                raise ValueError(
                    f"{path} gave {known['frames']} frames before, now {frames}: it has changed; choose another --out"
                )
            return known["name"]
        stem = re.sub(r"[^\w-]+", "_", topic_name).strip("_") or "source"
        taken = {row["name"] for row in self._note["sources"].values()}
        name = next(n for n in (stem, *(f"{stem}-{k}" for k in range(2, len(taken) + 3))) if n not in taken)
        self._note["sources"][key] = {"name": name, "frames": frames, "topic": topic}
        return name

    def begin(self, chunk: Chunk) -> SequenceWriter:
        """A writer for one sequence, which appears in the data set only after its ``finish``."""
        return SequenceWriter(self, chunk)

    def discard_partial(self) -> None:
        """Remove the unfinished sequence of an interrupted run."""
        shutil.rmtree(self.root / _PARTIAL, ignore_errors=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()

    def _add(self, chunk: Chunk, camera: Intrinsics | None, row: dict[str, Any]) -> None:
        if camera is not None or not (self.root / cameras_file.CAMERAS).is_file():
            cameras = cameras_file.read_cameras(self.root)
            sequences = dict(cameras.sequences) | ({} if camera is None else {chunk.name: camera})
            cameras_file.write_cameras(self.root, cameras_file.Cameras(self.labels, cameras.default, sequences))
        # readers find a frame by its image, so images come last
        for kind in (folder.PANOPTIC, folder.DEPTH, folder.IMAGES):
            source = self.root / _PARTIAL / kind / chunk.name
            target = folder.split_folder(self.root, chunk.split) / kind / chunk.name
            shutil.rmtree(target, ignore_errors=True)  # of a run that ended before the sequence was recorded
            if source.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                source.rename(target)
        self.sequences[chunk.name] = row
        write_bytes(self.root / NOTE, (json.dumps(self._note, indent=1) + "\n").encode())


class SequenceWriter:
    """Writes one sequence to a temporary folder."""

    def __init__(self, data: LabelledFolder, chunk: Chunk) -> None:
        self._data, self._chunk = data, chunk
        self._camera: Intrinsics | None = None
        self._written = self._left_out = 0
        self._sure = 0.0
        data.discard_partial()

    def add(self, frame: LabelledFrame, camera: Intrinsics | None) -> None:
        """Write a frame; ``panoptic`` or ``depth`` may be None. A frame without a labelled pixel is left out."""
        labelled = [
            *([] if frame.panoptic is None else [frame.panoptic < VOID]),
            *([] if frame.depth is None else [frame.depth > 0]),
        ]
        sure = float(np.mean(np.logical_or.reduce(labelled))) if labelled else 0.0
        if sure == 0:
            self._left_out += 1
            return
        place = self._data.root / _PARTIAL
        folder.write_frame(
            place, self._chunk.name, frame.name, frame.image, frame.panoptic, frame.depth, self._data.labels
        )
        self._camera = camera
        self._written += 1
        self._sure += sure

    def finish(self) -> None:
        """Move the sequence to its place in the data set and record it as finished."""
        share = round(self._sure / self._written, 4) if self._written else 0.0
        row = {"split": self._chunk.split, "frames": self._written, "left_out": self._left_out, "sure": share}
        self._data._add(self._chunk, self._camera, row)
