"""Class labels of a frame: segments where a file has instances, elsewhere the set of classes that a pixel may have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvps_ros.labels import DIVISOR, VOID, SemanticTable

#: Row of unlabelled pixels in a semantic map.
UNKNOWN = -1


@dataclass(frozen=True)
class ClassLabels:
    """The class labels of one frame.

    Attributes
    ----------
    panoptic : (H, W) int32, class * 1000 + instance; 255000 where the pixel is unlabelled or only ``semantic`` has its
        class.
    semantic : (H, W) int16 rows of the format's ``SemanticTable`` (-1 unlabelled), at least where ``panoptic`` is void;
        None if it adds nothing to ``panoptic``.
    segmented : train ids of the classes whose segments ``panoptic`` separates, whether they occur or not; None: all.
    """

    panoptic: np.ndarray
    semantic: np.ndarray | None = None
    segmented: frozenset[int] | None = None


def from_panoptic(panoptic: np.ndarray, class_only: np.ndarray, table: SemanticTable) -> ClassLabels:
    """Labels of a panoptic file.

    Parameters
    ----------
    panoptic : (H, W) int32, class * 1000 + instance, 255000 void.
    class_only : (H, W) bool, pixels for which the file gives a class and no instance.
    table : has a row for each single class, see ``SemanticTable.with_classes``.

    Stuff needs no instance. Things without one form no segment: a crowd of people, or a file without instances. If no
    thing of the frame has an instance, ``segmented`` holds stuff only.
    """
    is_thing = np.zeros(VOID // DIVISOR + 1, bool)
    is_thing[list(table.labels.things)] = True
    classes = panoptic // DIVISOR
    things = is_thing[classes]
    crowd = class_only & things
    if not crowd.any():
        return ClassLabels(panoptic)
    instances = things & ~crowd
    return ClassLabels(
        np.where(crowd, VOID, panoptic).astype(np.int32),
        all_rows(panoptic, None, table),
        None if instances.any() else frozenset(table.labels.stuff),
    )


def from_values(values: np.ndarray, table: SemanticTable) -> ClassLabels:
    """Labels of a file without instances. ``values`` are (H, W) int; those that the table lacks are unlabelled."""
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
    """Both labels of one frame, which must agree: segments of ``panoptic``; elsewhere the classes of ``semantic``."""
    rows = _rows(semantic)
    if panoptic.semantic is not None:
        rows = np.where((rows == UNKNOWN) & (panoptic.panoptic == VOID), panoptic.semantic, rows)
    return ClassLabels(panoptic.panoptic, rows, panoptic.segmented)


def _rows(semantic: ClassLabels) -> np.ndarray:
    assert semantic.semantic is not None, "a semantic label has rows of its table"
    return semantic.semantic


def disagreement(panoptic: ClassLabels, semantic: ClassLabels, table: SemanticTable) -> str | None:
    """A message about the pixels at which the two labels of a frame exclude each other, or None."""
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
    """(H, W) int16 rows of ``table``, -1 unlabelled: the classes that each pixel may have.

    Parameters
    ----------
    panoptic, semantic : (H, W), as in ``ClassLabels``; ``panoptic`` takes precedence.
    """
    own = np.full(VOID // DIVISOR + 1, UNKNOWN, np.int16)
    own[: len(table.labels)] = [table.sets.index(frozenset({k})) for k in range(len(table.labels))]
    rows = own[panoptic // DIVISOR]
    return rows if semantic is None else np.where(panoptic == VOID, semantic, rows)


def with_known_classes(panoptic: np.ndarray, semantic: np.ndarray | None, table: SemanticTable) -> np.ndarray:
    """(H, W) int32 ``panoptic`` with class * 1000 where only the class is known, and that is a single one.

    Parameters as in ``all_rows``.
    """
    if semantic is None:
        return panoptic
    values = np.full(len(table) + 1, VOID, np.int32)  # the last one is read by -1
    for row, classes in enumerate(table.sets):
        if len(classes) == 1:
            values[row] = min(classes) * DIVISOR
    return np.where(panoptic == VOID, values[semantic], panoptic)


def membership(table: SemanticTable) -> np.ndarray:
    """(V, K) bool: whether value row v may be class k."""
    member = np.zeros((len(table), len(table.labels)), bool)
    for row, classes in enumerate(table.sets):
        member[row, sorted(classes)] = True
    return member
