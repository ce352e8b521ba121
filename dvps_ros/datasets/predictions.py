"""Predictions as PNG files that the data sets' official evaluation scripts read (Qiao et al., ViP-DeepLab, CVPR 2021).

``folder/panoptic`` and ``folder/depth`` are the scripts' ``--pan_dir`` and ``--depth_dir``. Depth is 16 bit,
metres * 256. Cityscapes-DVPS has one RGB file per frame: red is the class, green the instance. SemKITTI-DVPS has
``*_cat.png`` (8 bit class) and ``*_ins.png`` (16 bit instance). Unlabelled pixels get class 19, which the scripts
ignore.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvps_ros.datasets import png
from dvps_ros.datasets.frames import FrameFiles
from dvps_ros.labels import CITYSCAPES, DIVISOR, LabelSet

#: Largest instance number of the 8-bit green channel.
_MOST_INSTANCES = 255


class PredictionWriter:
    """Writes the predictions of a split, frame by frame, into ``folder``, which the first frame creates.

    ``labels`` selects the layout: SemKITTI-DVPS or Cityscapes-DVPS.
    """

    def __init__(self, folder: Path, labels: LabelSet) -> None:
        self.folder = Path(folder)
        self.labels = labels
        self._sequence: int | None = None
        self._numbers: dict[int, int] = {}

    def write(self, files: FrameFiles, panoptic: np.ndarray, depth: np.ndarray) -> None:
        """Write one frame under the name of ``files``.

        Parameters
        ----------
        panoptic : (H, W) int, class * 1000 + instance, 255000 unlabelled.
        depth : (H, W) metres.
        """
        classes, instances = panoptic // DIVISOR, panoptic % DIVISOR
        unlabelled = classes >= len(self.labels)
        classes = np.where(unlabelled, len(self.labels), classes).astype(np.uint8)
        instances = np.where(unlabelled, 0, instances)
        if self.labels is CITYSCAPES:
            if files.sequence != self._sequence:
                self._sequence, self._numbers = files.sequence, {}
            channels = (classes, self._renumbered(panoptic, instances), np.zeros_like(classes))
            png.write(self.folder / "panoptic" / f"{files.name}.png", np.stack(channels, axis=-1))
        else:
            png.write(self.folder / "panoptic" / f"{files.name}_cat.png", classes)
            png.write(self.folder / "panoptic" / f"{files.name}_ins.png", instances.astype(np.uint16))
        png.write(self.folder / "depth" / f"{files.name}.png", png.encode_depth(depth))

    def _renumbered(self, panoptic: np.ndarray, instances: np.ndarray) -> np.ndarray:
        """(H, W) uint8 instance numbers, constant within a sequence, as track numbers may not fit 8 bits.

        Each class counts from 1 in order of appearance. The 256th thing of a class in a sequence gets 1 again.
        """
        numbers = np.zeros(instances.shape, np.uint8)
        for value in np.unique(panoptic[instances > 0]).tolist():
            if value not in self._numbers:
                earlier = sum(other // DIVISOR == value // DIVISOR for other in self._numbers)
                self._numbers[value] = earlier % _MOST_INSTANCES + 1
            numbers[panoptic == value] = self._numbers[value]
        return numbers
