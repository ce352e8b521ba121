"""Several data sets mixed for training: each has its share of the places of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dvps_ros.config import SourceConfig
from dvps_ros.datasets.frames import FrameReader, LabelledFrame
from dvps_ros.labels import SemanticTable


class Part(NamedTuple):
    """One data set of a mixture: its configuration and its frames."""

    source: SourceConfig
    reader: FrameReader


class Found(NamedTuple):
    """A frame, and what depends on its data set.

    Attributes
    ----------
    frame : the frame, with the labels that its source asks for.
    table : meaning of the rows of its semantic map.
    turn : index of its sequence in its data set.
    """

    frame: LabelledFrame
    table: SemanticTable
    turn: int


class Mixture:
    """Frames of several data sets by place and epoch. An epoch has as many places as all data sets have frames.

    The places of a part run through its frames in shuffled order, pass after pass, across epochs. A small part with a
    large share is repeated within an epoch. A large part with a small share continues in the next epoch. A single part
    has its frames in order, the same in each epoch.

    Parameters
    ----------
    parts : at least one; the shares of their sources are relative to each other.
    seed : of the orders.
    whole : every frame of every part has one place, in order, whatever the shares: for measuring.
    """

    def __init__(self, parts: Sequence[Part], seed: int, whole: bool = False) -> None:
        self.parts = list(parts)
        self.seed = seed
        self.whole = whole
        frames = [len(part.reader) for part in parts]
        self._counts = frames if whole else _share_out(sum(frames), [part.source.share for part in parts])
        self._starts = np.cumsum([0, *self._counts])
        self._turns = [{name: turn for turn, name in enumerate(part.reader.sequences())} for part in self.parts]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def locate(self, place: int, epoch: int) -> tuple[int, int]:
        """The part at a place of an epoch, and the position of the frame in that part."""
        if len(self.parts) == 1:
            return 0, place
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        if self.whole:
            return number, place - int(self._starts[number])
        frames = len(self.parts[number].reader)
        turn, position = divmod(epoch * self._counts[number] + place - int(self._starts[number]), frames)
        return number, int(_order(self.seed, number, turn, frames)[position])

    def read(self, place: int, epoch: int = 0) -> Found:
        """The frame at a place of an epoch; raises what ``FrameReader.read`` does."""
        number, position = self.locate(place, epoch)
        source, reader = self.parts[number]
        frame = reader.read(position, source.labels)
        return Found(frame, reader.table, self._turns[number][reader.files[position].sequence])


@lru_cache(maxsize=32)
def _order(seed: int, part: int, turn: int, frames: int) -> np.ndarray:
    # the 3 keeps these numbers apart from those of single frames
    return np.random.default_rng((seed, part, turn, 3)).permutation(frames)


def _share_out(places: int, shares: Sequence[float]) -> list[int]:
    """``places`` in proportion to ``shares``, each at least 1 (largest remainder method)."""
    exact = [places * share / sum(shares) for share in shares]
    counts = [max(int(value), 1) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda number: counts[number] - exact[number])
    for number in by_remainder[: max(places - sum(counts), 0)]:
        counts[number] += 1
    return counts
