"""Segmentation and tracking quality (Weber et al., STEP, NeurIPS 2021), identity switches and fragments."""

from __future__ import annotations

import math

import numpy as np

from dvps_ros.labels import DIVISOR, LabelSet
from dvps_ros.metrics.panoptic import JointCounts, add_pairs, count_pairs

#: Association sums are integer multiples of 1 / _STEPS, so that they do not depend on the order.
_STEPS = 2**32


class TrackingQuality:
    """STQ = sqrt(AQ * SQ), identity switches and fragments.

    AQ is computed for each true thing over a whole sequence: the mean over its pixels of the IoU, in space and time,
    with the predicted thing at the pixel. It is averaged over true things. SQ is the mean IoU of classes. Pixels
    without a true label are ignored. A thing is identified by its panoptic value.

    Switches and fragments are counted as in MOTA, with frames in which a predicted thing of the same class covers the
    true thing with an IoU above 0.5. A switch is a predicted value that differs from the last such frame. A fragment is
    a return after frames in which the thing was visible but not covered.

    Parameters
    ----------
    labels : the class table.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self._is_thing = np.array([*labels.is_thing] + [False] * (256 - len(labels)))
        self._confusion = np.zeros((len(labels), len(labels) + 1), np.int64)
        self._counts = dict.fromkeys(("association", "tubes", "switches", "fragments", "covered", "seen"), 0)
        self._sequence: JointCounts | None = None
        self._last: dict[int, int] = {}
        self._broken: set[int] = set()

    def begin_sequence(self) -> None:
        """Begin another sequence, with new identities."""
        if self._sequence is not None:
            steps, tubes = self._association(self._sequence)
            self._counts["association"] += steps
            self._counts["tubes"] += tubes
        self._sequence, self._last, self._broken = None, {}, set()

    def update_frame(
        self, pred: np.ndarray, true: np.ndarray, classes: tuple[np.ndarray, np.ndarray] | None = None
    ) -> None:
        """Add the next frame; raises as ``count_pairs``.

        Parameters
        ----------
        pred, true : (H, W) integers, class * 1000 + instance, void 255000.
        classes : predicted and true values that SQ compares instead, where the class of more pixels is known than
            their thing, as in a crowd (which SQ counts and AQ does not, as in the authors' evaluation).
        """
        pairs = self._labelled(pred, true)
        compared = pairs if classes is None else self._labelled(*classes)
        columns = np.minimum(compared.predicted_ids // DIVISOR, len(self.labels))
        np.add.at(self._confusion, (compared.true_ids // DIVISOR, columns), compared.areas)
        self._sequence = pairs if self._sequence is None else add_pairs([self._sequence, pairs])
        self._follow(pairs)

    def _labelled(self, pred: np.ndarray, true: np.ndarray) -> JointCounts:
        """The counts of the pixels with a true label."""
        pairs = count_pairs(pred, true)
        labelled = pairs.true_ids // DIVISOR < len(self.labels)
        return JointCounts(pairs.keys[labelled], pairs.areas[labelled])

    def _follow(self, pairs: JointCounts) -> None:
        """Count the switches and fragments of one frame."""
        true, pred, areas, t, p = _tubes(pairs)
        shared = pairs.areas
        iou = shared / (areas[0][t] + areas[1][p] - shared)
        same = true[t] // DIVISOR == pred[p] // DIVISOR
        covering = {
            int(true[a]): int(pred[b]) for a, b in zip(t[same & (iou > 0.5)], p[same & (iou > 0.5)], strict=True)
        }
        for thing in (int(value) for value in true if self._is_thing[value // DIVISOR]):
            self._counts["seen"] += 1
            found = covering.get(thing)
            if found is None:
                self._broken |= {thing} & self._last.keys()
                continue
            self._counts["covered"] += 1
            self._counts["switches"] += self._last.get(thing, found) != found
            self._counts["fragments"] += thing in self._broken
            self._broken.discard(thing)
            self._last[thing] = found

    def _association(self, pairs: JointCounts) -> tuple[int, int]:
        """Sum of the association of a sequence's true things, in steps of 1 / _STEPS, and the number of things."""
        true, pred, areas, t, p = _tubes(pairs)
        both = self._is_thing[true[t] // DIVISOR] & self._is_thing[pred[p] // DIVISOR]
        shared = pairs.areas * both
        iou = shared / (areas[0][t] + areas[1][p] - shared)
        each = np.zeros(len(true))
        np.add.at(each, t, shared * iou / areas[0][t])
        things = self._is_thing[true // DIVISOR]
        return int(np.rint(each[things] * _STEPS).astype(np.int64).sum()), int(things.sum())

    def compute(self) -> dict[str, float]:
        """STQ, AQ and SQ, 0..100, ``switches``, ``fragments``, and the ``covered`` and ``seen`` things of all frames.

        The current sequence ends. A mean over no value is NaN.
        """
        self.begin_sequence()
        counts = self._counts
        aq = 100 * counts["association"] / _STEPS / counts["tubes"] if counts["tubes"] else math.nan
        hit = np.diagonal(self._confusion)
        union = self._confusion.sum(1) + self._confusion[:, :-1].sum(0) - hit
        sq = float(100 * (hit[union > 0] / union[union > 0]).mean()) if (union > 0).any() else math.nan
        rest = {name: counts[name] for name in ("switches", "fragments", "covered", "seen")}
        return {"STQ": math.sqrt(aq * sq), "AQ": aq, "SQ": sq, **rest}

    def state(self) -> dict[str, np.ndarray]:
        """``counts`` (6,) and ``confusion`` (K, K + 1), int64; the sum over disjoint sequences is the state of all."""
        self.begin_sequence()
        return {"counts": np.array(list(self._counts.values()), np.int64), "confusion": self._confusion.copy()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Replace the (6,) counts and the (K, K + 1) confusion. Raises ``ValueError`` for another class table."""
        if np.shape(state["confusion"]) != self._confusion.shape:
            raise ValueError(f"state of shape {np.shape(state['confusion'])}, expected {self._confusion.shape}")
        self._sequence, self._last, self._broken = None, {}, set()
        self._confusion = np.array(state["confusion"], np.int64)
        self._counts = dict(zip(self._counts, map(int, state["counts"]), strict=True))

    def merge(self, other: TrackingQuality) -> None:
        """Add the counts of ``other`` on other sequences."""
        mine, theirs = self.state(), other.state()
        self.load_state({name: mine[name] + theirs[name] for name in mine})


def _tubes(
    pairs: JointCounts,
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """True and predicted values, (T,) and (P,); their pixel counts; and both row indices of each of the N pairs."""
    true, t = np.unique(pairs.true_ids, return_inverse=True)
    pred, p = np.unique(pairs.predicted_ids, return_inverse=True)
    t, p = t.reshape(-1), p.reshape(-1)
    return true, pred, (np.bincount(t, pairs.areas, len(true)), np.bincount(p, pairs.areas, len(pred))), t, p
