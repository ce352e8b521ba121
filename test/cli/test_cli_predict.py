"""``dvps predict`` and ``dvps bench`` with a tiny network of random weights."""

import cv2
import numpy as np
import pytest

from dvps_ros.cli.main import main
from dvps_ros.config import BackboneConfig, Config, MergeConfig, NetworkConfig
from dvps_ros.datasets.cityscapes_dvps import decode_panoptic
from dvps_ros.labels import VOID

TINY = Config(
    network=NetworkConfig(
        backbone=BackboneConfig(block="basic", depths=(1, 1, 1, 1), stem=8, widths=(8, 8, 16, 16)),
        width=32,
        heads=2,
        points=2,
        encoder_layers=1,
        encoder_feedforward=32,
        queries=6,
        decoder_layers=3,
        feedforward=32,
    ),
    merge=MergeConfig(score_threshold=0.0, mask_threshold=0.3, overlap_threshold=0.0),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from dvps_ros.network import build
    from dvps_ros.network.checkpoints import save

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save(build(TINY.network), folder, TINY)
    return folder


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "pictures" / "street.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    return path


def read_ply(path):
    """Vertices of a binary PLY, read by its own header."""
    header, body = path.read_bytes().split(b"end_header\n", 1)
    kinds = {"float": "<f4", "uchar": "u1", "ushort": "<u2"}
    lines = [line.split() for line in header.decode().splitlines()]
    assert lines[0] == ["ply"]
    assert lines[1] == ["format", "binary_little_endian", "1.0"]
    vertices = np.frombuffer(body, [(name, kinds[kind]) for word, kind, name in lines[3:] if word == "property"])
    assert lines[2] == ["element", "vertex", str(len(vertices))]
    return vertices


def test_predict_writes_all_four(model, picture, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", "--model", str(model), "--out", str(out), "--fx", "80", str(picture)]) == 0
    assert "[1/1] street.png" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {"street_overlay.png", "street_panoptic.png", "street_depth.png", "street_cloud.ply"}
    values = cv2.imread(str(out / "street_panoptic.png"), cv2.IMREAD_UNCHANGED)
    depth = cv2.imread(str(out / "street_depth.png"), cv2.IMREAD_UNCHANGED)
    assert values.dtype == depth.dtype == np.uint16
    assert values.shape == depth.shape == (64, 96)
    panoptic = decode_panoptic(values)
    assert ((panoptic == VOID) | (panoptic < 19000)).all()
    cloud = read_ply(out / "street_cloud.ply")
    assert 0 < len(cloud) <= 64 * 96
    # Each point projects to a pixel whose colour, label and depth are its own.
    u = np.rint(cloud["x"] / cloud["z"] * 80 + 47.5).astype(int)
    v = np.rint(cloud["y"] / cloud["z"] * 80 + 31.5).astype(int)
    image = cv2.imread(str(picture))[v, u]
    assert np.array_equal(np.stack([cloud["blue"], cloud["green"], cloud["red"]], -1), image)
    assert np.array_equal(cloud["label"], panoptic[v, u] // 1000)
    assert np.abs(cloud["z"] - depth[v, u] / 256).max() < 0.003


def test_without_a_camera_there_is_no_cloud(model, picture, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", "--model", str(model), "--out", str(out), str(picture.parent)]) == 0
    assert "depth is relative" in capsys.readouterr().out
    assert not (out / "street_cloud.ply").exists()
    assert (out / "street_depth.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "/nowhere/model"}, "/nowhere/model"),
        ({"image": "/nowhere/picture.png"}, "no such picture: /nowhere/picture.png"),
        ({"image": "broken"}, "broken.png is not a picture"),
        ({"image": "torn"}, "torn.png is not a picture that can be used: truncated picture"),
        ({"image": "twice"}, "under one name"),
        ({"image": "empty"}, "no pictures in folder"),
        ({"--cx": "5"}, "need --fx"),
        ({"--device": "warp"}, "unknown device 'warp'"),
    ],
)
def test_mistakes_are_one_line(change, message, model, picture, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "torn.png").write_bytes(picture.read_bytes()[:-100])
    (tmp_path / "empty").mkdir()
    given = {name: [tmp_path / f"{name}.png"] for name in ("broken", "torn")}
    given |= {"twice": [picture, picture], "empty": [tmp_path / "empty"]}
    images = [str(path) for path in given.get(change.get("image"), [change.get("image", picture)])]
    options = {"--model": str(model), "--out": str(tmp_path / "out"), **change}
    options.pop("image", None)
    arguments = [word for pair in options.items() for word in pair]
    assert main(["predict", *arguments, *images]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_bench_prints_every_stage(model, capsys):
    assert main(["bench", "--model", str(model), "--size", "64x96", "--frames", "2", "--warm-up", "1"]) == 0
    printed = capsys.readouterr().out
    for word in ("preprocess", "network", "merge", "track", "cloud", "total", "threads", "float32", "64x96"):
        assert word in printed


@pytest.mark.parametrize("arguments", [["--size", "64"], ["--frames", "0"], [], ["--against", "nothing"]])
def test_wrong_bench_arguments_exit_2(arguments, model, capsys):
    source = [] if not arguments else ["--model", str(model)]
    with pytest.raises(SystemExit) as stop:
        main(["bench", *source, *arguments])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
