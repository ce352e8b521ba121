"""Validation pictures: drawn from real scenes, as many as asked for."""

from types import SimpleNamespace

import numpy as np
import torch
from training_scenes import street_target

from dvps_ros.labels import CITYSCAPES
from dvps_ros.structures import Scene, Segment
from dvps_ros.training.pictures import LabelPictures


class Experiment:
    def __init__(self):
        self.pictures = {}

    def add_image(self, name, picture, step, dataformats):
        self.pictures[name] = picture


def perfect_scene(target):
    """The scene a perfect network would give, things with their segments."""
    segments = []
    for value in target.panoptic.unique().tolist():
        if value != 255_000:
            area = int((target.panoptic == value).sum())
            segments.append(Segment(value, value // 1000, value % 1000, 0.9, area, 10.0))
    return Scene(target.panoptic, target.depth, torch.ones_like(target.depth), tuple(segments))


def test_pictures_of_scenes_with_things():
    images, targets = zip(*(street_target(seed) for seed in range(3)), strict=True)
    experiment = Experiment()
    trainer = SimpleNamespace(
        logger=SimpleNamespace(experiment=experiment), is_global_zero=True, sanity_checking=False, global_step=7
    )
    callback = LabelPictures(2, CITYSCAPES, 80.0)
    callback.on_validation_epoch_start()
    callback.on_validation_batch_end(
        trainer, None, [perfect_scene(t) for t in targets], (torch.stack(images), list(targets))
    )
    assert set(experiment.pictures) == {"val/0", "val/1"}
    height, width = images[0].shape[1:]
    for picture, image in zip(experiment.pictures.values(), images, strict=False):
        assert picture.shape == (2 * height, 2 * width, 3)
        assert picture.dtype == np.uint8
        assert (picture[:height, :width] != image.permute(1, 2, 0).numpy()).any()  # something is drawn over it
        np.testing.assert_array_equal(picture[:height, width:], picture[height:, width:])  # the same depth
