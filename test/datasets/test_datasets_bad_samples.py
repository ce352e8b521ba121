"""Samples that cannot be read: named when they end a run, replaced the same way everywhere when they are skipped."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dvps_ros.config import Config, DataConfig, TrainingConfig
from dvps_ros.datasets import cityscapes_dvps, png
from dvps_ros.datasets.frames import split_folder
from dvps_ros.datasets.module import DvpsData, SampleError
from dvps_ros.labels import VOID

H, W, FRAMES = 16, 32, 5
PANOPTIC = np.where(np.arange(W) < 8, 0, 13_002)[None].repeat(H, 0)


def rgb(n):
    return np.full((H, W, 3), 10 + 20 * n, np.uint8)


@pytest.fixture
def config(tmp_path):
    for split in ("train", "val"):
        for n in range(FRAMES):
            depth = np.full((H, W), 5.0 + n)
            cityscapes_dvps.write_frame(split_folder(tmp_path, split), n, 0, rgb(n), PANOPTIC, depth)
    data = DataConfig(
        root=str(tmp_path), crop_height=32, crop_width=32, workers=0, color_jitter=False, on_bad_sample="skip"
    )
    return Config(data=data, training=TrainingConfig(batch_size=2, seed=3))


def file(config, n, kind, split="train"):
    return next(split_folder(config.data.root, split).glob(f"{n:06d}_*_{kind}.png"))


def truncate(config, n):
    path = file(config, n, "leftImg8bit")
    path.write_bytes(path.read_bytes()[:50])
    return path


def wrong_size(config, n):
    path = file(config, n, "depth")
    png.write(path, np.full((H, W - 1), 256, np.uint16))
    return path


def unknown_class(config, n):
    path = file(config, n, "gtFine_instanceTrainIds")
    png.write(path, np.full((H, W), 19_000, np.uint16))
    return path


def depth_limit(config, n):
    path = file(config, n, "depth")
    png.write(path, np.full((H, W), 65_535, np.uint16))
    return path


def no_label(config, n):
    for kind in ("depth", "gtFine_instanceTrainIds"):
        file(config, n, kind).unlink()
    return file(config, n, "leftImg8bit")


def huge(config, n):
    """A whole PNG file whose header promises more pixels than anyone has."""
    path = file(config, n, "leftImg8bit")
    data = bytearray(path.read_bytes())
    data[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    path.write_bytes(data)
    return path


FAULTS = [truncate, wrong_size, unknown_class, depth_limit, no_label, huge]


def opened(config, **changes):
    data = DvpsData(replace(config, data=replace(config.data, **changes)))
    data.setup("fit")
    return data


def one_by_one(config):
    return replace(config, training=replace(config.training, batch_size=1))


def items(data, epoch=0):
    return [data.train[position, epoch] for position in range(FRAMES)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_sample_is_replaced_and_told_of(config, fault):
    clean = items(opened(config))
    path = fault(config, 2)
    found = items(opened(config))
    assert [len(target.skipped) for _, target in found] == [0, 0, 1, 0, 0]
    (reason,) = found[2][1].skipped
    assert reason.startswith(f"{path}: ")
    assert "\n" not in reason
    assert found[2][1].name != clean[2][1].name
    assert (found[2][0] > 0).any(), "a real image took its place"
    # all others are what they were
    for n in (0, 1, 3, 4):
        assert torch.equal(found[n][0], clean[n][0])
        assert torch.equal(found[n][1].depth, clean[n][1].depth)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_sample_is_an_error_by_default(config, fault):
    assert DataConfig().on_bad_sample == "error"
    path = fault(config, 2)
    strict = replace(config.data, on_bad_sample="error")
    if fault is no_label:  # the names of the files tell, before anything is read
        with pytest.raises(ValueError, match="has neither a panoptic nor a depth label") as caught:
            DvpsData(replace(config, data=strict)).setup("fit")
    else:
        data = opened(config, on_bad_sample="error")
        assert data.train[1, 0] is not None
        with pytest.raises(SampleError) as caught:
            data.train[2, 0]
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_processes_pass_the_error_on_as_one_line(config, workers):
    path = truncate(config, 2)
    data = opened(one_by_one(config), on_bad_sample="error", workers=workers)
    batches = list(data.train_dataloader())
    assert len(batches) == FRAMES
    with pytest.raises(SampleError) as caught:
        [data.on_before_batch_transfer(batch, 0) for batch in batches]
    assert str(caught.value) == f"{path}: truncated, a part is missing (data.on_bad_sample=skip trains without it)"


def test_loader_processes_tell_of_skipped_samples(config):
    path = truncate(config, 2)
    loader = opened(one_by_one(config), workers=1).train_dataloader()
    (told,) = [reason for _, targets in loader for target in targets for reason in target.skipped]
    assert told.startswith(f"{path}: truncated")


def test_the_replacement_depends_on_seed_and_epoch_alone(config):
    truncate(config, 2)
    first, again = opened(config), opened(config)
    names = [first.train[2, epoch][1].name for epoch in range(12)]
    assert names == [again.train[2, epoch][1].name for epoch in reversed(range(12))][::-1]
    assert len(set(names)) > 1
    image, target = first.train[2, 4]
    assert torch.equal(image, again.train[2, 4][0])
    assert torch.equal(target.depth, again.train[2, 4][1].depth)


def test_replacements_that_are_broken_too_are_told_of(config):
    for n in (0, 1, 2):
        truncate(config, n)
    seen = [opened(config).train[2, epoch][1] for epoch in range(8)]
    assert {target.name[:6] for target in seen} == {"000003", "000004"}
    assert max(len(target.skipped) for target in seen) > 1


def test_a_split_of_broken_files_alone_ends_the_run(config):
    for n in range(FRAMES):
        truncate(config, n)
    with pytest.raises(SampleError, match="5 samples in a row cannot be read, the last one"):
        opened(config).train[0, 0]


def test_a_broken_validation_frame_counts_for_nothing(config):
    path = file(config, 1, "depth", "val")
    png.write(path, np.full((H, W), 65_535, np.uint16))
    data = opened(config)
    images, targets = next(iter(data.val_dataloader()))
    assert images.shape == (2, 3, 64, 64)
    assert targets[1].skipped[0].startswith(f"{path}: ")
    assert (targets[1].panoptic == VOID).all()
    assert not targets[1].has_panoptic
    assert not targets[1].has_depth
    assert not targets[1].depth.any()
    assert not targets[0].skipped
    with pytest.raises(SampleError, match="65535"):
        opened(config, on_bad_sample="error").val[1]


def test_labels_can_be_left_unread(config):
    depth_limit(config, 0)
    data = opened(config, labels="panoptic", on_bad_sample="error")
    target = data.train[0, 0][1]
    assert target.has_panoptic
    assert not target.has_depth
    assert data.val_labels() == (True, False, False)
    assert opened(config, labels="depth").val_labels() == (False, True, False)
    assert opened(config).val_labels() == (True, True, True)


@pytest.mark.parametrize("kind", ["panoptic", "depth"])
def test_an_image_without_the_label_that_is_required(config, kind):
    names = {"panoptic": "gtFine_instanceTrainIds", "depth": "depth"}
    for n in (1, 3):
        file(config, n, names[kind]).unlink()
    opened(config)  # one of the two is enough
    with pytest.raises(ValueError, match=rf"000001.*has no {kind} label.*nor have 1 other images of train"):
        opened(config, labels=kind, on_bad_sample="error")
    found = items(opened(config, labels=kind))
    assert [bool(target.skipped) for _, target in found] == [False, True, False, True, False]


def test_a_split_without_any_label_is_an_error_even_when_skipping(config):
    for n in range(FRAMES):
        file(config, n, "depth", "val").unlink()
    with pytest.raises(ValueError, match="nor have 4 other images of val"):
        opened(config, labels="depth")


def test_more_processes_than_frames(config):
    with pytest.raises(ValueError, match="5 training frames are fewer than one batch of 2 in each of 3 processes"):
        DvpsData(config, processes=3).setup("fit")
    for n in range(2, FRAMES):
        file(config, n, "leftImg8bit", "val").unlink()
    with pytest.raises(ValueError, match="2 validation frames are fewer than one image in each of 4 processes"):
        DvpsData(one_by_one(config), processes=4).setup("fit")


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_named(config, split):
    for path in split_folder(config.data.root, split).glob("*leftImg8bit*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=f"video_sequence/{split}"):
        opened(config)


def test_no_writer_of_ours_reaches_the_depth_limit():
    depth = np.array([[255.99, 255.994, 255.996, 255.998, 256.0, 300.0, np.inf, np.nan, -1.0, 0.0]])
    steps = png.encode_depth(depth)
    assert steps.max() < 65_535
    assert steps[0, 0] == 65_533
    assert not steps[0, 2:].any()
