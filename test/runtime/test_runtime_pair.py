"""Two networks of transformers as one perceiver: real ones, small, with random weights."""

import os
import shutil
from dataclasses import replace

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import yaml
from pair_models import MAX_DEPTH, save_depth, save_preprocessor, save_segmentation
from torch import nn
from torch.nn import functional as F
from transformers import Mask2FormerForUniversalSegmentation, ZoeDepthConfig

from dvps_ros import resources
from dvps_ros.config import PairConfig
from dvps_ros.labels import CITYSCAPES, DIVISOR, VOID
from dvps_ros.runtime import NonFiniteOutputError, Perceiver, load_perceiver
from dvps_ros.runtime.pair import Pair, PairOutput, PairPerceiver, labels_of
from dvps_ros.runtime.pair_depth import depth_grid, depth_input_size
from dvps_ros.runtime.pair_segmentation import PanopticNetwork
from dvps_ros.structures import Intrinsics

SIZE = 50, 90
CAMERA = Intrinsics(80.0, 80.0, 44.5, 24.5, 90, 50)
ROAD, SKY, CAR = (CITYSCAPES.index(name) for name in ("road", "sky", "car"))
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with both networks, and the networks themselves."""
    home = tmp_path_factory.mktemp("pair")
    return home, save_segmentation(home / "segmentation"), save_depth(home / "depth")


@pytest.fixture(scope="module")
def loaded(models):
    home, *_ = models
    return load_perceiver("pair", "cpu", "32", str(home / "segmentation"), str(home / "depth"))


@pytest.fixture(scope="module")
def picture():
    smooth = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    return np.kron(smooth, np.ones((10, 10, 1), np.uint8))


def test_a_scene_of_two_networks(models, loaded, picture):
    """The scene is what the networks say when they are asked directly."""
    loaded.reset_tracks()
    scene = loaded.step(picture, CAMERA)
    _, segmentation, depth = models
    pixels = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    with torch.inference_mode():
        said = segmentation(pixel_values=F.pad(pixels, (0, 6, 0, 14)))
    scores, classes = said.class_queries_logits[0].softmax(-1).max(-1)
    sure = (classes < len(CITYSCAPES)) & (scores > 0.8)
    assert {s.class_id for s in scene.segments} <= set(classes[sure].tolist())
    assert len(scene.segments) >= 1
    assert (scene.panoptic != VOID).float().mean() > 0.1
    assert sum(s.area for s in scene.segments) == int((scene.panoptic != VOID).sum())
    assert scene.panoptic.shape == scene.depth.shape == scene.confidence.shape == SIZE
    assert scene.metric
    assert list(loaded.timings) == ["preprocess", "network", "merge", "track"]

    own = loaded.network.depth(pixel_values=torch.zeros(1, 3, 28, 56)).predicted_depth
    assert torch.equal(own, depth(pixel_values=torch.zeros(1, 3, 28, 56)).predicted_depth)
    assert 0 < scene.depth.min() < scene.depth.max() < MAX_DEPTH


class SaysPicture(nn.Module):
    """Red pixels are a car, blue ones sky, others road; green is depth, at half the picture's size."""

    def __init__(self, settings):
        super().__init__()
        self.config, self.fault = settings, 0.0

    def forward(self, images, depth_images):
        padded = F.pad(images.float() / 255, (0, -images.shape[-1] % 32, 0, -images.shape[-2] % 32))
        small = F.avg_pool2d(padded, 4)[0]
        masks = torch.stack([small[0], small[2], 1 - torch.maximum(small[0], small[2])]) * 24 - 12
        classes = F.one_hot(torch.tensor([CAR, SKY, ROAD]), len(CITYSCAPES) + 1) * 10.0
        return PairOutput(classes, masks, F.avg_pool2d(depth_images[0, 1].float()[None], 2)[0] + self.fault)


@pytest.fixture
def direct(models):
    """The perceiver with networks that say what the picture says; and its picture."""
    network = nn.Module()
    network.segmentation, network.depth = PanopticNetwork(models[1]), models[2]
    perceiver = PairPerceiver(network, PairConfig(), CITYSCAPES, "cpu")
    perceiver.network = SaysPicture(models[2].config)
    image = np.full((64, 128, 3), (0, 40, 0), np.uint8)
    image[:16] = 0, 60, 255
    image[24:40, 32:64] = 255, 10, 0
    return perceiver, image


def test_labels_and_depth_lie_on_each_other(direct):
    perceiver, image = direct
    scene = perceiver.step(image, Intrinsics(100.0, 100.0, 63.5, 31.5, 128, 64))
    for row, column, value, metres in ((8, 64, SKY * DIVISOR, 60), (32, 48, CAR * DIVISOR + 1, 10), (60, 20, 0, 40)):
        assert int(scene.panoptic[row, column]) == value
        assert float(scene.depth[row, column]) == pytest.approx(metres, abs=0.5)
    medians = {s.class_id: s.median_depth for s in scene.segments}
    assert medians == pytest.approx({ROAD: 40, SKY: 60, CAR: 10}, abs=0.5)


def test_thresholds_tracks_and_a_camera_unknown(direct):
    perceiver, image = direct
    car = int(perceiver.step(image).panoptic[32, 48])
    moved = np.roll(image, 6, 1)
    scene = perceiver.step(moved)
    assert int(scene.panoptic[32, 54]) == car
    assert not scene.metric
    assert all(np.isnan(s.median_depth) for s in scene.segments)
    perceiver.merge_config = replace(perceiver.merge_config, score_threshold=1.0)
    assert (perceiver.step(image).panoptic == VOID).all()
    perceiver.merge_config = perceiver.config.merge
    with pytest.raises(ValueError, match="the camera is 90x50, the image 128x64"):
        perceiver.step(image, CAMERA)
    perceiver.network.fault = np.nan
    with pytest.raises(NonFiniteOutputError, match="not finite: depth"):
        perceiver.step(image)


def test_the_ground_gives_the_scale_of_a_pair_s_depth(models):
    """A road whose depth is 1.3 times too far: with the camera's height it lies where it is."""
    network = nn.Module()
    network.segmentation, network.depth = PanopticNetwork(models[1]), models[2]
    perceiver = PairPerceiver(network, PairConfig(), CITYSCAPES, "cpu")
    perceiver.network = SaysPicture(models[2].config)
    camera = Intrinsics(200.0, 200.0, 127.5, 63.5, 256, 128)
    rows = np.arange(128)
    true = 2.0 * camera.fy / np.maximum(rows - camera.cy, 1e-3)  # 2 m below the camera
    image = np.zeros((128, 256, 3), np.uint8)
    image[..., 1] = np.clip(np.rint(1.3 * true), 0, 255)[:, None]
    image[:70, :, 2], image[:70, :, 1] = 255, 60
    free = perceiver.step(image, camera, 0.0)
    perceiver.camera_height = 2.0
    anchored = perceiver.step(image, camera, 0.1)
    near = slice(80, 128)
    assert float(free.depth[near, 128].median()) == pytest.approx(1.3 * np.median(true[near]), rel=0.05)
    assert float(anchored.depth[near, 128].median()) == pytest.approx(np.median(true[near]), rel=0.05)
    assert anchored.anchor.factor == pytest.approx(1 / 1.3, rel=0.05)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (518, 686)),
        ((640, 480), (686, 518)),
        ((256, 512), (252, 518)),
        ((1024, 2048), (518, 1036)),
        ((720, 1280), (518, 924)),
    ],
)
def test_depth_input_is_what_the_preprocessor_of_depth_anything_gives(models, size, expected):
    assert depth_input_size(models[2].config, size, 518, 14) == expected


def test_sides_come_from_the_checkpoint(models):
    assert depth_grid(models[2].config) == (56, 14)
    assert depth_grid(models[2].config, 140) == (140, 14)
    assert depth_grid(ZoeDepthConfig()) == (384, 32)


def test_a_folder_with_pair_yaml(models, picture, tmp_path):
    home, *_ = models
    settings = {
        "segmentation": "segmentation",
        "depth": "depth",
        "depth_size": 28,
        "input": {"pixels": 32 * 64},
    }
    (home / "pair.yaml").write_text(yaml.safe_dump({**settings, "merge": {"score_threshold": 0.5}}))
    perceiver = load_perceiver(home, "cpu")
    assert perceiver.merge_config.score_threshold == 0.5
    assert perceiver.labels is CITYSCAPES
    assert perceiver.step(picture, CAMERA).panoptic.shape == SIZE
    perceiver.warm_up((48, 64), steps=1)
    assert len(perceiver.digest) == 64
    assert (
        perceiver.digest == load_perceiver("pair", "cpu", "32", str(home / "segmentation"), str(home / "depth")).digest
    )


def test_what_pixels_are_comes_from_the_checkpoint(models, tmp_path):
    _, _segmentation, depth = models
    save_depth(tmp_path / "depth")
    save_preprocessor(tmp_path / "depth", [0.5, 0.25, 0.0], [1.0, 0.5, 2.0])
    home, *_ = models
    perceiver = load_perceiver("pair", "cpu", "32", str(home / "segmentation"), str(tmp_path / "depth"))
    images = torch.randint(0, 256, (1, 3, 28, 56))
    expected = (images / 255 - torch.tensor([0.5, 0.25, 0.0]).view(3, 1, 1)) / torch.tensor([1, 0.5, 2]).view(3, 1, 1)
    with torch.inference_mode():
        said = perceiver.network(torch.zeros(1, 3, 32, 64), images).depth
        assert torch.allclose(said, depth(pixel_values=expected).predicted_depth[0], atol=1e-4)
    save_preprocessor(tmp_path / "depth", [0.5], [1.0])
    with pytest.raises(ValueError, match="image_mean must be three numbers"):
        load_perceiver("pair", "cpu", "32", str(home / "segmentation"), str(tmp_path / "depth"))


@pytest.mark.parametrize(
    ("table", "classes", "things", "drivable", "pavement"),
    [
        ("coco", 133, 80, "road", "pavement-merged"),
        ("mapillary", 65, 37, "Road", "Sidewalk"),
        ("ade", 150, 100, "floor", "sidewalk, pavement"),
    ],
)
def test_known_tables_are_found_by_the_names_of_the_classes(models, table, classes, things, drivable, pavement):
    path = resources.find(f"config/labels/{table}.yaml")
    stuff = yaml.safe_load(path.read_text())["stuff"]
    tree = yaml.safe_load(path.read_text())
    others = [name for name in tree.get("drivable", []) if name not in stuff]
    names = [*others, *(f"{table} thing {i}" for i in range(things - len(others))), *stuff]
    settings = replace_names(models[1].config, names)
    labels = labels_of(settings)
    assert (labels.name, len(labels), len(labels.things)) == (table, classes, things)
    assert labels.index(drivable) in labels.drivable
    assert labels.index(pavement) in labels.pavement
    assert [labels.names[i].casefold()[:3] for i in labels.sky] == ["sky"]
    assert not labels.obstacles & (labels.sky | labels.drivable)
    assert len(set(labels.colors)) > 0.9 * classes


def replace_names(settings, names):
    changed = type(settings).from_dict(settings.to_dict())
    changed.id2label = dict(enumerate(names))
    return changed


def test_names_of_classes_that_nothing_knows(models, tmp_path):
    settings = replace_names(models[1].config, [f"LABEL_{i}" for i in range(19)])
    with pytest.raises(
        ValueError, match=r"19 classes \(LABEL_0, .*cityscapes, semkitti, ade, coco, mapillary.*pair.yaml"
    ):
        labels_of(settings)
    assert labels_of(settings, "cityscapes") is CITYSCAPES
    (tmp_path / "mine.yaml").write_text("name: mine\nthings: [LABEL_3]\nsky: [label_1]\n")
    labels = labels_of(settings, "mine.yaml", tmp_path)
    assert (labels.name, labels.things, labels.sky, labels.drivable) == ("mine", (3,), {1}, frozenset())
    with pytest.raises(ValueError, match="3 classes, cityscapes has 19"):
        labels_of(replace_names(settings, "abc"), "cityscapes")
    with pytest.raises(ValueError, match="300 classes, at most 255"):
        labels_of(replace_names(settings, [str(i) for i in range(300)]))


def test_mistakes_are_one_line(models, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    home, *_ = models
    segmentation, depth = str(home / "segmentation"), str(home / "depth")
    relative, torn, text = tmp_path / "relative", tmp_path / "torn", tmp_path / "text"
    save_depth(relative, "relative")
    save_depth(torn)
    weights = (torn / "model.safetensors").read_bytes()
    (torn / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    text.mkdir()
    (text / "config.json").write_text("{")
    for given, words in (
        (("", depth), "segmentation is empty"),
        ((segmentation, ""), "depth is empty"),
        ((depth, depth), "is a depth_anything, not one of mask2former"),
        ((segmentation, segmentation), "is a mask2former, not one of depth_anything, zoedepth"),
        ((segmentation, str(relative)), "estimates relative depth, not metres"),
        ((segmentation, str(torn)), "depth: no usable model at .*torn"),
        ((str(text), depth), "segmentation: no usable model at .*text"),
        ((str(tmp_path), depth), "segmentation: no usable model at"),
        ((segmentation, str(tmp_path / "nowhere")), "depth: no such folder: .*nowhere"),
        (("nobody/nothing", depth), "segmentation: cannot download 'nobody/nothing' from the hub"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
            load_perceiver("pair", "cpu", "32", *given)
        assert "\n" not in str(caught.value)


def test_names_on_the_hub_need_no_network_once_they_are_here(models, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("segmentation", "depth"):
        repository = tmp_path / f"models--somebody--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0123abcd")
        (repository / "snapshots").mkdir()
        (repository / "snapshots" / "0123abcd").symlink_to(models[0] / name)
    perceiver = load_perceiver("pair", "cpu", "32", "somebody/segmentation", "somebody/depth")
    assert perceiver.labels is CITYSCAPES


def test_weights_that_are_missing_do_not_stay_random(models, tmp_path):
    network = models[1]
    lacking = {k: v for k, v in network.state_dict().items() if k != "class_predictor.weight"}
    Mask2FormerForUniversalSegmentation(network.config).save_pretrained(tmp_path, state_dict=lacking)
    with pytest.raises(ValueError, match=r"lacks class_predictor.weight \(1 weights"):
        load_perceiver("pair", "cpu", "32", str(tmp_path), str(models[0] / "depth"))


class Runs:
    """Pickled, it would make a folder when it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("harmless", [True, False])
def test_pickled_weights_are_refused_unread(models, tmp_path, harmless):
    pickled = tmp_path / "pickled"
    shutil.copytree(models[0] / "depth", pickled)
    (pickled / "model.safetensors").unlink()
    state = models[2].state_dict() if harmless else Runs(tmp_path / "ran")
    torch.save(state, pickled / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"depth: no usable model at .*pickled") as caught:
        load_perceiver("pair", "cpu", "32", str(models[0] / "segmentation"), str(pickled))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_which_models_are_pairs(models, tmp_path):
    with pytest.raises(ValueError, match="go with model pair, not with"):
        load_perceiver(tmp_path, depth="x")
    with pytest.raises(FileNotFoundError, match="no such file or folder: models/nowhere"):
        load_perceiver("models/nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no config.yaml"):
        load_perceiver(tmp_path)
    (tmp_path / "pair.yaml").write_text("segmentation: x\ndeph: y\n")
    with pytest.raises(ValueError, match="unknown key 'deph'"):
        load_perceiver(tmp_path)
    assert issubclass(PairPerceiver, Perceiver)
    assert isinstance(Pair(PanopticNetwork(models[1]), models[2]), nn.Module)
