"""dvps label: filters, plans, resumes, refuses; and the whole way from a recording to a deployed model."""

import json
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml

from dvps_ros.cli import label as command
from dvps_ros.cli.main import main
from dvps_ros.config import LabelConfig
from dvps_ros.datasets import png
from dvps_ros.datasets.folder import Folder
from dvps_ros.datasets.pseudo_labels import Chunk, LabelledFolder, plan, sure_labels
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.runtime import NonFiniteOutputError
from dvps_ros.structures import Intrinsics, Scene

H, W = 16, 24
SETTINGS = ("--fx", "20", "--length", "4")


def scene(number=0, confidence=1.0, metric=True):
    """Sky, road and one car; the number is written into the car's place."""
    panoptic = torch.zeros(H, W, dtype=torch.int32)
    panoptic[:6] = 10_000
    panoptic[8:12, number % 12 : number % 12 + 8] = 13_001
    depth = torch.where(panoptic == 10_000, 80.0, 5.0 + number)
    return Scene(panoptic, depth, torch.full((H, W), confidence), (), metric)


class Teacher:
    """Knows a picture's number by its first pixel; its car has the number of frames since the last reset where told to.

    It stops where told to.
    """

    labels = CITYSCAPES

    def __init__(self):
        self.seen, self.age, self.ages, self.stop_at, self.confidence = [], 0, False, None, 1.0

    def reset_tracks(self):
        self.age = 0

    def step(self, image, intrinsics, stamp=None):
        number = int(image[0, 0, 0])
        if number == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(number)
        self.age += 1
        answer = scene(number, self.confidence, intrinsics is not None)
        if self.ages:
            answer.panoptic[answer.panoptic == 13_001] = 13_000 + self.age
        return answer


@pytest.fixture
def teacher(monkeypatch):
    teacher = Teacher()
    monkeypatch.setattr(command, "load_teacher", lambda args: (teacher, "hash"))
    return teacher


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    for number in range(20):
        png.write(folder / f"{number:02d}.png", np.full((H, W, 3), number, np.uint8))
    return folder


def files(root):
    """Every file of a data set with its content, the hidden ones too."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def run(*arguments):
    return main(["label", *map(str, arguments)])


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_unsure_pixels_and_segments_are_void():
    given = scene()
    given.confidence[6:8] = 0.5  # part of the road
    given.confidence[8:11, 0:8] = 0.79  # three quarters of the car
    given.depth[15, 0] = torch.nan
    panoptic, depth = sure_labels(given, CITYSCAPES, LabelConfig())
    assert (panoptic[6:8] == VOID).all()
    assert 13_001 not in panoptic
    assert (panoptic[12:] == 0).all()
    assert (panoptic[:6] == 10_000).all()
    assert (depth[12:15] == 5.0).all()
    assert not depth[:12, :8].any()  # sky, unsure, and the car
    assert depth[15, 0] == 0
    assert panoptic.dtype == np.int32
    assert depth.dtype == np.float32
    kept, _ = sure_labels(given, CITYSCAPES, LabelConfig(min_share=0.25))
    assert np.count_nonzero(kept == 13_001) == 8


def test_nothing_is_sure_where_the_lens_shows_nothing():
    fisheye = Intrinsics(6.0, 6.0, (W - 1) / 2, (H - 1) / 2, W, H, "equidistant", (0.0, 0.0, 0.0, 0.0))
    panoptic, depth = sure_labels(scene(), CITYSCAPES, LabelConfig(), fisheye)
    outside = np.hypot(*(np.indices((H, W)) - np.array([(H - 1) / 2, (W - 1) / 2])[:, None, None])) >= 6 * np.pi / 2
    assert outside.any()
    assert np.array_equal(panoptic == VOID, outside)
    assert not depth[outside].any()


def test_relative_depth_is_no_label():
    panoptic, depth = sure_labels(scene(metric=False), CITYSCAPES, LabelConfig())
    assert not depth.any()
    assert (panoptic < VOID).all()


def test_the_plan_holds_out_the_last_of_each_run():
    config = LabelConfig(val=0.2, length=4)
    assert plan("s", [0] * 10 + [1] * 5, config) == [
        Chunk("s_0000", "train", 0, 3),
        Chunk("s_0001", "train", 4, 7),
        Chunk("s_0002", "val", 8, 9),
        Chunk("s_0003", "train", 10, 13),
        Chunk("s_0004", "val", 14, 14),
    ]
    assert [chunk.split for chunk in plan("s", [0, 0], config)] == ["train", "val"]
    assert [chunk.split for chunk in plan("s", [0], config)] == ["train"]
    assert {chunk.split for chunk in plan("s", [0] * 9, LabelConfig(val=0.0))} == {"train"}


# --- the data set ----------------------------------------------------------------------------------------------------


def test_a_folder_of_pictures_becomes_a_data_set(teacher, pictures, tmp_path, capsys):
    out = tmp_path / "mine"
    assert run(pictures, "--out", out, *SETTINGS) == 0
    assert teacher.seen == list(range(20))
    train, val = (Folder(out, split, 1.0) for split in ("train", "val"))
    assert (len(train), len(val)) == (18, 2)
    assert [len(positions) for positions in train.sequences().values()] == [4, 4, 4, 4, 2]
    frame = train[7]
    assert frame.name == "drive_0001/000007"
    np.testing.assert_array_equal(frame.image, np.full((H, W, 3), 7))
    np.testing.assert_array_equal(frame.panoptic, scene(7).panoptic)
    assert (frame.depth[10:] == 12.0).all()
    assert not frame.depth[:6].any()
    assert frame.intrinsics == Intrinsics(20.0, 20.0, (W - 1) / 2, (H - 1) / 2, W, H)
    sheet = png.read_rgb(out / command.SHEET)
    assert sheet.shape[0] > 10 * 192
    text = capsys.readouterr().out
    assert f"{out}/train: 18 frames in 5 sequences, 100 % of pixels labelled" in text
    assert f"{out}/val: 2 frames in 1 sequences" in text
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("kind", ["panoptic", "depth"])
def test_one_kind_of_label_alone(kind, teacher, pictures, tmp_path):
    out = tmp_path / "mine"
    camera = SETTINGS if kind == "depth" else SETTINGS[2:]  # depth needs a camera, panoptic does not
    assert run(pictures, "--out", out, "--labels", kind, *camera) == 0
    frame = Folder(out, "train", 33.0)[0]
    assert (frame.panoptic is not None) == (kind == "panoptic")
    assert (frame.depth is not None) == (kind == "depth")
    assert frame.intrinsics.fx == (20.0 if kind == "depth" else 33.0)


def test_an_interrupted_run_goes_on_and_ends_the_same(teacher, pictures, tmp_path, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(pictures, "--out", whole, *SETTINGS) == 0
    teacher.stop_at, teacher.seen = 10, []
    assert run(pictures, "--out", broken, *SETTINGS) == 130
    assert sum("images" in name for name in files(broken)) == 8  # two sequences, none of the third
    assert not list(broken.glob(".*"))
    teacher.stop_at = None
    assert run(pictures, "--out", broken, *SETTINGS) == 0
    assert teacher.seen == [*range(10), *range(8, 20)]
    left, right = files(whole), files(broken)
    assert left.keys() == right.keys()
    assert all(left[name] == right[name] for name in left if name != command.SHEET)
    teacher.seen = []
    assert run(pictures, "--out", broken, *SETTINGS) == 0
    assert teacher.seen == []
    assert files(broken) == right


def test_interrupted_in_the_first_sequence_leaves_nothing(teacher, pictures, tmp_path):
    teacher.stop_at = 2
    assert run(pictures, "--out", tmp_path / "mine", *SETTINGS) == 130
    assert not (tmp_path / "mine").exists()


def test_more_sources_join_under_their_own_names(teacher, pictures, tmp_path):
    other = tmp_path / "elsewhere" / "drive"
    other.mkdir(parents=True)
    png.write(other / "a.png", np.full((H, W, 3), 50, np.uint8))
    assert run(pictures, "--out", tmp_path / "mine", *SETTINGS) == 0
    assert run(other, "--out", tmp_path / "mine", *SETTINGS) == 0
    names = {files.name.split("/")[0] for files in Folder(tmp_path / "mine", "train", 1.0).files}
    assert names == {*(f"drive_{k:04d}" for k in range(5)), "drive-2_0000"}


def test_topics_of_one_recording_are_sources_of_their_own(tmp_path):
    """One at a time, each has the recording's name; a stereo pair has as many frames on both."""
    bag = tmp_path / "drive.mcap"
    data = LabelledFolder(tmp_path / "mine", CITYSCAPES, {})
    assert [data.register(bag, "drive", 6, topic) for topic in ("/left", "/right", "/left")] == [
        *("drive", "drive-2", "drive"),
    ]
    with pytest.raises(ValueError, match="6 frames before, now 7"):
        data.register(bag, "drive", 7, "/right")
    for row in data._note["sources"].values():  # as earlier versions wrote it
        del row["topic"]
    assert data.register(bag, "drive", 6, "/left") == "drive"


def test_frames_without_anything_sure_are_left_out(teacher, pictures, tmp_path, capsys):
    teacher.confidence = 0.3
    assert run(pictures, "--out", tmp_path / "mine", *SETTINGS) == 0
    assert "20 frames left out" in capsys.readouterr().out
    assert not list((tmp_path / "mine").rglob("*.png"))
    teacher.seen = []
    assert run(pictures, "--out", tmp_path / "mine", *SETTINGS) == 0
    assert teacher.seen == []


# --- a user's mistakes: one line, exit 2, nothing written ------------------------------------------------------------


def refused(capsys, out, *arguments):
    """The one line on stderr; asserts that nothing in ``out`` changed."""
    before = files(out) if out.exists() else None
    capsys.readouterr()
    assert run(*arguments, "--out", out) == 2
    assert (files(out) if out.exists() else None) == before
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith("dvps label: ")
    return text


def test_faults_are_found_before_anything_is_labelled(teacher, pictures, tmp_path, capsys):
    out = tmp_path / "mine"
    assert "pictures have no camera" in refused(capsys, out, pictures)
    assert "no such file or folder" in refused(capsys, out, tmp_path / "none", *SETTINGS)
    assert "need --fx" in refused(capsys, out, pictures, "--cx", "3")
    assert "confidence" in refused(capsys, out, pictures, *SETTINGS, "--confidence", "1.5")
    path = pictures / "19.png"
    path.write_bytes(path.read_bytes()[:30])
    assert "19.png: truncated" in refused(capsys, out, pictures, *SETTINGS)
    video = tmp_path / "empty.avi"
    cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48)).release()
    assert "empty.avi" in refused(capsys, out, video, *SETTINGS)
    assert teacher.seen == []


def drive(*numbers):
    """Pictures of these numbers, taken at these tenths of a second."""
    camera = Intrinsics(20.0, 20.0, (W - 1) / 2, (H - 1) / 2, W, H)
    return [SimpleNamespace(rgb=np.full((H, W, 3), n, np.uint8), stamp=n / 10, intrinsics=camera) for n in numbers]


def test_broken_recordings_write_nothing(teacher, tmp_path, capsys):
    out = tmp_path / "mine"
    blind = record(tmp_path / "blind", drive(*range(20)), camera=False)
    assert "blind has no camera_info for /camera/image" in refused(capsys, out, blind)
    cut = record(tmp_path / "cut", drive(*range(20)))
    (file,) = cut.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "it may be truncated" in refused(capsys, out, cut)
    good = record(tmp_path / "good", drive(*range(20)))
    assert "it may be truncated" in refused(capsys, out, good, cut)  # the good one is not begun either
    assert teacher.seen == []


def test_a_gap_is_told_and_splits_the_sequence(teacher, tmp_path, capsys):
    bag = record(tmp_path / "bag", drive(*range(10), *range(60, 70)))
    assert run(bag, "--out", tmp_path / "mine", "--every", "0", "--val", "0.2") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "no picture" in line]
    assert lines == [f"{bag}: no picture for 5.1 s, 0.9 s after the start; a new sequence begins"]
    train = Folder(tmp_path / "mine", "train", 1.0)
    assert [len(positions) for positions in train.sequences().values()] == [8, 8]


def test_each_sequence_numbers_its_things_from_one(teacher, pictures, tmp_path):
    teacher.ages = True
    assert run(pictures, "--out", tmp_path / "mine", *SETTINGS) == 0
    train = Folder(tmp_path / "mine", "train", 1.0)
    numbers = [[train[i].panoptic.max() - 13_000 for i in places] for places in train.sequences().values()]
    assert numbers == [[1, 2, 3, 4]] * 4 + [[1, 2]]


def test_the_model_s_failure_names_the_frame_and_keeps_whole_sequences(teacher, pictures, tmp_path, capsys):
    def fail(image, intrinsics, stamp=None):
        if image[0, 0, 0] == 6:
            raise NonFiniteOutputError("the network's output is not finite")
        return scene(int(image[0, 0, 0]))

    teacher.step = fail
    assert run(pictures, "--out", tmp_path / "mine", *SETTINGS) == 2
    assert capsys.readouterr().err == f"dvps label: {pictures}, frame 6: the network's output is not finite\n"
    assert len(Folder(tmp_path / "mine", "train", 1.0)) == 4
    assert not list((tmp_path / "mine").glob(".*"))


def test_a_data_set_of_other_settings_is_not_mixed(teacher, pictures, tmp_path, capsys):
    out = tmp_path / "mine"
    assert run(pictures, "--out", out, *SETTINGS) == 0
    assert "confidence 0.8, not 0.9" in refused(capsys, out, pictures, *SETTINGS, "--confidence", "0.9")
    assert "labels" in refused(capsys, out, pictures, *SETTINGS, "--labels", "depth")
    (pictures / "19.png").unlink()
    assert "20 frames before, now 19" in refused(capsys, out, pictures, *SETTINGS)
    assert "contains other files" in refused(capsys, pictures, pictures, *SETTINGS)
    (out / "labels.json").write_text("{")
    assert "broken" in refused(capsys, out, pictures, *SETTINGS)


def test_a_missing_model_is_one_line(pictures, tmp_path, capsys):
    assert "no such file or folder" in refused(capsys, tmp_path / "mine", pictures, "--model", "x/none", *SETTINGS)


# --- recording -> label -> train -> evaluate -> deploy ---------------------------------------------------------------

CHAIN = {
    "network": {
        "backbone": {"block": "basic", "depths": [1, 1, 1, 1], "stem": 16, "widths": [16, 32, 64, 96]},
        "width": 64,
        "heads": 4,
        "points": 4,
        "encoder_layers": 1,
        "encoder_feedforward": 128,
        "queries": 24,
        "decoder_layers": 3,
        "feedforward": 128,
    },
    "merge": {"score_threshold": 0.4, "overlap_threshold": 0.5},
    "data": {
        "format": "folder",
        "crop_height": 96,
        "crop_width": 192,
        "min_scale": 1.0,
        "max_scale": 1.0,
        "color_jitter": False,
        "workers": 0,
    },
    "loss": {"points": 512},
    "optimizer": {"learning_rate": 2e-3, "backbone_factor": 1.0, "warmup_steps": 10, "clip_norm": 1.0},
    "training": {
        "batch_size": 2,
        "max_steps": 140,
        "precision": "32",
        "validate_every": 140,
        "checkpoint_every": 140,
        "images": 0,
        "log_every": 50,
    },
}


class Truth:
    """The simulator's own labels, found by the picture."""

    labels = CITYSCAPES

    def __init__(self, frames):
        self.frames = {frame.rgb.tobytes(): frame for frame in frames}

    def reset_tracks(self):
        pass

    def step(self, image, intrinsics, stamp=None):
        frame = self.frames[image.tobytes()]
        assert abs(intrinsics.fx - frame.intrinsics.fx) < 1e-6
        confidence = torch.from_numpy((frame.panoptic < VOID).astype(np.float32))
        return Scene(torch.from_numpy(frame.panoptic), torch.from_numpy(frame.depth), confidence)


def measures(model, data, tmp_path):
    assert main(["evaluate", "--model", str(model), "--data", str(data), "--json", str(tmp_path / "m.json")]) == 0
    report = json.loads((tmp_path / "m.json").read_text())
    return report["PQ"]["all"]["PQ"] or 0.0, report["depth"]["absRel"]


@pytest.fixture
def one_thread():
    """More threads than free cores wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_from_a_recording_to_a_deployed_model(monkeypatch, tmp_path, capsys):
    pytest.importorskip("mujoco")
    from dvps_ros import checkpoints
    from dvps_ros.config import StreetConfig, load_config
    from dvps_ros.network import build
    from dvps_ros.runtime import Perceiver
    from dvps_ros.simulation import sequence
    from dvps_ros.structures import Intrinsics as Camera

    started = time.perf_counter()
    monkeypatch.setenv(
        "LP_NUM_THREADS", "1"
    )  # of software rendering; threads beyond the free cores wait for each other
    torch.set_num_threads(1)
    street = StreetConfig(width=192, height=96, frames=20, spacing=0.5)
    frames = list(sequence(4, street))
    bag = record(tmp_path / "drive", frames)
    monkeypatch.setattr(command, "load_teacher", lambda args: (Truth(frames), "simulator"))
    data = tmp_path / "mine"
    assert run(bag, "--out", data, "--val", "0.2") == 0
    assert len(Folder(data, "train", 1.0)) + len(Folder(data, "val", 1.0)) == 20
    labelled = time.perf_counter()

    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(CHAIN))
    out = tmp_path / "run"
    arguments = ["--config", str(config), "--set", f"data.root={data}", "--out", str(out), "--device", "cpu"]
    assert main(["train", *arguments, "--check"]) == 0
    assert main(["train", *arguments]) == 0
    trained = time.perf_counter()

    torch.manual_seed(0)
    untrained = tmp_path / "untrained"
    checkpoints.save(build(load_config(config).network), untrained, load_config(config))
    before, after = measures(untrained, data, tmp_path), measures(out / "model", data, tmp_path)
    with capsys.disabled():
        print(
            f"\nuntrained PQ {before[0]:.1f}, absRel {before[1]:.3f}; distilled PQ {after[0]:.1f}, "
            f"absRel {after[1]:.3f} (label {labelled - started:.0f} s, train {trained - labelled:.0f} s)"
        )
    assert after[0] > before[0] + 10
    assert after[1] < 0.25 * before[1]

    perceiver = Perceiver.load(out / "model", "cpu")
    camera: Camera = frames[-1].intrinsics
    found = perceiver.step(frames[-1].rgb, camera)
    assert found.metric
    road = frames[-1].panoptic == 0
    assert (found.panoptic.numpy()[road] == 0).mean() > 0.5


def record(path, frames, camera=True):
    """A bag of the frames, with their camera if so, as a robot would record it."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    kinds = {name: f"sensor_msgs/msg/{name}" for name in ("Image", "CameraInfo", "RegionOfInterest")}
    image_type, info_type, roi_type = (store.types[kind] for kind in kinds.values())
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {
            name: writer.add_connection(f"/camera/{topic}", kinds[name], typestore=store)
            for name, topic in (("Image", "image"), ("CameraInfo", "camera_info"))
        }
        for frame in frames:
            stamp = round((frame.stamp + 1.7e9) * 1e9)
            when = store.types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
            header = store.types["std_msgs/msg/Header"](when, "camera")
            height, width = frame.rgb.shape[:2]
            lens = frame.intrinsics
            k = np.array([lens.fx, 0, lens.cx, 0, lens.fy, lens.cy, 0, 0, 1], float)
            image = image_type(header, height, width, "rgb8", 0, 3 * width, frame.rgb.reshape(-1))
            roi = roi_type(0, 0, 0, 0, False)
            info = info_type(
                header, height, width, "plumb_bob", np.zeros(5), k, np.eye(3).reshape(-1), np.zeros(12), 0, 0, roi
            )
            for name, message in (("Image", image), ("CameraInfo", info))[: 1 + camera]:
                writer.write(topics[name], stamp, store.serialize_cdr(message, kinds[name]))
    return path
