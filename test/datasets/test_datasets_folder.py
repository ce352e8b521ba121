"""The plain folder form: round trips, hand-made folders of every kind, broken files named."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dvps_ros.config import DataConfig
from dvps_ros.datasets import cameras_file, folder, png
from dvps_ros.datasets.check import check
from dvps_ros.datasets.formats import open_split
from dvps_ros.datasets.frames import centered
from dvps_ros.labels import CITYSCAPES, SEMKITTI, VOID
from dvps_ros.structures import Intrinsics

H, W = 24, 40
CAMERA = Intrinsics(50.0, 51.0, 19.0, 12.5, W, H)
FISHEYE = replace(CAMERA, distortion_model="equidistant", distortion=(0.1, -0.02, 0.003, 0.0))


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def labels():
    panoptic = np.full((H, W), 10_000)
    panoptic[10:] = 0
    panoptic[12:20, 5:15] = 13_001
    panoptic[:, :3] = VOID
    return panoptic, np.where(panoptic == 0, 7.5, 0.0)


def open_train(root, **changes):
    return open_split(DataConfig(format="folder", root=str(root), **changes), "train")


@pytest.fixture
def root(tmp_path):
    """Sequence a with both labels, b with one of each kind and one frame without any."""
    train = folder.split_folder(tmp_path / "mine", "train")
    panoptic, depth = labels()
    for frame in ("000000", "000001"):
        folder.write_frame(train, "a", frame, picture(), panoptic, depth)
    folder.write_frame(train, "b", "1", picture(1), panoptic, None)
    folder.write_frame(train, "b", "2", picture(2), None, depth)
    folder.write_frame(train, "b", "3", picture(3), None, None)
    cameras_file.write_cameras(tmp_path / "mine", cameras_file.Cameras(CITYSCAPES, CAMERA, {"b": FISHEYE}))
    return tmp_path / "mine"


def test_what_is_written_is_read(root):
    reader = open_train(root)
    assert [files.name for files in reader.files] == ["a/000000", "a/000001", "b/1", "b/2", "b/3"]
    assert reader.sequences() == {0: [0, 1], 1: [2, 3, 4]}
    panoptic, depth = labels()
    first, only_panoptic, only_depth, bare = (reader[k] for k in (0, 2, 3, 4))
    np.testing.assert_array_equal(first.image, picture())
    np.testing.assert_array_equal(first.panoptic, panoptic)
    np.testing.assert_array_equal(first.depth, depth)
    assert first.panoptic.dtype == np.int32
    assert first.intrinsics == CAMERA
    assert only_panoptic.depth is None
    assert only_depth.panoptic is None
    assert only_depth.intrinsics == FISHEYE
    assert bare.panoptic is bare.depth is None


def test_depth_without_a_camera_is_refused_whatever_the_defaults_are(root):
    """A focal length of another data set would make every metre wrong, and validation would not show it."""
    (root / "cameras.yaml").unlink()
    with pytest.raises(ValueError, match="depth without a camera"):
        open_train(root)
    assert open_train(root, focal=77.0)[0].intrinsics == centered(77.0, H, W)
    assert len(open_train(root, labels="panoptic")) == 5


def test_jpegs_without_folders_or_cameras(tmp_path):
    images = tmp_path / "train" / "images"
    images.mkdir(parents=True)
    smooth = cv2.GaussianBlur(picture(), (0, 0), 5)
    for name in ("b.jpg", "a.JPEG"):
        assert cv2.imwrite(str(images / name), smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    png.write(
        tmp_path / "train" / "panoptic" / "b.png", np.where(np.arange(W) < 5, 255, 13) * np.ones((H, 1), np.uint8)
    )
    reader = open_train(tmp_path, focal=77.0)
    assert [files.name for files in reader.files] == ["a", "b"]
    assert len(reader.sequences()) == 1
    frame = reader[1]
    assert np.abs(frame.image.astype(int) - smooth).max() < 12
    assert frame.intrinsics == centered(77.0, H, W)
    # an 8-bit label file holds train ids: that these are cars, not which of them
    assert np.unique(frame.panoptic).tolist() == [VOID]
    assert np.unique(frame.semantic[:, :5]).tolist() == [-1]
    assert np.unique(frame.semantic[:, 5:]).tolist() == [13]
    assert frame.segmented == set(CITYSCAPES.stuff)


def test_a_camera_follows_the_size_of_the_picture(root):
    small = cv2.resize(picture(), (W // 2, H // 2))
    folder.write_frame(root / "train", "c", "0", small, None, None)
    assert open_train(root)[5].intrinsics == CAMERA.resized(W // 2, H // 2)


def test_class_0_may_be_a_thing(tmp_path):
    panoptic = np.where(np.arange(W) < 9, 5, 8_000) * np.ones((H, 1), int)  # car 5 on road
    folder.write_frame(tmp_path / "train", "s", "0", picture(), panoptic, None, SEMKITTI)
    cameras_file.write_cameras(tmp_path, cameras_file.Cameras(SEMKITTI))
    reader = open_train(tmp_path)
    assert reader.labels is SEMKITTI
    np.testing.assert_array_equal(reader[0].panoptic, panoptic)


def test_stuff_has_no_instances_and_foreign_voids_are_void(tmp_path):
    folder.write_frame(tmp_path / "train", "s", "0", picture(), None, None)
    values = np.resize(np.array([7_003, 13_002, 32_000, 65_535, 19_000], np.uint16), (H, W))
    png.write(tmp_path / "train" / "panoptic" / "s" / "0.png", values)
    found = open_train(tmp_path)[0].panoptic
    np.testing.assert_array_equal(found.reshape(-1)[:5], [7_000, 13_002, VOID, VOID, VOID])


def test_classes_by_themselves_in_16_bits(tmp_path):
    """As in Cityscapes' gtFine_instanceTrainIds: stuff and crowds by their class, things by class * 1000 + instance."""
    folder.write_frame(tmp_path / "train", "s", "0", picture(), None, None)
    values = np.resize(np.array([0, 2, 10, 255, 13_000, 13_001, 13, 11], np.uint16), (H, W))
    png.write(tmp_path / "train" / "panoptic" / "s" / "0.png", values)
    reader = open_train(tmp_path)
    frame = reader.read(0)
    found = frame.panoptic.reshape(-1)[:8].tolist()
    assert found == [0, 2_000, 10_000, VOID, 13_000, 13_001, VOID, VOID]
    assert frame.semantic.reshape(-1)[:8].tolist() == [0, 2, 10, -1, 13, 13, 13, 11]
    assert frame.segmented is None  # cars are told apart, but for the crowd
    report = check(DataConfig(format="folder", root=str(tmp_path)), "train")
    assert report.ok
    assert (report.without_instances, report.crowds) == (0, 1)
    png.write(tmp_path / "train" / "panoptic" / "s" / "0.png", np.full((H, W), 200, np.uint16))
    with pytest.raises(ValueError, match=r"s/0.png: class ids out of range: 200"):
        reader.read(0)


def test_what_16_bits_mean_where_class_0_is_a_thing(tmp_path):
    """Cars 8 and 255 on road: 8 is no class by itself there, and 255 not void. A file of classes alone is refused."""
    values = np.resize(np.array([0, 8, 255, 8_000, 65_535]), (H, W))
    panoptic = np.where(values == 65_535, VOID, values)
    folder.write_frame(tmp_path / "train", "s", "0", picture(), panoptic, None, SEMKITTI)
    cameras_file.write_cameras(tmp_path, cameras_file.Cameras(SEMKITTI))
    path = tmp_path / "train" / "panoptic" / "s" / "0.png"
    np.testing.assert_array_equal(png.read_values(path), values)
    frame = open_train(tmp_path).read(0)
    assert frame.panoptic.reshape(-1)[:5].tolist() == [VOID, 8, 255, 8_000, VOID]
    assert frame.semantic.reshape(-1)[:5].tolist() == [0, 0, 0, 8, -1]
    png.write(path, np.where(values < 1000, values, 9).astype(np.uint16))
    with pytest.raises(ValueError, match="class ids without instances need an 8-bit file"):
        open_train(tmp_path).read(0)


def test_stuff_is_written_without_instance(tmp_path):
    """Road 5 written as 5 would be read as the class 5."""
    folder.write_frame(tmp_path / "train", "s", "0", picture(), np.full((H, W), 5), None)
    assert np.unique(open_train(tmp_path).read(0).panoptic).tolist() == [0]


@pytest.mark.parametrize(
    ("sequence", "frame", "change", "message"),
    [
        ("../up", "0", {}, "not names"),
        ("s", "a/b", {}, "not names"),
        ("s", "", {}, "not names"),
        ("s", "0", {"depth": np.zeros((3, 3))}, "depth label of size"),
        ("s", "0", {"panoptic": np.full((H, W), 66_000)}, "66000 has no class"),
        ("s", "0", {"panoptic": np.full((H, W), -1)}, "-1 has no class"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(sequence, frame, change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        folder.write_frame(tmp_path / "x", sequence, frame, picture(), change.get("panoptic"), change.get("depth"))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels: coco", "labels is 'coco'"),
        ("camera: {}", "keys labels, default and sequences"),
        ("default: {fx: 1}", "default: a camera needs numbers"),
        ("default: {fx: 1, fy: 1, cx: 1, cy: 1, width: 1, height: 1, f: 2}", "got"),
        ("default: {fx: 0, fy: 1, cx: 1, cy: 1, width: 1, height: 1}", "above 0"),
        ("sequences: {a: {fx: a, fy: 1, cx: 1, cy: 1, width: 1, height: 1}}", "sequences.a: a camera needs"),
        ("sequences: [a]", "must map names"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_a_broken_camera_file_is_named(text, message, root):
    (root / cameras_file.CAMERAS).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        open_train(root)
    assert str(root / cameras_file.CAMERAS) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_double_frames_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set folder"):
        open_train(tmp_path / "none")
    (tmp_path / "empty" / "train" / "images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no \.png or \.jpg"):
        open_train(tmp_path / "empty")
    cv2.imwrite(str(root / "train" / "images" / "a" / "000001.jpg"), picture())
    with pytest.raises(ValueError, match="are the same frame"):
        open_train(root)


def test_truncated_pictures_are_named(root):
    reader = open_train(root)
    path = reader.files[0].image
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"a/000000.png: truncated"):
        reader[0]
    done, data = cv2.imencode(".jpg", picture())
    assert done
    half = root / "train" / "images" / "c.jpg"
    half.write_bytes(data.tobytes()[: len(data) // 2])
    reader = open_train(root)
    assert reader.files[0].image == half
    with pytest.raises(ValueError, match=r"c.jpg: truncated"):
        reader[0]


def test_the_check_understands_folders(root):
    config = DataConfig(format="folder", root=str(root))
    report = check(config, "train")
    assert (report.frames, report.sequences, report.with_panoptic, report.with_depth) == (5, 2, 3, 3)
    assert report.class_frames == {"road": 3, "car": 3, "sky": 3}
    (fatal,) = (problem for problem in report.problems if problem.fatal)
    assert fatal.path.name == "3.png"
    assert "neither" in fatal.message
    assert "no data set folder" in str(check(config, "val").problems[0])

    shutil.copy(root / "train" / "depth" / "a" / "000000.png", root / "train" / "depth" / "a" / "9.png")
    png.write(root / "train" / "panoptic" / "a" / "000001.png", np.full((H, W), 40_000, np.uint16))
    png.write(root / "train" / "panoptic" / "b" / "1.png", np.full((3, 4), 19, np.uint8))
    problems = [str(problem) for problem in check(config, "train").problems]
    for path, message in (
        ("depth/a/9.png", "the image or the other label file is missing"),
        ("panoptic/a/000001.png", "out of range: 40"),
        ("panoptic/b/1.png", "out of range: 19"),
        ("panoptic/b/1.png", "size"),
    ):
        assert any(path in problem and message in problem for problem in problems), (path, message, problems)


def test_a_picture_of_another_shape_than_its_camera_is_named(root):
    tall = np.zeros((W, H, 3), np.uint8)
    folder.write_frame(root / "train", "c", "0", tall, None, None)
    with pytest.raises(ValueError, match=rf"0\.png: the camera is {W}x{H}, the image {H}x{W}: not its size"):
        open_train(root)[5]


@pytest.mark.parametrize("kind", ["depth", "semantic"])
def test_files_with_too_few_bits_are_named(root, kind):
    """Of 8 bits depth would be centimetres; OpenCV stretches the values of 1, 2 and 4 bits to 0..255."""
    path = root / "train" / kind / "b" / "3.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((H, W), 1, np.uint8)
    assert cv2.imwrite(str(path), values, [cv2.IMWRITE_PNG_BILEVEL, int(kind == "semantic")])
    bits = {"depth": 8, "semantic": 1}[kind]
    with pytest.raises(ValueError, match=rf"3\.png: {bits} bits, "):
        open_train(root)[4]


def test_a_camera_with_coefficients_but_without_a_lens_model_is_named(root):
    text = (root / "cameras.yaml").read_text()
    (root / "cameras.yaml").write_text(text.replace("distortion_model: equidistant", "distortion_model: ''"))
    with pytest.raises(ValueError, match=r"sequences\.b: distortion_model is '', must be one of plumb_bob"):
        open_train(root)
