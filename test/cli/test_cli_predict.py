"""``dvps predict`` and ``dvps bench`` with a tiny network of random weights."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from bag_writing import START, camera_info, raw, record
from small_network import SMALL_NETWORK

from dvps_ros.cli.main import main
from dvps_ros.cli.prediction_files import DEPTH, write_prediction
from dvps_ros.config import Config, MergeConfig, PredictConfig
from dvps_ros.datasets.cityscapes_dvps import decode_panoptic
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.runtime import Perceiver
from dvps_ros.scene import track
from dvps_ros.scene.track import Tracker
from dvps_ros.structures import CameraFrame, Intrinsics

TINY = Config(
    network=replace(SMALL_NETWORK, heads=2, points=2),
    merge=MergeConfig(score_threshold=0.0, mask_threshold=0.3, overlap_threshold=0.0),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from dvps_ros.checkpoints import save
    from dvps_ros.network import build

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
    assert "[1/1] street: " in capsys.readouterr().out
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


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    while capture.grab():
        yield capture.retrieve()[1]


def test_a_recording_becomes_files_and_a_video(model, tmp_path, capsys):
    size, camera = (64, 96), Intrinsics(80.0, 82.0, 45.0, 30.0, 96, 64)
    pictures = np.random.default_rng(2).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    stamps = [START + k * 10**8 for k in range(4)]
    rows = [("/camera/image_raw", raw(stamp, rgb)) for stamp, rgb in zip(stamps, pictures, strict=True)]
    rows += [("/camera/camera_info", camera_info(stamp, camera)) for stamp in stamps]
    bag = record(tmp_path / "drive", rows)
    for _ in range(2):  # a second run writes the same once more
        arguments = ["predict", str(bag), "--model", str(model), "--out", str(tmp_path / "out")]
        assert main([*arguments, "--outputs", "depth", "cloud", "video"]) == 0
        assert "4 pictures; " in capsys.readouterr().out
        names = {path.name for path in (tmp_path / "out").iterdir()}
        each = {f"drive_00000{k}_{kind}" for k in range(4) for kind in ("depth.png", "cloud.ply")}
        assert names == {*each, "drive_overlay.mp4"}
    shapes = [frame.shape for frame in frames_of(tmp_path / "out" / "drive_overlay.mp4")]
    assert shapes == [(*size, 3)] * 4
    cloud = read_ply(tmp_path / "out" / "drive_000002_cloud.ply")  # the camera is camera_info's
    u, v = (np.rint(cloud[axis] / cloud["z"] * f + c) for axis, f, c in (("x", 80, 45), ("y", 82, 30)))
    assert np.array_equal(cloud["red"], pictures[2][v.astype(int), u.astype(int), 0])


@pytest.mark.parametrize(("made_by", "expected"), [("recording", [0.0, 0.1, 0.3]), ("pictures", [None] * 3)])
def test_the_tracker_is_told_the_times_of_a_recording(made_by, expected, model, tmp_path, monkeypatch):
    seen = []

    def step(self, image, intrinsics=None, stamp=None, pose=None):
        seen.append(stamp)
        if len(seen) == 3:
            raise ValueError("enough")
        return real(self, image, intrinsics, stamp, pose)

    real = Perceiver.step
    monkeypatch.setattr(Perceiver, "step", step)
    rgb = np.zeros((64, 96, 3), np.uint8)
    stamps = [START + k * 10**8 for k in (0, 1, 3)]
    source = record(tmp_path / "drive", [("/camera/image_raw", raw(stamp, rgb)) for stamp in stamps])
    if made_by == "pictures":
        (source := tmp_path / "frames").mkdir()
        for k in range(3):
            cv2.imwrite(str(source / f"{k}.png"), rgb)
    assert main(["predict", str(source), "--model", str(model), "--out", str(tmp_path / "out"), "--video"]) == 2
    if expected[0] is None:
        assert seen == expected
    else:
        np.testing.assert_allclose(np.array(seen) - START / 1e9, expected, atol=1e-6)


def test_objects_keep_their_colour_in_a_video_of_pictures(model, tmp_path):
    rgb = np.random.default_rng(5).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    files = [tmp_path / f"{k}.png" for k in (8, 9, 10)]
    for path in files:
        cv2.imwrite(str(path), rgb)  # nothing moves: whatever is seen has one number and colour
    out = tmp_path / "out"
    assert main(["predict", "--model", str(model), "--out", str(out), "--video", *map(str, files)]) == 0
    first, second, third = ((out / f"{k}_panoptic.png").read_bytes() for k in (8, 9, 10))
    assert first == second == third
    assert (out / "8_overlay.png").read_bytes() == (out / "10_overlay.png").read_bytes()
    assert len(list(frames_of(out / "8_overlay.mp4"))) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "/nowhere/model"}, "/nowhere/model"),
        ({"image": "/nowhere/picture.png"}, "no such file or folder: /nowhere/picture.png"),
        ({"image": "broken"}, "broken.png: not a readable picture"),
        ({"image": "torn"}, "torn.png: truncated"),
        ({"image": "twice"}, "under the same name"),
        ({"image": "empty"}, "has no pictures"),
        ({"--cx": "5"}, "need --fx"),
        ({"--device": "warp"}, "unknown device 'warp'"),
        ({"--outputs": "video"}, "pictures are no video, unless --video says so"),
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
    assert main(["predict", *images, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_bench_prints_every_stage(model, capsys):
    assert main(["bench", "--model", str(model), "--size", "64x96", "--frames", "2", "--warm-up", "1"]) == 0
    printed = capsys.readouterr().out
    for word in ("preprocess", "network", "merge", "track", "cloud", "total", "threads", "float32", "64x96"):
        assert word in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "models/street", "--set", "network.queries=3"], "--set goes with --config"),
        (["--training", "--json", "x.json"], "--json is about perception"),
        (["--training", "--runtime", "openvino"], "--runtime is about perception"),
        (["--training", "--input-pixels", "4096"], "--input-pixels is about perception"),
        (["--training", "--plot", "x.png"], "--plot is about perception"),
    ],
)
def test_options_that_bench_would_ignore_are_refused(arguments, said, capsys):
    source = [] if "--model" in arguments else ["--config", "config/street.yaml"]
    assert main(["bench", *source, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--size", "64"], ["--frames", "0"], [], ["--against", "nothing"]])
def test_wrong_bench_arguments_exit_2(arguments, model, capsys):
    source = [] if not arguments else ["--model", str(model)]
    with pytest.raises(SystemExit) as stop:
        main(["bench", *source, *arguments])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_sky_has_no_depth(tmp_path):
    torch = pytest.importorskip("torch")
    from dvps_ros.structures import Scene, Segment

    sky, road = (CITYSCAPES.index(name) for name in ("sky", "road"))
    panoptic = torch.full((4, 6), road * 1000, dtype=torch.int32)
    panoptic[:2] = sky * 1000
    segments = (Segment(road * 1000, road, 0, 0.9, 12, 70.0), Segment(sky * 1000, sky, 0, 0.9, 12, 70.0))
    scene = Scene(panoptic, torch.full((4, 6), 70.0), torch.ones(4, 6), segments)
    picture = np.zeros((4, 6, 3), np.uint8)
    frame = CameraFrame(picture)
    write_prediction(tmp_path / "a", frame, picture, scene, CITYSCAPES, {DEPTH}, PredictConfig())
    depth = cv2.imread(str(tmp_path / "a_depth.png"), cv2.IMREAD_UNCHANGED)
    assert (depth == np.repeat([0, 0, 70 * 256, 70 * 256], 6).reshape(4, 6)).all()


def test_pictures_that_follow_within_max_gap_keep_the_tracker_s_objects(model, tmp_path, monkeypatch):
    """Every four seconds, where the tracker alone would start anew after three."""
    gaps = []
    monkeypatch.setattr(track, "Tracker", lambda labels, config: gaps.append(config.max_gap) or Tracker(labels, config))
    source = tmp_path / "pictures"
    source.mkdir()
    cv2.imwrite(str(source / "a.png"), np.zeros((64, 96, 3), np.uint8))
    arguments = ("--model", str(model), "--out", str(tmp_path / "out"), "--every", "4", "--max-gap", "10")
    assert main(["predict", *arguments, str(source)]) == 0
    assert gaps[-1] == 14.0
