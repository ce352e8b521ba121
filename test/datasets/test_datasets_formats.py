"""Both data formats: round trips, the two panoptic encodings, and broken files."""

import json

import cv2
import numpy as np
import pytest

from dvps_ros.config import DataConfig
from dvps_ros.datasets import cityscapes_dvps, png, semkitti_dvps
from dvps_ros.datasets.formats import open_split
from dvps_ros.datasets.frames import FrameFiles, split_folder
from dvps_ros.datasets.instance_numbers import renumber
from dvps_ros.datasets.predictions import PredictionWriter
from dvps_ros.labels import CITYSCAPES, SEMKITTI, VOID
from dvps_ros.structures import Intrinsics

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
DEPTH = np.where(RNG.random((12, 20)) < 0.3, 0, RNG.uniform(0.5, 200, (12, 20)))
PANOPTIC = RNG.choice([0, 10_000, 11_001, 13_007, 18_999, VOID], (12, 20))
CAMERA = Intrinsics(300.5, 301.5, 9.0, 6.0, 20, 12)


def test_cityscapes_round_trip(tmp_path):
    folder = split_folder(tmp_path, "val")
    cityscapes_dvps.write_frame(folder, 3, 4, RGB, PANOPTIC, DEPTH)
    cityscapes_dvps.write_frame(folder, 3, 2, RGB[::-1], PANOPTIC, DEPTH, city="bonn")
    cityscapes_dvps.write_cameras(folder, {3: CAMERA})
    reader = cityscapes_dvps.CityscapesDvps(tmp_path, "val", focal=100.0)
    assert [(f.sequence, f.frame) for f in reader.files] == [(3, 2), (3, 4)]
    assert reader.sequences() == {3: [0, 1]}
    frame = reader[1]
    assert np.array_equal(frame.image, RGB)
    assert np.array_equal(frame.panoptic, PANOPTIC)
    assert frame.panoptic.dtype == np.int32
    assert np.abs(frame.depth - DEPTH).max() <= 0.5 / 256
    assert np.array_equal(frame.depth > 0, DEPTH > 0)
    assert frame.intrinsics == CAMERA
    assert frame.name == "000003_000004_street_000003_000004"
    assert np.array_equal(reader[0].image, RGB[::-1])
    assert {p.name.rpartition("_")[2] for p in folder.glob("*.png")} == {
        "leftImg8bit.png",
        "instanceTrainIds.png",
        "depth.png",
    }


def test_files_have_the_values_of_the_format(tmp_path):
    cityscapes_dvps.write_frame(tmp_path, 0, 0, RGB, PANOPTIC, DEPTH)
    stem = "000000_000000_street_000000_000000"
    raw = cv2.imread(str(tmp_path / f"{stem}_gtFine_instanceTrainIds.png"), cv2.IMREAD_UNCHANGED)
    assert raw.dtype == np.uint16
    assert np.array_equal(raw, np.where(PANOPTIC == VOID, 32000, PANOPTIC))
    raw = cv2.imread(str(tmp_path / f"{stem}_depth.png"), cv2.IMREAD_UNCHANGED)
    assert raw.dtype == np.uint16
    assert np.array_equal(raw, np.rint(DEPTH * 256).astype(int))


def test_both_panoptic_encodings_give_the_same_map():
    expected = np.array([0, 7_000, 10_000, 11_000, 13_004, 18_001, VOID])
    full = np.array([0, 7_000, 10_000, 11_000, 13_004, 18_001, 32_000], np.uint16)
    train_ids = np.array([0, 7, 10, 11, 13_004, 18_001, 255], np.uint16)
    assert cityscapes_dvps.decode_panoptic(full).tolist() == expected.tolist()
    assert cityscapes_dvps.decode_panoptic(train_ids).tolist() == expected.tolist()
    # a class that does not exist is void in either form
    assert cityscapes_dvps.decode_panoptic(np.array([19, 254, 19_000, 65_535], np.uint16)).tolist() == [VOID] * 4


@pytest.mark.parametrize("value", [-1, 19_000, 254_999])
def test_an_id_of_no_class_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match=str(value)):
        cityscapes_dvps.write_frame(tmp_path, 0, 0, RGB, np.full((12, 20), value), DEPTH)
    assert not list(tmp_path.iterdir())


def test_depth_that_the_format_cannot_hold_is_no_label():
    values = np.array([np.nan, np.inf, -1.0, 0.0, 1e-6, 1.0, 255.99, 256.0, 1000.0])
    assert png.encode_depth(values).tolist() == [0, 0, 0, 0, 1, 256, 65533, 0, 0]


def test_differences_of_read_depth_do_not_wrap_around(tmp_path):
    png.write(tmp_path / "a.png", np.array([[256]], np.uint16))
    png.write(tmp_path / "b.png", np.array([[512]], np.uint16))
    assert (png.read_depth(tmp_path / "a.png") - png.read_depth(tmp_path / "b.png")).item() == -1.0
    assert (png.read_values(tmp_path / "a.png") - png.read_values(tmp_path / "b.png")).item() == -256


def test_cameras_merge_and_fit_the_image(tmp_path):
    folder = split_folder(tmp_path, "train")
    cityscapes_dvps.write_cameras(folder, {1: CAMERA})
    cityscapes_dvps.write_cameras(folder, {0: Intrinsics(50.0, 50.0, 4.5, 2.5, 10, 6)})
    assert list(json.loads((folder / "cameras.json").read_text())) == ["000000", "000001"]
    for sequence in (0, 1, 2):
        cityscapes_dvps.write_frame(folder, sequence, 0, RGB, None, None)
    reader = open_split(DataConfig(root=str(tmp_path), focal=77.0), "train")
    assert reader[1].intrinsics == CAMERA
    doubled = reader[0].intrinsics  # the camera was given at half the image's size
    assert (doubled.fx, doubled.cx, doubled.cy, doubled.width) == (100.0, 9.5, 5.5, 20)
    assert reader[2].intrinsics == Intrinsics(77.0, 77.0, 9.5, 5.5, 20, 12)
    assert reader[2].panoptic is None
    assert reader[2].depth is None


@pytest.mark.parametrize("text", ["{", "[]", '{"000000": {"fx": 1}}', '{"000000": 5}'])
def test_broken_cameras_file_is_named(tmp_path, text):
    (tmp_path / "cameras.json").write_text(text)
    with pytest.raises(ValueError, match=r"cameras\.json"):
        cityscapes_dvps.read_cameras(tmp_path)


def test_a_camera_keeps_its_lens(tmp_path):
    lens = Intrinsics(50.0, 50.0, 4.5, 2.5, 10, 6, "plumb_bob", (-0.3, 0.1, 0.0, 0.001))
    cityscapes_dvps.write_cameras(tmp_path, {0: lens, 1: CAMERA})
    assert cityscapes_dvps.read_cameras(tmp_path) == {0: lens, 1: CAMERA}
    assert "distortion" not in json.loads((tmp_path / "cameras.json").read_text())["000001"]


def test_semkitti_round_trip(tmp_path):
    panoptic = np.where(PANOPTIC >= 8_000, VOID, PANOPTIC + 3)
    panoptic[0, :4] = [1, 7_999, 8_000, 18_000]
    folder = split_folder(tmp_path, "val")
    semkitti_dvps.write_frame(folder, 8, 12, RGB, panoptic, DEPTH, focal=718.8560180664062)
    assert (folder / "000008_000012_depth_718.8560180664062.png").is_file()
    reader = open_split(DataConfig(format="semkitti_dvps", root=str(tmp_path)), "val")
    frame = reader[0]
    assert reader.labels is SEMKITTI
    assert (reader.files[0].sequence, reader.files[0].frame) == (8, 12)
    assert np.array_equal(frame.panoptic, panoptic)
    assert np.array_equal(frame.image, RGB)
    assert np.abs(frame.depth - DEPTH).max() <= 0.5 / 256
    assert frame.intrinsics == Intrinsics(718.8560180664062, 718.8560180664062, 9.5, 5.5, 20, 12)


def test_semkitti_stuff_has_no_instance_and_unknown_classes_are_void():
    classes = np.array([0, 7, 8, 18, 19, 255])
    instances = np.array([5, 3, 9, 2, 1, 1])
    assert semkitti_dvps.join_labels(classes, instances).tolist() == [5, 7003, 8000, 18000, VOID, VOID]


def test_semkitti_numbers_beyond_the_divisor_keep_things_apart_through_a_sequence(tmp_path):
    """3 and 1003 are two cars, also where they are not in one frame; numbers that fit stay."""
    folder = split_folder(tmp_path, "val")
    frames = [[3, 1003, 2003, 0], [3, 1003, 5, 1005], [1003, 1003, 999, 1]]
    for number, row in enumerate(frames):
        semkitti_dvps.write_frame(folder, 8, number, RGB, np.zeros((12, 20), int), None, focal=1.0)
        instances = np.resize(np.array(row, np.uint16), (12, 20))
        png.write(folder / f"000008_{number:06d}_gtFine_instance.png", instances)
    reader = semkitti_dvps.SemkittiDvps(tmp_path, "val", 1.0)
    found = [reader[n].panoptic[0, :4].tolist() for n in (2, 0, 1)][:3]
    # 1, 3, 5 and 999 are taken; 2003 is gone when 1005 comes, but fresh numbers come first
    assert found == [[4, 4, 999, 1], [3, 4, 2, VOID], [3, 4, 5, 6]]
    assert reader[0].semantic[0, :4].tolist() == [0, 0, 0, 0]  # a car whose number is 0 has none


def test_instance_numbers_are_shared_only_by_what_is_never_there_at_once():
    spans = {2: (0, 9), 50: (0, 1), 60: (0, 5), 70: (3, 4), 80: (6, 9), 90: (7, 7)}
    # 1 and 3 are free for 50 and 60; 1 rests when 70 comes; 80 gets what rests longest: 1 since frame 4, 3 since 5
    assert renumber(spans, most=3) == {2: 2, 50: 1, 60: 3, 70: 1, 80: 1, 90: 3}
    with pytest.raises(ValueError, match="more than 3 instances of one class at once"):
        renumber(spans | {95: (8, 8), 96: (5, 7)}, most=3)
    assert renumber({1500: (0, 0), 7: (0, 0)}) == {7: 7, 1500: 1}


@pytest.mark.parametrize("form", ["cityscapes_dvps", "semkitti_dvps"])
def test_numbers_in_names_count_as_numbers(tmp_path, form):
    folder = split_folder(tmp_path, "val")
    folder.mkdir(parents=True)
    city = "_x" if form == "cityscapes_dvps" else ""
    names = [f"2_10{city}", f"2_9{city}", f"000001_000003{city}", f"2_000001{city}"]
    for name in names:
        png.write(folder / f"{name}_leftImg8bit.png", RGB)
    config = DataConfig(format=form, root=str(tmp_path))
    places = [(files.sequence, files.frame) for files in open_split(config, "val").files]
    assert places == [(1, 3), (2, 1), (2, 9), (2, 10)]
    png.write(folder / f"2_009{city}_leftImg8bit.png", RGB)
    with pytest.raises(ValueError, match=r"2_009.*2_9.*are the same frame"):
        open_split(config, "val")
    (folder / f"2_009{city}_leftImg8bit.png").rename(folder / "extra_leftImg8bit.png")
    with pytest.raises(ValueError, match=r"extra_leftImg8bit.png: the name must begin with"):
        open_split(config, "val")


def test_a_camera_of_no_sequence_is_named(tmp_path):
    folder = split_folder(tmp_path, "val")
    cityscapes_dvps.write_frame(folder, 3, 0, RGB, PANOPTIC, DEPTH)
    cityscapes_dvps.write_cameras(folder, {3: CAMERA, 4: CAMERA})
    assert cityscapes_dvps.CityscapesDvps(tmp_path, "val", 1.0)[0].intrinsics == CAMERA  # one too many does no harm
    cityscapes_dvps.write_frame(folder, 5, 0, RGB, PANOPTIC, DEPTH)
    with pytest.raises(ValueError, match=r"cameras\.json: 000004: the split has no such sequence"):
        cityscapes_dvps.CityscapesDvps(tmp_path, "val", 1.0)


def test_cityscapes_stuff_is_written_without_instance_and_crowds_are_no_segment(tmp_path):
    folder = split_folder(tmp_path, "val")
    cityscapes_dvps.write_frame(folder, 0, 0, RGB, np.resize([7, 10_004, 13_001], (12, 20)), None)
    path = next(folder.glob("*instanceTrainIds.png"))
    assert np.unique(png.read_values(path)).tolist() == [0, 10_000, 13_001]
    png.write(path, np.resize(np.array([13, 13_000, 7, 255], np.uint16), (12, 20)))
    frame = cityscapes_dvps.CityscapesDvps(tmp_path, "val", 1.0)[0]
    assert frame.panoptic[0, :4].tolist() == [VOID, 13_000, 7_000, VOID]
    assert frame.semantic[0, :4].tolist() == [13, 13, 7, -1]


@pytest.mark.parametrize("form", ["cityscapes_dvps", "semkitti_dvps"])
def test_missing_or_empty_folder_is_named(tmp_path, form):
    config = DataConfig(format=form, root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="video_sequence/val"):
        open_split(config, "val")
    split_folder(tmp_path, "val").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="video_sequence/val"):
        open_split(config, "val")


def test_truncated_file_is_named(tmp_path):
    folder = split_folder(tmp_path, "val")
    cityscapes_dvps.write_frame(folder, 0, 0, RGB, PANOPTIC, DEPTH)
    image = next(folder.glob("*leftImg8bit.png"))
    image.write_bytes(image.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"leftImg8bit\.png: truncated"):
        open_split(DataConfig(root=str(tmp_path)), "val")[0]


def test_label_of_another_size_is_named(tmp_path):
    folder = split_folder(tmp_path, "val")
    cityscapes_dvps.write_frame(folder, 0, 0, RGB, PANOPTIC, DEPTH)
    png.write(next(folder.glob("*depth.png")), np.zeros((3, 3), np.uint16))
    with pytest.raises(ValueError, match=r"depth\.png: size \(3, 3\)"):
        open_split(DataConfig(root=str(tmp_path)), "val")[0]


def test_predictions_as_the_official_script_reads_them(tmp_path):
    writer = PredictionWriter(tmp_path, CITYSCAPES)
    panoptic = np.array([[0, 13_301, 13_302, 11_500, VOID]])
    depth = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    for frame in (0, 1):
        files = FrameFiles(0, frame, f"000000_{frame:06d}_x", image=tmp_path / "x.png")
        writer.write(files, panoptic[:, ::-1] if frame else panoptic, depth)
    red, green, _ = png.read_rgb(tmp_path / "panoptic" / "000000_000000_x.png")[0].T
    assert red.tolist() == [0, 13, 13, 11, 19]
    assert green.tolist() == [0, 1, 2, 1, 0]
    later = png.read_rgb(tmp_path / "panoptic" / "000000_000001_x.png")
    assert later[0, ::-1, 1].tolist() == green.tolist()  # numbers stay with their tracks
    assert png.read_depth(tmp_path / "depth" / "000000_000000_x.png").tolist() == depth.tolist()


def test_semkitti_predictions_have_two_label_files(tmp_path):
    files = FrameFiles(8, 0, "000008_000000", image=tmp_path / "x.png")
    PredictionWriter(tmp_path, SEMKITTI).write(files, np.array([[7, 18_000, VOID]]), np.ones((1, 3)))
    assert png.read_values(tmp_path / "panoptic" / "000008_000000_cat.png").tolist() == [[0, 18, 19]]
    assert png.read_values(tmp_path / "panoptic" / "000008_000000_ins.png").tolist() == [[7, 0, 0]]
