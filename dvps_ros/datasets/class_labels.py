"""What label files say of classes: whole segments where they can, and else which classes a pixel may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvps_ros.labels import DIVISOR, VOID, SemanticTable

#: Row of a semantic map where nothing is said.
UNKNOWN = -1


@dataclass(frozen=True)
class ClassLabels:
    """The class labels of one frame.

    Attributes
    ----------
    panoptic : (H, W) int32, class * 1000 + instance, 255000 where no segment is told: unlabelled, or ``semantic`` alone
        knows the class.
    semantic : (H, W) int16 rows of the format's ``SemanticTable`` (-1 unlabelled), at least where ``panoptic`` is void;
        None where it would say no more than ``panoptic``.
    segmented : train ids whose segments ``panoptic`` tells apart, also those of which the picture has none; None: all.
    """

    panoptic: np.ndarray
    semantic: np.ndarray | None = None
    segmented: frozenset[int] | None = None


def from_panoptic(panoptic: np.ndarray, alone: np.ndarray, table: SemanticTable) -> ClassLabels:
    """Labels of a panoptic file.

    Parameters
    ----------
    panoptic : (H, W) int32, class * 1000 + instance, 255000 void.
    alone : (H, W) bool, pixels for which the file gives a class and no instance.
    table : with a row for each class alone, see ``SemanticTable.with_classes``.

    Stuff needs no instance. Things without one (a crowd of people, or the whole file was made without instances) are
    no segment. Where none of a picture's things has an instance, things as such are not told apart.
    """
    is_thing = np.zeros(VOID // DIVISOR + 1, bool)
    is_thing[list(table.labels.things)] = True
    classes = panoptic // DIVISOR
    things = is_thing[classes]
    alone = alone & things
    if not alone.any():
        return ClassLabels(panoptic)
    told = things & ~alone
    return ClassLabels(
        np.where(alone, VOID, panoptic).astype(np.int32),
        all_rows(panoptic, None, table),
        None if told.any() else frozenset(table.labels.stuff),
    )


def from_values(values: np.ndarray, table: SemanticTable) -> ClassLabels:
    """Labels of a file without instances: (H, W) int values of the table; all others are unlabelled."""
    rows, segments = np.full(256, UNKNOWN, np.int16), np.full(len(table) + 1, VOID, np.int32)
    for row, (value, stuff) in enumerate(zip(table.values, table.stuff, strict=True)):
        if value >= 0:
            rows[value] = row
        if stuff is not None:
            segments[row] = stuff * DIVISOR
    semantic = np.where((values >= 0) & (values < 256), rows[np.clip(values, 0, 255)], UNKNOWN).astype(np.int16)
    segmented = frozenset(k for k, value in zip(table.stuff, table.values, strict=True) if k is not None and value >= 0)
    return ClassLabels(segments[semantic], semantic, segmented)


def joined(panoptic: ClassLabels, semantic: ClassLabels) -> ClassLabels:
    """Both labels of one frame, which do not disagree: segments of the one, classes of the other where it has none."""
    rows = _rows(semantic)
    if panoptic.semantic is not None:
        rows = np.where((rows == UNKNOWN) & (panoptic.panoptic == VOID), panoptic.semantic, rows)
    return ClassLabels(panoptic.panoptic, rows, panoptic.segmented)


def _rows(semantic: ClassLabels) -> np.ndarray:
    assert semantic.semantic is not None, "a semantic label has rows of its table"
    return semantic.semantic


def disagreement(panoptic: ClassLabels, semantic: ClassLabels, table: SemanticTable) -> str | None:
    """Where a panoptic and a semantic label of one frame exclude each other, in words, or None."""
    own = all_rows(panoptic.panoptic, panoptic.semantic, table)
    given = _rows(semantic)
    both = (own != UNKNOWN) & (given != UNKNOWN)
    member = membership(table).astype(int)
    wrong = both & ~((member @ member.T) > 0)[given, own]
    if not wrong.any():
        return None
    row, column = np.argwhere(wrong)[0]
    one, other = (table.names[rows[row, column]] for rows in (given, own))
    return f"says {one} where the panoptic label says {other} ({np.count_nonzero(wrong)} pixels disagree)"


def all_rows(panoptic: np.ndarray, semantic: np.ndarray | None, table: SemanticTable) -> np.ndarray:
    """(H, W) int16 rows of ``table``, -1 unlabelled: what is known of the class of every pixel.

    Parameters
    ----------
    panoptic, semantic : (H, W), as in ``ClassLabels``; what a segment tells comes first.
    """
    own = np.full(VOID // DIVISOR + 1, UNKNOWN, np.int16)
    own[: len(table.labels)] = [table.sets.index(frozenset({k})) for k in range(len(table.labels))]
    rows = own[panoptic // DIVISOR]
    return rows if semantic is None else np.where(panoptic == VOID, semantic, rows)


def membership(table: SemanticTable) -> np.ndarray:
    """(V, K) bool: whether value row v may be class k."""
    member = np.zeros((len(table), len(table.labels)), bool)
    for row, classes in enumerate(table.sets):
        member[row, sorted(classes)] = True
    return member
