"""Panoptic quality (Kirillov et al., CVPR 2019): agreement of predicted and true segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dvps_ros.labels import DIVISOR, VOID, VOID_CLASS, LabelSet

#: Ids lie below this; used to join a true and a predicted id into one number.
_IDS = (VOID_CLASS + 1) * DIVISOR
#: IoU sums are integer multiples of 1 / _IOU_STEPS, so that they do not depend on the order. One class can have
#: 2**63 / _IOU_STEPS = 8 million true positives.
_IOU_STEPS = 2**40


@dataclass(frozen=True)
class JointCounts:
    """Number of common pixels of each pair of a true and a predicted segment.

    Attributes
    ----------
    keys : (N,) int64, ascending; true id * 256000 + predicted id.
    areas : (N,) int64 pixels.
    """

    keys: np.ndarray
    areas: np.ndarray

    @property
    def true_ids(self) -> np.ndarray:
        """(N,) id of the true segment."""
        return self.keys // _IDS

    @property
    def predicted_ids(self) -> np.ndarray:
        """(N,) id of the predicted segment."""
        return self.keys % _IDS


def count_pairs(pred: np.ndarray, true: np.ndarray) -> JointCounts:
    """Joint pixel counts of two maps of the same shape.

    Parameters
    ----------
    pred, true : integer arrays, class * 1000 + instance, 255000 void; an id outside 0..255999 counts as void.

    Raises
    ------
    ValueError : shapes differ, or the ids are not integers.
    """
    pred, true = np.asarray(pred), np.asarray(true)
    if pred.shape != true.shape:
        raise ValueError(f"predicted map of shape {pred.shape}, true map of shape {true.shape}")
    if not (np.issubdtype(pred.dtype, np.integer) and np.issubdtype(true.dtype, np.integer)):
        raise ValueError(f"panoptic maps must hold integers, got {pred.dtype} and {true.dtype}")
    pred_ids, pred_index = _compact(pred)
    true_ids, true_index = _compact(true)
    areas = np.bincount(true_index * pred_ids.size + pred_index, minlength=true_ids.size * pred_ids.size)
    pairs = np.flatnonzero(areas)
    if not pairs.size:
        return JointCounts(np.empty(0, np.int64), np.empty(0, np.int64))
    keys = true_ids[pairs // pred_ids.size] * _IDS + pred_ids[pairs % pred_ids.size]
    return JointCounts(keys, areas[pairs].astype(np.int64))


def only_classes(panoptic: np.ndarray, classes: frozenset[int] | None) -> np.ndarray:
    """A map of any shape, class * 1000 + instance, with void for other classes than ``classes`` (None: no change).

    It is used for predictions if the labels separate segments of these classes only.
    """
    if classes is None:
        return panoptic
    return np.where(np.isin(np.asarray(panoptic) // DIVISOR, sorted(classes)), panoptic, VOID)


def add_pairs(counts: list[JointCounts]) -> JointCounts:
    """The joint counts of several frames; equal ids in different frames are one segment (a tube)."""
    if len(counts) == 1:
        return counts[0]
    keys, inverse = np.unique(np.concatenate([c.keys for c in counts]), return_inverse=True)
    areas = np.zeros(keys.size, np.int64)
    np.add.at(areas, inverse.reshape(-1), np.concatenate([c.areas for c in counts]))
    return JointCounts(keys, areas)


class PanopticQuality:
    """PQ, SQ and RQ over all images so far.

    A predicted and a true segment of one class match if their IoU exceeds 0.5, so each has at most one match. The union
    excludes pixels whose truth is void. An unmatched predicted segment with more than half of its pixels on void is not
    a false positive. The state is four counts per class over the whole split.

    Parameters
    ----------
    labels : the class table; ids of other classes are void.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        # rows: IoU steps, true positives, false positives, false negatives
        self._counts = np.zeros((4, len(labels)), np.int64)

    def update(self, pred: np.ndarray, true: np.ndarray) -> None:
        """Add an image: integer maps (H, W), class * 1000 + instance, 255000 void; raises as ``count_pairs``."""
        self.update_pairs(count_pairs(pred, true))

    def update_pairs(self, pairs: JointCounts) -> None:
        """Add an image, or a window of frames, by its joint pixel counts."""
        classes = len(self.labels)
        true_void = pairs.true_ids // DIVISOR >= classes
        true_ids, true_index = np.unique(pairs.true_ids, return_inverse=True)
        pred_ids, pred_index = np.unique(pairs.predicted_ids, return_inverse=True)
        true_area = np.bincount(true_index.reshape(-1), pairs.areas, true_ids.size)
        pred_area = np.bincount(pred_index.reshape(-1), pairs.areas, pred_ids.size)
        on_void = np.bincount(pred_index.reshape(-1), pairs.areas * true_void, pred_ids.size)

        true_class, pred_class = true_ids // DIVISOR, pred_ids // DIVISOR
        t, p = true_index.reshape(-1), pred_index.reshape(-1)
        candidate = (true_class[t] == pred_class[p]) & ~true_void
        t, p, shared = t[candidate], p[candidate], pairs.areas[candidate]
        iou = shared / (true_area[t] + pred_area[p] - shared - on_void[p])
        matched = iou > 0.5
        t, p, iou = t[matched], p[matched], iou[matched]

        missed = np.delete(true_class, t)
        false = np.delete(np.where(on_void > 0.5 * pred_area, VOID_CLASS, pred_class), p)
        np.add.at(self._counts[0], true_class[t], np.rint(iou * _IOU_STEPS).astype(np.int64))
        for row, members in ((1, true_class[t]), (2, false), (3, missed)):
            self._counts[row] += np.bincount(members[members < classes], minlength=classes).astype(np.int64)

    def compute(self) -> dict[str, Any]:
        """The measures over all images so far, 0..100.

        Returns
        -------
        ``{"all": {"PQ", "SQ", "RQ"}, "thing": .., "stuff": .., "per_class": {name: {"PQ", "SQ", "RQ", "TP", "FP",
        "FN"}}, "absent": [names]}``. A class in neither truth nor prediction is absent: it is left out of ``per_class``
        and of the means. A mean over no class is NaN.
        """
        steps, tp, fp, fn = self._counts
        rows, absent = {}, []
        for index, name in enumerate(self.labels.names):
            if not (tp[index] or fp[index] or fn[index]):
                absent.append(name)
                continue
            sq = 100.0 * int(steps[index]) / _IOU_STEPS / max(int(tp[index]), 1)
            rq = float(tp[index] / (tp[index] + 0.5 * fp[index] + 0.5 * fn[index]))
            rows[index] = {"PQ": sq * rq, "SQ": sq, "RQ": 100.0 * rq}
        result: dict[str, Any] = {
            group: {key: _mean([rows[i][key] for i in members if i in rows]) for key in ("PQ", "SQ", "RQ")}
            for group, members in (
                ("all", range(len(self.labels))),
                ("thing", self.labels.things),
                ("stuff", self.labels.stuff),
            )
        }
        result["per_class"] = {
            self.labels.names[i]: {**row, "TP": int(tp[i]), "FP": int(fp[i]), "FN": int(fn[i])}
            for i, row in rows.items()
        }
        result["absent"] = absent
        return result

    def state(self) -> np.ndarray:
        """(4, K) int64 counts; the sum of the states of all parts of a split is the state of the whole."""
        return self._counts.copy()

    def load_state(self, state: np.ndarray) -> None:
        """Replace the counts by a (4, K) state. Raises ``ValueError`` if it has another class table."""
        state = np.asarray(state, np.int64)
        if state.shape != self._counts.shape:
            raise ValueError(f"state of shape {state.shape}, expected {self._counts.shape}")
        self._counts = state.copy()

    def merge(self, other: PanopticQuality) -> None:
        """Add the counts of ``other``."""
        self.load_state(self._counts + other.state())


def _compact(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct ids, and the index of each pixel's id. A look-up table is far faster than sorting."""
    # int64 first: clipping or comparing an unsigned map could wrap around
    flat = ids.reshape(-1).astype(np.int64)
    flat[(flat < 0) | (flat >= _IDS)] = VOID
    present = np.zeros(_IDS, bool)
    present[flat] = True
    distinct = np.flatnonzero(present)
    table = np.empty(_IDS, np.int64)
    table[distinct] = np.arange(distinct.size)
    return distinct, table[flat]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
