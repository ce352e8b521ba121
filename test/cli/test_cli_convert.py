"""``dvps convert``: transformers' Mask2Former to a model folder and back, and what is refused in one line."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_network import SMALL_NETWORK
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig, SwinConfig

from dvps_ros.checkpoints import load, load_model_config, save
from dvps_ros.cli.main import main
from dvps_ros.config import Config, InputConfig, save_config
from dvps_ros.labels import CITYSCAPES
from dvps_ros.network import build

STAGES = ["stage1", "stage2", "stage3", "stage4"]
#: Depths, heads and windows of the public models, with few channels.
BACKBONES = {
    "swin_t": SwinConfig(
        embed_dim=12, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, out_features=STAGES
    ),
    "swin_b": SwinConfig(
        embed_dim=32, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32], window_size=12, out_features=STAGES
    ),
    "resnet_50": ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32, 64, 128], depths=[3, 4, 6, 3], out_features=STAGES
    ),
}
TINY = replace(SMALL_NETWORK, heads=8, decoder_layers=2)
IMAGE = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mask2former(backbone, classes=19, heads=4) -> Mask2FormerForUniversalSegmentation:
    names = dict(enumerate(CITYSCAPES.names)) if classes == 19 else {i: f"LABEL_{i}" for i in range(classes)}
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_layers=2,
        encoder_feedforward_dim=48,
        dim_feedforward=40,
        num_attention_heads=heads,
        num_queries=7,
        decoder_layers=4,
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    model = Mask2FormerForUniversalSegmentation(config).eval()
    # Freshly made, several weights are zero or alike, which would hide mistakes.
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "swin.layernorm" not in name:  # no part of the prediction, so it is not kept
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def swin(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "mask2former"
    mask2former(BACKBONES["swin_t"]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "own"
    save(build(TINY), folder, Config())
    return folder


def refused(capsys, folder: Path, *arguments) -> str:
    """The one line that ``dvps convert`` ends with, having written nothing into ``folder``."""
    before = sorted(folder.rglob("*"))
    capsys.readouterr()
    assert main(["convert", *map(str, arguments), "--out", str(folder / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dvps convert: ")
    assert captured.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    return captured.err


# --- how pictures are prepared ------------------------------------------------------------------------------------


def prepared(folder, **changes):
    """A transformers folder with a preprocessor of its own."""
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "size": 64, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "mean", "deviation"),
    [
        ({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.5, 0.2]}, [127.5, 102, 76.5], [63.75, 127.5, 51]),
        ({"do_normalize": False}, [0, 0, 0], [255, 255, 255]),
        (
            {"do_rescale": False, "image_mean": [100, 110, 120], "image_std": [50, 60, 70]},
            [100, 110, 120],
            [50, 60, 70],
        ),
    ],
)
def test_pixels_that_transformers_prepares_in_another_way(changes, mean, deviation, tmp_path, capsys):
    reference = mask2former(BACKBONES["resnet_50"])
    reference.save_pretrained(tmp_path / "theirs")
    prepared(tmp_path / "theirs", **changes)
    assert main(["convert", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours")]) == 0
    assert "pictures: RGB, mean" in capsys.readouterr().out
    assert_same(reference, IMAGE, mean, deviation, tmp_path / "ours")
    assert main(["convert", str(tmp_path / "ours"), "--out", str(tmp_path / "back"), "--to", "transformers"]) == 0
    back = json.loads((tmp_path / "back" / "preprocessor_config.json").read_text())
    assert [255 * value for value in back["image_mean"]] == pytest.approx(mean, abs=1e-3)
    assert [255 * value for value in back["image_std"]] == pytest.approx(deviation, abs=1e-3)


def assert_same(reference, pixels, mean, deviation, folder):
    """The model in ``folder`` on RGB is the ``reference`` on its own pixels, normalised as it wants them."""
    normalised = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    with torch.no_grad():
        expected, prediction = reference(normalised), load(folder)(IMAGE)
    torch.testing.assert_close(prediction.class_logits, expected.class_queries_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(prediction.mask_logits, expected.masks_queries_logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("size", "pixels"),
    [
        ({"height": 384, "width": 640}, 384 * 640),
        ({"shortest_edge": 600, "longest_edge": 2000}, 600 * 800),
        ({"shortest_edge": 600, "longest_edge": 720}, 720 * 540),
        (480, 480 * 640),
    ],
)
def test_the_size_of_their_pictures_is_stored_as_an_area(size, pixels, swin, tmp_path):
    folder = prepared(shutil.copytree(swin, tmp_path / "theirs"), size=size)
    assert main(["convert", str(folder), "--out", str(tmp_path / "ours")]) == 0
    assert load_model_config(tmp_path / "ours").input.pixels == pixels
    assert main(["convert", str(folder), "--pixels", "99", "--out", str(tmp_path / "mine")]) == 0
    assert load_model_config(tmp_path / "mine").input.pixels == 99


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"do_center_crop": True}, "do_center_crop is not supported"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is not supported"),
        ({"image_mean": [0.5]}, "image_mean must be three numbers"),
        ({"image_std": [0.5, 0, 0.5]}, "must be above 0"),
        ({"size": {"longest_edge": 800}}, "neither height and width nor shortest_edge"),
    ],
)
def test_a_preparation_that_is_not_known_is_refused(changes, named, swin, tmp_path, capsys):
    folder = prepared(shutil.copytree(swin, tmp_path / "theirs"), **changes)
    assert named in refused(capsys, tmp_path, folder)


def test_detectron2_tells_the_order_of_channels_in_its_configuration(tmp_path, capsys):
    """Weights for BGR: the converted network, given RGB, computes the same."""
    reference = mask2former(BACKBONES["swin_t"], heads=8)
    reference.save_pretrained(tmp_path)
    (tmp_path / "base.yaml").write_text("MODEL: {PIXEL_MEAN: [10, 20, 30], PIXEL_STD: [30, 40, 50]}\n")
    (tmp_path / "theirs.yaml").write_text("_BASE_: base.yaml\nINPUT: {FORMAT: BGR, MIN_SIZE_TEST: 600}\n")
    given = ["--source-config", str(tmp_path / "theirs.yaml")]
    assert main(["convert", str(tmp_path / "model.safetensors"), *given, "--out", str(tmp_path / "ours")]) == 0
    assert "BGR, folded into the first weight, mean 30 20 10, deviation 50 40 30" in capsys.readouterr().out
    assert load_model_config(tmp_path / "ours").input.pixels == 600 * 800
    assert_same(reference, IMAGE.flip(1), [10, 20, 30], [30, 40, 50], tmp_path / "ours")


def test_a_source_that_does_not_tell_is_said(swin, tmp_path, capsys):
    assert main(["convert", str(swin / "model.safetensors"), "--out", str(tmp_path / "ours")]) == 0
    assert "not stated by the source; assumed to be RGB with ImageNet's mean and deviation" in capsys.readouterr().out
    assert "is a folder" in refused(capsys, tmp_path, swin, "--source-config", "some.yaml")


# --- there and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BACKBONES)
def test_transformers_there_and_back(kind, tmp_path, capsys):
    reference = mask2former(BACKBONES[kind])
    reference.save_pretrained(tmp_path / "theirs")
    assert main(["convert", str(tmp_path / "theirs"), "--out", str(tmp_path / "ours")]) == 0
    summary = capsys.readouterr().out
    assert "0 left over" in summary
    assert [line.split()[0] for line in summary.splitlines() if "random until trained" in line] == [
        "depth_decoder",
        "geometry",
    ]

    net = load(tmp_path / "ours")
    mean, deviation = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    normalised = (IMAGE - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.no_grad():
        expected, prediction = reference(normalised), net(IMAGE)
    torch.testing.assert_close(prediction.class_logits, expected.class_queries_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(prediction.mask_logits, expected.masks_queries_logits, atol=1e-4, rtol=0)
    assert expected.masks_queries_logits.std() > 0.1  # not agreement of zeros

    back = tmp_path / "back"
    assert main(["convert", str(tmp_path / "ours"), "--out", str(back), "--to", "transformers"]) == 0
    again, info = Mask2FormerForUniversalSegmentation.from_pretrained(back, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    before, after = reference.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
    # and the files hold the same names, so that older versions of transformers read them as well
    files = [load_file(tmp_path / name / "model.safetensors").keys() for name in ("theirs", "back")]
    assert files[0] == files[1]
    assert list(again.config.id2label.values()) == list(CITYSCAPES.names)
    assert json.loads((back / "preprocessor_config.json").read_text())["image_processor_type"]


def test_the_depth_decoder_starts_as_a_copy_of_the_semantic_one(swin, tmp_path, capsys):
    assert main(["convert", str(swin), "--out", str(tmp_path / "m"), "--depth-from-semantic"]) == 0
    assert "copied from the semantic decoder" in capsys.readouterr().out
    net = load(tmp_path / "m")
    theirs = net.semantic_decoder.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in net.depth_decoder.state_dict().items())
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "README.md",
        "config.yaml",
        "model.safetensors",
        "model.sha256",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    (tmp_path / "file").touch()
    assert {path.stat().st_mode for path in (tmp_path / "m").iterdir()} == {(tmp_path / "file").stat().st_mode}
    assert "copied from the semantic decoder" in (tmp_path / "m" / "README.md").read_text()


def test_verbose_lists_every_weight(own, tmp_path, capsys):
    state = dict(load_file(own / "model.safetensors"))
    lacking = "geometry.level"
    tensors = {name: value.numpy() for name, value in state.items() if name != lacking}
    (tmp_path / "c.pkl").write_bytes(
        pickle.dumps({"model": {**tensors, "surprise": tensors["query_decoder.level"]}, "iteration": 7})
    )
    assert main(["convert", str(tmp_path / "c.pkl"), "--out", str(tmp_path / "m"), "--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"missing   {lacking}" in lines
    assert "left over surprise" in lines
    assert {f"loaded    {name}" for name in tensors} <= set(lines)
    assert sum(line.startswith("missing ") for line in lines) == 1
    again = load(tmp_path / "m").state_dict()
    assert [name for name in tensors if not torch.equal(again[name], state[name])] == []


def test_a_fitting_configuration_is_kept(own, tmp_path):
    config = Config(network=TINY)
    save_config(config, tmp_path / "c.yaml")
    assert main(["convert", str(own), "--out", str(tmp_path / "m"), "--config", str(tmp_path / "c.yaml")]) == 0
    assert load_model_config(tmp_path / "m") == config


def test_the_meaning_of_depth_comes_along(own, tmp_path, capsys):
    """canonical_focal and max_depth have no weights, and every metre depends on them."""
    config = Config(network=replace(TINY, canonical_focal=280.0, max_depth=40.0))
    folder = tmp_path / "metric"
    save(build(config.network), folder, config)
    assert main(["convert", str(folder / "model.safetensors"), "--out", str(tmp_path / "m")]) == 0
    assert load_model_config(tmp_path / "m").network == config.network
    for key, value in (("canonical_focal", None), ("max_depth", 80.0)):
        save_config(replace(config, network=replace(config.network, **{key: value})), tmp_path / "c.yaml")
        line = refused(capsys, tmp_path, folder, "--config", tmp_path / "c.yaml")
        assert f"network.{key} is {getattr(config.network, key)}, not {value}" in line
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((folder / "model.safetensors").read_bytes())
    assert main(["convert", str(copy), "--out", str(tmp_path / "n")]) == 0
    assert (
        "does not tell what its depth means; taken from the defaults: canonical_focal None" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("ours", "written"), [(0, 64 * 64), (9_000, 9_000)])
def test_the_size_of_pictures_that_is_printed_is_the_one_that_is_written(ours, written, swin, tmp_path, capsys):
    source = shutil.copytree(swin, tmp_path / "source")
    prepared(source, size={"height": 64, "width": 64})
    assert main(["convert", str(source), "--out", str(tmp_path / "first")]) == 0
    config = replace(load_model_config(tmp_path / "first"), input=InputConfig(ours))
    save_config(config, tmp_path / "c.yaml")
    capsys.readouterr()
    arguments = ["--out", str(tmp_path / "m"), "--config", str(tmp_path / "c.yaml")]
    assert main(["convert", str(source), *arguments]) == 0
    assert f"as large as {written} pixels (input.pixels)" in capsys.readouterr().out
    assert load_model_config(tmp_path / "m").input.pixels == written


# --- refused in one line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("width: 64", "network.width is 32, not 64"),
        ("queries: 8", "network.queries is 6, not 8"),
        ("classes: 5", "network.classes is 19, not 5"),
        ("backbone: {kind: swin}", "network.backbone.kind is resnet, not swin"),
        ("backbone: {depths: [2, 1, 1, 1]}", "network.backbone.depths is 1-1-1-1, not 2-1-1-1"),
    ],
)
def test_another_network_than_the_configuration(own, tmp_path, capsys, change, line):
    save_config(Config(network=TINY), tmp_path / "tiny.yaml")
    tree = yaml.safe_load(f"{{network: {{{change}}}}}")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"base": "tiny.yaml", **tree}))
    assert line in refused(capsys, tmp_path, own, "--config", tmp_path / "c.yaml")


def test_another_class_count_than_the_class_table(tmp_path, capsys):
    mask2former(BACKBONES["resnet_50"], classes=5).save_pretrained(tmp_path / "theirs")
    assert "has 5 classes, class table cityscapes has 19" in refused(capsys, tmp_path, tmp_path / "theirs")


def test_other_class_names_are_pointed_out(swin, tmp_path, capsys):
    copy = tmp_path / "theirs"
    copy.mkdir()
    settings = json.loads((swin / "config.json").read_text())
    settings["id2label"]["2"] = "banana"
    (copy / "config.json").write_text(json.dumps(settings))
    (copy / "model.safetensors").symlink_to(swin / "model.safetensors")
    assert main(["convert", str(copy), "--out", str(tmp_path / "m")]) == 0
    err = capsys.readouterr().err
    assert err.count("note: class") == 1
    assert "class 2 is 'banana'" in err


def test_another_architecture(tmp_path, capsys):
    torch.save({"layer1.0.conv1.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    assert "is of another architecture" in refused(capsys, tmp_path, tmp_path / "other.pth")
    torch.save({"model": {"sem_seg_head.predictor.query_feat.weight": torch.zeros(6, 32)}}, tmp_path / "part.pth")
    assert "another architecture: there is no" in refused(capsys, tmp_path, tmp_path / "part.pth")
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    assert "model_type is 'bert', not 'mask2former'" in refused(capsys, tmp_path, folder)
    (folder / "config.json").write_text('{"model_type": "mask2former", "pre_norm": true}')
    assert "pre_norm is True, not False" in refused(capsys, tmp_path, folder)


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.999])
def test_half_downloaded_safetensors(swin, tmp_path, capsys, kept):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "config.json").write_bytes((swin / "config.json").read_bytes())
    content = (swin / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert "is not a complete safetensors file" in refused(capsys, tmp_path, folder)


def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    for name, write in (("e.pkl", lambda v, p: p.write_bytes(pickle.dumps(v))), ("e.pth", torch.save)):
        write({"model": Evil()}, tmp_path / name)
        line = refused(capsys, tmp_path, tmp_path / name)
        assert "is refused: it asks for" in line
    assert not (tmp_path / "ran").exists()


def test_what_is_not_there(own, tmp_path, capsys):
    assert "no such file or folder" in refused(capsys, tmp_path, tmp_path / "nowhere.pkl")
    assert "has neither config.yaml" in refused(capsys, tmp_path, tmp_path)
    assert "no such file or folder: c.yaml" in refused(capsys, tmp_path, own, "--config", "c.yaml")


def test_an_existing_folder_is_left_alone(own, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    assert "exists already" in refused(capsys, tmp_path, own)


def test_a_failure_while_writing_leaves_nothing(own, tmp_path, capsys, monkeypatch):
    from dvps_ros import checkpoints

    def fail(net, folder, config):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", fail)
    assert "No space left on device" in refused(capsys, tmp_path, own)


def test_transformers_has_no_such_network(own, tmp_path, capsys):
    save(build(replace(TINY, points=2)), tmp_path / "points", Config())
    assert "4 sampling points, this network has 2" in refused(
        capsys, tmp_path, tmp_path / "points", "--to", "transformers"
    )


def test_depth_has_no_place_in_transformers(own, tmp_path, capsys):
    assert "has no depth" in refused(capsys, tmp_path, own, "--to", "transformers", "--depth-from-semantic")


# --- hub names ----------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache and no network: the folder of the cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_failed_download_is_one_line(offline, tmp_path, capsys):
    line = refused(capsys, tmp_path, "somebody/mask2former-of-dreams")
    assert "cannot download 'somebody/mask2former-of-dreams' from the hub" in line


def test_a_hub_name_in_the_cache_needs_no_network(offline, swin, tmp_path):
    repository = offline / "models--somebody--mask2former"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd")
    snapshot = repository / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (snapshot / file).symlink_to(swin / file)
    assert main(["convert", "somebody/mask2former", "--out", str(tmp_path / "m")]) == 0
    assert load_model_config(tmp_path / "m").network.backbone.depths == (2, 2, 6, 2)
