"""The Perceiver with a stand-in network that says what the picture's colours say."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dvps_ros.config import Config, InputConfig, MergeConfig, NetworkConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.runtime import DeviceMemoryError, NonFiniteOutputError, Perceiver
from dvps_ros.runtime.arithmetic import choose_device, choose_precision
from dvps_ros.scene.rays import lens_factor
from dvps_ros.structures import Intrinsics, Prediction

ROAD, CAR = CITYSCAPES.index("road"), CITYSCAPES.index("car")
MAX_DEPTH = 80.0


class ColorNetwork(nn.Module):
    """Three queries: red pixels are a car at 10 m, green ones another at 20 m, the rest is road at 40 m."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(24.0))
        self.seen = []
        self.fault = None

    def forward(self, images):
        self.seen.append(images)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            return fault(self)
        height, width = images.shape[-2:]
        padded = F.pad(images.float() / 255, (0, -width % 32, 0, -height % 32))
        small = F.avg_pool2d(padded, 4)
        red, green = small[:, 0], small[:, 1]
        features = torch.stack([red, green, 1 - torch.maximum(red, green)], 1) - 0.5
        logits = torch.zeros(1, 3, len(CITYSCAPES) + 1)
        logits[0, 0, CAR] = logits[0, 1, CAR] = logits[0, 2, ROAD] = 10.0
        depth = torch.logit(torch.tensor([10.0, 20.0, 40.0]) / MAX_DEPTH)[None, :, None]
        backup = torch.logit(torch.tensor([[[40.0]]]) / MAX_DEPTH)
        ones = torch.ones(1, 1, *small.shape[-2:])
        return Prediction(logits, torch.eye(3)[None] * self.scale, features, depth, backup, ones, MAX_DEPTH)


def picture(left=20, size=(90, 160)):
    image = np.zeros((*size, 3), np.uint8)
    image[20:60, left : left + 40, 0] = 255
    image[20:60, 100:140, 1] = 255
    return image


CAMERA = Intrinsics(100.0, 100.0, 79.5, 44.5, 160, 90)


def make(**network):
    return Perceiver(ColorNetwork(), Config(network=NetworkConfig(**network)), device="cpu")


def test_one_step_from_picture_to_scene():
    perceiver = make()
    scene = perceiver.step(picture(), CAMERA)
    assert scene.panoptic.shape == (90, 160)
    assert scene.metric
    assert [s.class_id for s in scene.segments] == [ROAD, CAR, CAR]
    by_place = {int(scene.panoptic[40, 40]): 10, int(scene.panoptic[40, 120]): 20, int(scene.panoptic[80, 80]): 40}
    for segment in scene.segments:
        assert segment.median_depth == pytest.approx(by_place[segment.id], rel=1e-3)
    assert list(perceiver.timings) == ["preprocess", "network", "merge", "track"]
    assert all(seconds >= 0 for seconds in perceiver.timings.values())
    assert perceiver.network.seen[0].shape == (1, 3, 90, 160)
    assert perceiver.labels is CITYSCAPES


def test_numbers_stay_over_time_and_can_be_reset():
    perceiver = make()
    first = perceiver.step(picture(20), CAMERA)
    red = int(first.panoptic[40, 40])
    for left in range(24, 50, 4):
        scene = perceiver.step(picture(left), CAMERA)
        assert int(scene.panoptic[40, left + 20]) == red
    perceiver.step(np.zeros((90, 160, 3), np.uint8), CAMERA)
    assert int(perceiver.step(picture(48), CAMERA).panoptic[40, 68]) == red
    perceiver.reset_tracks()
    assert {s.instance for s in perceiver.step(picture(20), CAMERA).segments} == {0, 1, 2}


def test_frames_without_stamps_take_the_time_that_is_told():
    """A camera without stamps, at 4 Hz: things have the speed that they have, and a pause ends the tracks."""
    perceiver = make()
    speeds = []
    for left in range(20, 60, 4):
        scene = perceiver.step(picture(left), CAMERA)
        perceiver.frame_period = 0.25
        speeds.append({thing.id: thing.speed for thing in scene.things}[CAR * 1000 + 1])
    assert speeds[-1] == pytest.approx(4 * 10 / 100 / 0.25, rel=0.1)  # pixels x depth / focal length / seconds
    perceiver.frame_period = perceiver.config.track.max_gap + 1
    assert {s.instance for s in perceiver.step(picture(60), CAMERA).segments if s.class_id == CAR} == {3, 4}


def test_network_size_differs_from_the_image():
    config = Config(input=InputConfig(90 * 160 * 36 // 100), network=NetworkConfig(canonical_focal=50.0))
    perceiver = Perceiver(ColorNetwork(), config, device="cpu")
    scene = perceiver.step(picture(), CAMERA)
    assert perceiver.network.seen[0].shape == (1, 3, 54, 96)
    assert scene.panoptic.shape == scene.depth.shape == (90, 160)
    # f at network resolution is 100 * 96 / 160 = 60: depth meant for 50 grows by 60 / 50.
    assert scene.depth[80, 80] == pytest.approx(48, rel=1e-3)
    assert scene.depth[40, 40] == pytest.approx(12, rel=1e-3)


@pytest.mark.parametrize("canvas", [None, (256, 512)])
@pytest.mark.parametrize(
    ("size", "ratio"), [((480, 640), 1.0), ((375, 1242), 1.0), ((480, 480), 1.0), ((480, 640), 1.25)]
)
def test_metres_and_labels_on_cameras_of_any_shape(size, ratio, canvas):
    """The network says 10 m for a car, whatever the camera: metres are that times f at its resolution / canonical."""
    height, width = size
    camera = Intrinsics(420.0, 420.0 / ratio, width / 2, height / 2, width, height)
    image = np.zeros((*size, 3), np.uint8)
    top, left, high, wide = height // 4, width // 4, round(120 / ratio), 120
    image[top : top + high, left : left + wide, 0] = 255
    config = Config(input=InputConfig(131072), network=NetworkConfig(canonical_focal=280.0))
    perceiver = Perceiver(ColorNetwork(), config, device="cpu", canvas=canvas)
    scene = perceiver.step(image, camera)
    square = height * ratio  # rows, were the pixels square
    scale = math.sqrt(131072 / (square * width)) if canvas is None else min(256 / square, 512 / width)
    assert scene.metric
    assert perceiver._depth_scale(size, perceiver.resizing(size, camera).extent, camera)[0] == pytest.approx(
        1.5 * scale, rel=1e-9
    )
    car = scene.panoptic == int(scene.panoptic[top + high // 2, left + wide // 2])
    assert scene.depth[car] == pytest.approx(10 * 1.5 * scale, rel=1e-3)
    assert scene.depth[height - 1, width - 1] == pytest.approx(40 * 1.5 * scale, rel=1e-3)
    # the label lies on the car's pixels: its edges to a few pixels, its centre to one
    rows, columns = (axis.float() for axis in car.nonzero(as_tuple=True))
    cell = 4 / scale  # one of the network's cells in image pixels
    assert float(rows.mean()) == pytest.approx(top + (high - 1) / 2, abs=cell / 4)
    assert float(columns.mean()) == pytest.approx(left + (wide - 1) / 2, abs=cell / 4)
    assert abs(float(rows.max() - rows.min()) + 1 - high) <= cell
    assert abs(float(columns.max() - columns.min()) + 1 - wide) <= cell


def test_depth_follows_the_magnification_of_the_lens():
    lens = replace(CAMERA, distortion_model="equidistant", distortion=(0.05, 0.0, 0.0, 0.0))
    perceiver = make(canonical_focal=100.0)
    plain = perceiver.step(picture(), lens)
    perceiver.merge_config = replace(perceiver.merge_config, lens_exponent=0.4)
    scene = perceiver.step(picture(), lens)
    assert torch.equal(scene.panoptic, plain.panoptic)
    torch.testing.assert_close(scene.depth, plain.depth * lens_factor(lens, 0.4))
    assert scene.depth[45, 5] < 0.95 * plain.depth[45, 5]
    [before, now] = ({s.id: s.median_depth for s in one.segments} for one in (plain, scene))
    assert all(now[key] < before[key] for key in before)
    assert torch.equal(
        perceiver.step(picture(), CAMERA).depth, make(canonical_focal=100.0).step(picture(), CAMERA).depth
    )


def test_the_depth_scale_of_whole_sizes():
    perceiver = make(canonical_focal=280.0)
    assert perceiver._depth_scale((256, 512), (256, 512), Intrinsics(420.0, 420.0, 255.5, 127.5, 512, 256)) == (
        1.5,
        True,
    )


@pytest.mark.parametrize("camera", [None, replace(CAMERA, fx=0.0), replace(CAMERA, cy=math.nan)])
def test_unknown_camera_gives_relative_depth(camera):
    scene = make(canonical_focal=50.0).step(picture(), camera)
    assert not scene.metric
    assert scene.depth[40, 40] == pytest.approx(10, rel=1e-3)
    assert all(math.isnan(s.median_depth) for s in scene.segments)


def test_camera_of_another_size_is_refused_and_the_next_frame_works():
    perceiver = make()
    with pytest.raises(ValueError, match="the camera is 320x90, the image 160x90"):
        perceiver.step(picture(), replace(CAMERA, width=320))
    with pytest.raises(ValueError, match="float64"):
        perceiver.step(picture().astype(float), CAMERA)
    assert len(perceiver.step(picture(), CAMERA).segments) == 3


def test_a_pose_is_asked_for_after_the_network_has_run():
    """By then a transform of the image's time has come; where there is none, the picture tells the motion."""
    perceiver, asked = make(), []

    def pose():
        asked.append(len(perceiver.network.seen))
        return np.eye(4) if len(asked) < 3 else None

    scenes = [perceiver.step(picture(), CAMERA, stamp, pose) for stamp in (0.0, 0.1, 0.2)]
    assert asked == [1, 2, 3]
    assert scenes[1].motion.source == "given"
    assert scenes[2].motion.source != "given"


@pytest.mark.parametrize("part", ["class_logits", "mask_embedding", "mask_features", "backup_embedding"])
def test_output_that_is_not_finite_is_named(part):
    perceiver = make()

    def broken(network):
        prediction = network(perceiver.network.seen.pop())
        values = getattr(prediction, part).clone()
        values.flatten()[-1] = math.nan
        return replace(prediction, **{part: values})

    perceiver.network.fault = broken
    with pytest.raises(NonFiniteOutputError, match=part):
        perceiver.step(picture(), CAMERA)
    assert len(perceiver.step(picture(), CAMERA).segments) == 3


def test_out_of_memory_loses_one_frame():
    perceiver = make()
    before = {s.id for s in perceiver.step(picture(), CAMERA).segments}

    def full(network):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nMore advice.")

    perceiver.network.fault = full
    with pytest.raises(DeviceMemoryError, match=r"Tried to allocate 20 GiB\.$"):
        perceiver.step(picture(), CAMERA)
    assert {s.id for s in perceiver.step(picture(24), CAMERA).segments} == before


def test_merge_config_may_be_replaced_between_steps():
    perceiver = make()
    perceiver.merge_config = MergeConfig(score_threshold=1.0)
    assert (perceiver.step(picture(), CAMERA).panoptic == VOID).all()
    perceiver.merge_config = perceiver.config.merge
    assert len(perceiver.step(picture(), CAMERA).segments) == 3


def test_warm_up_runs_the_network_and_keeps_the_tracks():
    perceiver = make()
    before = {s.id for s in perceiver.step(picture(), CAMERA).segments}
    perceiver.warm_up((64, 64))
    assert perceiver.network.seen[-1].shape == (1, 3, 64, 64)
    assert {s.id for s in perceiver.step(picture(), CAMERA).segments} == before


def test_devices_and_precisions():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="warp"):
        choose_device("warp")
    with pytest.raises(ValueError, match=r"cuda:99.*CUDA devices"):
        choose_device("cuda:99")
    assert choose_precision("auto", torch.device("cpu")) == "32"
    assert choose_precision("auto", torch.device("cuda")) == "16"
    with pytest.raises(ValueError, match="precision is '8'"):
        choose_precision("8", torch.device("cpu"))
