"""Augmentation: labels, depth and camera stay those of one camera that could have taken the image."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dvps_ros.camera.resizing import PADDING, resize, to_budget
from dvps_ros.config import Config, DataConfig, InputConfig, NetworkConfig, TrainingConfig
from dvps_ros.datasets import cityscapes_dvps
from dvps_ros.datasets.frames import LabelledFrame, split_folder
from dvps_ros.datasets.module import DvpsData, collate
from dvps_ros.datasets.samplers import EpochSampler, ShareSampler
from dvps_ros.datasets.targets import build_target
from dvps_ros.datasets.transforms import (
    Window,
    apply_window,
    as_at_run_time,
    jitter_color,
    random_window,
    restore_padding,
    whole_window,
)
from dvps_ros.labels import CITYSCAPES, SEMKITTI, VOID
from dvps_ros.structures import Intrinsics

HEIGHT, WIDTH = 40, 60
CAMERA = Intrinsics(50.0, 50.0, 31.0, 18.0, WIDTH, HEIGHT)


def plane_frame():
    """A slanted plane z = 10 + 0.1 x + 0.3 y: depth at a pixel tells which camera looks."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    ray_x, ray_y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    depth = 10 / (1 - 0.1 * ray_x - 0.3 * ray_y)
    image = np.stack([u * 4, v * 4, (u + v) * 2], -1).astype(np.uint8)
    panoptic = np.where(v < 20, 10_000, np.where(u < 30, 0, 13_001)).astype(np.int32)
    return LabelledFrame(image, panoptic, depth.astype(np.float32), CAMERA, "plane")


def plane_depth(camera, mirrored):
    v, u = np.mgrid[: camera.height, : camera.width]
    ray_x, ray_y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return 10 / (1 - (-0.1 if mirrored else 0.1) * ray_x - 0.3 * ray_y)


@pytest.mark.parametrize("scale", [0.5, 0.77, 1.0, 1.6, 2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_depth_and_camera_stay_true(scale, flip):
    seen = apply_window(plane_frame(), Window(scale, scale, 4, 6, 12, 20, flip))
    assert seen.image.shape == (12, 20, 3)
    assert (seen.intrinsics.height, seen.intrinsics.width) == (12, 20)
    assert seen.intrinsics.fx == pytest.approx(scale * CAMERA.fx)
    # nearest sampling moves a depth by at most half a source pixel: 0.3 * 10 / 50 / 2 and as much again for x
    assert np.abs(seen.depth - plane_depth(seen.intrinsics, flip)).max() < 0.07


def test_identity_changes_nothing():
    frame = plane_frame()
    seen = apply_window(frame, whole_window(as_at_run_time(frame, 0)))
    assert np.array_equal(seen.image, frame.image)
    assert np.array_equal(seen.panoptic, frame.panoptic)
    assert np.array_equal(seen.depth, frame.depth)
    assert seen.intrinsics == frame.intrinsics


def test_mirroring_moves_the_principal_point():
    frame = plane_frame()
    seen = apply_window(frame, Window(1.0, 1.0, 0, 0, HEIGHT, WIDTH, flip=True))
    assert np.array_equal(seen.image, frame.image[:, ::-1])
    assert np.array_equal(seen.panoptic, frame.panoptic[:, ::-1])
    assert seen.intrinsics.cx == WIDTH - 1 - CAMERA.cx
    assert seen.intrinsics.cy == CAMERA.cy


def test_halving_averages_the_image_and_keeps_ids():
    frame = plane_frame()
    seen = apply_window(frame, whole_window(as_at_run_time(frame, HEIGHT * WIDTH // 4)))
    blocks = frame.image.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3))
    assert np.abs(seen.image - blocks).max() <= 1
    assert set(np.unique(seen.panoptic)) == set(np.unique(frame.panoptic))
    assert seen.intrinsics == CAMERA.resized(WIDTH // 2, HEIGHT // 2)


@pytest.mark.parametrize("scale", [0.95, 0.61, 0.37, 0.25])
def test_training_sees_what_the_robot_sees(scale):
    """Both shrink by means over all pixels; samples of a few would show patterns that no robot sees."""
    noise = np.random.default_rng(0).integers(0, 256, (117, 241, 3), dtype=np.uint8)
    camera = Intrinsics(100.0, 100.0, 120.0, 58.0, 241, 117)
    frame = LabelledFrame(noise, None, None, camera, "")
    how = as_at_run_time(frame, round(117 * 241 * scale**2))
    there = resize(torch.from_numpy(noise).permute(2, 0, 1)[None], how)[0].permute(1, 2, 0).numpy()
    here = apply_window(frame, whole_window(how)).image
    assert abs(here.astype(int) - there).mean() < 0.5
    flipped = apply_window(frame, replace(whole_window(how), flip=True)).image
    assert abs(flipped[:, ::-1].astype(int) - there).mean() < 0.5


def test_labels_and_image_move_together():
    # the left half of the image is bright exactly where the label is a car
    frame = plane_frame()
    panoptic = np.where(np.arange(WIDTH) < 25, 13_001, 0)[None].repeat(HEIGHT, 0).astype(np.int32)
    image = np.where(panoptic[..., None] > 0, 255, 0).repeat(3, 2).astype(np.uint8)
    for flip in (False, True):
        seen = apply_window(replace(frame, image=image, panoptic=panoptic), Window(1.75, 1.75, 9, 3, 30, 70, flip))
        assert np.mean((seen.image[..., 0] > 127) == (seen.panoptic > 0)) == 1.0


@pytest.mark.parametrize("flip", [False, True])
def test_padding_has_no_labels(flip):
    frame = replace(plane_frame(), image=np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    seen = apply_window(frame, Window(0.5, 0.5, 0, 0, 30, 50, flip))
    inside = np.zeros((30, 50), bool)
    inside[:20, 20 * flip : 30 + 20 * flip] = True
    assert (seen.panoptic[~inside] == VOID).all()
    assert (seen.panoptic[inside] != VOID).all()
    assert (seen.depth[~inside] == 0).all()
    assert (seen.depth[inside] > 0).all()
    assert (seen.image[~inside] == PADDING).all()
    assert (seen.image[inside] == 200).all()


def test_labels_end_where_the_picture_ends_to_the_pixel():
    """At twice the size the border lies between two pixels of the window, on all four sides."""
    seen = apply_window(plane_frame(), Window(2.0, 2.0, -3, -2, 2 * HEIGHT + 4, 2 * WIDTH + 6))
    inside = np.zeros((2 * HEIGHT + 4, 2 * WIDTH + 6), bool)
    inside[2:-2, 3:-3] = True
    assert np.array_equal(seen.panoptic != VOID, inside)
    assert np.array_equal(seen.depth > 0, inside)
    assert np.array_equal((seen.image == PADDING).all(-1), ~inside)


def test_random_windows_stay_in_range_and_repeat_with_their_seed():
    config, whole = DataConfig(), to_budget((100, 200))
    windows = [random_window(whole, (32, 32), config, np.random.default_rng(seed)) for seed in range(200)]
    assert windows == [random_window(whole, (32, 32), config, np.random.default_rng(seed)) for seed in range(200)]
    scales = [w.scale_x for w in windows]
    assert min(scales) >= 0.5
    assert min(scales) < 0.6
    assert max(scales) <= 2.0
    assert max(scales) > 1.9
    assert {w.flip for w in windows} == {False, True}
    assert all(
        0 <= w.left <= round(200 * w.scale_x) - 32 and 0 <= w.top <= round(100 * w.scale_y) - 32 for w in windows
    )
    small = random_window(to_budget((10, 10)), (32, 64), config, np.random.default_rng(0))
    assert (small.left, small.top, small.height, small.width) == (0, 0, 32, 64)


def test_color_jitter_varies_within_bounds():
    image = np.full((4, 4, 3), (90, 120, 150), np.uint8)
    seen = [jitter_color(image, np.random.default_rng(seed)) for seed in range(100)]
    assert all(s.dtype == np.uint8 and s.shape == image.shape for s in seen)
    means = [s.mean() for s in seen]
    assert min(means) < 90
    assert max(means) > 150
    assert any(np.abs(s.astype(int) - image).max() <= 1 for s in seen)  # sometimes nothing is drawn
    assert (image == (90, 120, 150)).all()


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (
            {"hue": 18.0},
            (200, 130, 100),
        ),  # 18 degrees from red (0) towards yellow (60): green rises by 0.3 of the range
        ({"hue": -18.0}, (200, 100, 130)),
        ({"saturation": 0.5}, (200, 150, 150)),
        ({"contrast": 0.5}, (100, 50, 50)),
        ({"brightness": 20.0}, (220, 120, 120)),
    ],
)
def test_each_change_of_color_alone(drawn, expected):
    image = np.full((1, 1, 3), (200, 100, 100), np.uint8)
    seen = jitter_color(image, Drawn(drawn))[0, 0]
    assert np.abs(seen.astype(int) - expected).max() <= 3  # OpenCV keeps hue in steps of two degrees


class Drawn:
    """A random generator that draws what it is told: a coin that is heads where a value follows."""

    def __init__(self, values):
        self.coins = [name in values for name in ("brightness", "contrast", "saturation", "hue")]
        self.values = [values[name] for name in ("brightness", "contrast", "saturation", "hue") if name in values]

    def random(self):
        return 0.0 if not self.coins or self.coins.pop(0) else 1.0

    def uniform(self, low, high):
        assert low <= self.values[0] <= high
        return self.values.pop(0)


def test_target_has_one_mask_per_segment():
    frame = plane_frame()
    panoptic = frame.panoptic.copy()
    panoptic[:5, :5] = VOID
    panoptic[30:, 50:] = 13_002
    panoptic[39, :10] = 7  # stuff with an instance number merges into its class
    target = build_target(replace(frame, panoptic=panoptic), CITYSCAPES)
    assert target.classes.tolist() == [0, 10, 13, 13]
    assert target.classes.dtype == torch.int64
    assert target.masks.dtype == torch.bool
    assert target.masks.shape == (4, HEIGHT, WIDTH)
    assert torch.equal(target.masks.sum(0), (target.panoptic != VOID).long())
    assert torch.equal(target.labelled, target.panoptic != VOID)
    assert target.masks[0, 39, :10].all()
    assert target.masks[3].sum() == 100
    assert torch.equal(target.depth, torch.from_numpy(frame.depth))
    assert target.name == "plane"


def test_same_class_number_is_a_thing_in_one_table_and_stuff_in_the_other():
    frame = replace(plane_frame(), panoptic=np.where(np.arange(WIDTH) < 9, 1, 2)[None].repeat(HEIGHT, 0))
    assert build_target(frame, SEMKITTI).classes.tolist() == [0, 0]
    assert build_target(frame, CITYSCAPES).classes.tolist() == [0]


def test_canonical_focal_rescales_depth_after_resizing():
    frame = plane_frame()
    seen = apply_window(frame, whole_window(as_at_run_time(frame, HEIGHT * WIDTH * 4)))
    target = build_target(seen, CITYSCAPES, canonical_focal=25.0)
    # fx is 100 at network resolution: the canonical camera would see all of it four times nearer
    assert np.allclose(target.depth.numpy(), seen.depth / 4, rtol=1e-6)


def test_missing_labels_are_said_so():
    frame = plane_frame()
    target = build_target(replace(frame, panoptic=None), CITYSCAPES)
    assert (target.has_panoptic, target.has_depth) == (False, True)
    assert target.masks.shape == (0, HEIGHT, WIDTH)
    assert not target.labelled.any()
    target = build_target(replace(frame, depth=None), CITYSCAPES)
    assert (target.has_panoptic, target.has_depth) == (True, False)
    assert not target.depth.any()


def test_collate_pads_to_the_largest():
    items = []
    for height, width in ((8, 12), (10, 6)):
        frame = LabelledFrame(
            np.full((height, width, 3), 9, np.uint8),
            np.zeros((height, width), np.int32),
            np.ones((height, width), np.float32),
            CAMERA,
            "x",
        )
        items.append((torch.from_numpy(frame.image.transpose(2, 0, 1).copy()), build_target(frame, CITYSCAPES)))
    images, targets = collate(items)
    assert images.shape == (2, 3, 10, 12)
    assert images[0, :, 9].T.tolist() == [list(PADDING)] * 12
    assert [t.masks.shape for t in targets] == [(1, 10, 12)] * 2
    assert [int(t.labelled.sum()) for t in targets] == [96, 60]
    assert (targets[1].panoptic[:, 6:] == VOID).all()
    assert (targets[1].depth[:, 6:] == 0).all()


@pytest.fixture
def config(tmp_path):
    for split, sequences in (("train", 3), ("val", 2)):
        for sequence in range(sequences):
            for n in range(2):
                frame = plane_frame()
                cityscapes_dvps.write_frame(
                    split_folder(tmp_path, split), sequence, n, frame.image, frame.panoptic, frame.depth
                )
            cityscapes_dvps.write_cameras(split_folder(tmp_path, split), {sequence: CAMERA})
    return Config(
        data=DataConfig(root=str(tmp_path), crop_height=32, crop_width=32, workers=0),
        training=TrainingConfig(batch_size=2, seed=5),
        input=InputConfig(32 * 64),
        network=NetworkConfig(canonical_focal=50.0),
    )


def epoch(config, number, workers=0):
    data = DvpsData(replace(config, data=replace(config.data, workers=workers)))
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def test_loaders_give_crops_and_whole_frames(config):
    data = DvpsData(config)
    data.setup()
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    images, targets = batches[0]
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert all(t.masks.shape[1:] == (32, 32) for t in targets)
    batches = list(data.val_dataloader())
    assert [b[0].shape for b in batches] == [(2, 3, 36, 55)] * 2  # 60 x 40 by one factor
    assert [t.name[:13] for b in batches for t in b[1]] == [
        "000000_000000",
        "000000_000001",
        "000001_000000",
        "000001_000001",
    ]
    # smaller by the root of 2048 / 2400: fx 46.2 for a canonical 50
    ratio = batches[0][1][0].depth.max() / plane_frame().depth.max()
    assert float(ratio) == pytest.approx((2400 / 2048) ** 0.5, rel=0.01)


def test_an_epoch_repeats_with_its_seed_whatever_the_workers(config):
    first, again, other = epoch(config, 0), epoch(config, 0, workers=1), epoch(config, 1)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert all(
        torch.equal(s.panoptic, t.panoptic)
        for a, b in zip(first, again, strict=True)
        for s, t in zip(a[1], b[1], strict=True)
    )
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))
    reseeded = epoch(replace(config, training=replace(config.training, seed=6)), 0)
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, reseeded, strict=True))


def test_processes_share_the_frames():
    frames = list(range(7))
    shares = [list(ShareSampler(frames, 3, rank)) for rank in range(3)]
    assert sorted(p for share in shares for p in share) == frames
    assert [len(ShareSampler(frames, 3, rank)) for rank in range(3)] == [3, 2, 2]
    drawn = [place for rank in range(2) for place in EpochSampler(list(range(6)), 2, 2, rank, seed=1)]
    assert sorted(place.position for place in drawn) == list(range(6))
    assert [place.batch for place in drawn] == [0, 0, 1] * 2


def test_a_run_that_cannot_start_says_why(config):
    with pytest.raises(ValueError, match="6 training frames"):
        DvpsData(replace(config, training=TrainingConfig(batch_size=8))).setup("fit")
    with pytest.raises(ValueError, match="semkitti"):
        DvpsData(replace(config, labels="semkitti")).setup("fit")
    with pytest.raises(ValueError, match="thirds needs labels=both"):
        DvpsData(replace(config, data=replace(config.data, supervision="thirds", labels="depth"))).setup("fit")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        DvpsData(replace(config, data=replace(config.data, root="nowhere"))).setup("fit")


def test_varied_colors_leave_the_padding():
    size, window = (20, 30), Window(1.0, 1.0, -4, -6, 32, 48, flip=True)
    rng = np.random.default_rng(0)
    frame = LabelledFrame(
        rng.integers(0, 255, (*size, 3), dtype=np.uint8), None, None, Intrinsics(30, 30, 14.5, 9.5, 30, 20), ""
    )
    seen = apply_window(frame, window).image
    outside = (seen == np.array(PADDING, np.uint8)).all(-1)
    assert outside.sum() == 32 * 48 - 20 * 30
    varied = restore_padding(255 - seen, size, window)
    assert (varied[outside] == np.array(PADDING, np.uint8)).all()
    assert (varied[~outside] == 255 - seen[~outside]).all()
