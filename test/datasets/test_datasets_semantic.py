"""Labels of classes without instances: tables of values, the semantic folder, and what training gets of them."""

import numpy as np
import pytest
import torch

from dvps_ros import resources
from dvps_ros.config import DataConfig
from dvps_ros.datasets import cameras_file, class_labels, folder, png
from dvps_ros.datasets.check import check
from dvps_ros.datasets.formats import open_split
from dvps_ros.datasets.semantic_tables import read_table
from dvps_ros.datasets.targets import build_target
from dvps_ros.datasets.transforms import Window, apply_window
from dvps_ros.labels import CITYSCAPES, SEMKITTI, VOID, SemanticTable, identity_table

H, W = 8, 12
SKY, TREE, CAR, ROAD, VOID_VALUE = 0, 5, 8, 3, 255
TABLE = "0: sky\n3: road\n5: {name: tree, classes: [vegetation, terrain]}\n8: [car, 14]\n"


def values():
    """Sky above road, a tree, two cars, an unlabelled column."""
    found = np.full((H, W), SKY, np.uint8)
    found[4:] = ROAD
    found[1:5, 1:3] = TREE
    found[4:6, 4:6] = found[4:6, 8:10] = CAR
    found[:, -1] = VOID_VALUE
    return found


@pytest.fixture
def root(tmp_path):
    folder.write_frame(tmp_path / "train", "drive", "1", np.zeros((H, W, 3), np.uint8), None, None)
    png.write(tmp_path / "train" / "semantic" / "drive" / "1.png", values())
    (tmp_path / "labels.yaml").write_text(TABLE)
    return tmp_path


def open_train(root, **changes):
    return open_split(DataConfig(format="folder", root=str(root), **changes), "train")


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_says_what_values_may_be(root):
    table = read_table(root / "labels.yaml", CITYSCAPES)
    assert table.values == (0, 3, 5, 8)
    assert table.names == ("sky", "road", "tree", "car/truck")
    assert table.sets == ({10}, {0}, {8, 9}, {13, 14})
    assert table.stuff == (10, 0, None, None)


def test_a_class_of_two_values_is_whole_in_neither():
    table = SemanticTable(CITYSCAPES, (1, 2, 3), ("a", "b", "c"), tuple(map(frozenset, ({8}, {8, 9}, {2}))))
    assert table.stuff == (None, None, 2)


def test_every_class_gets_a_row_of_its_own(root):
    table = read_table(root / "labels.yaml", CITYSCAPES).with_classes()
    assert table.sets[:4] == ({10}, {0}, {8, 9}, {13, 14})
    assert sorted(next(iter(s)) for s in table.sets if len(s) == 1) == list(range(19))
    assert all(value < 0 for value in table.values[4:])
    assert table.stuff[:4] == (10, 0, None, None)
    assert identity_table(CITYSCAPES).with_classes() == identity_table(CITYSCAPES)
    assert identity_table(CITYSCAPES).stuff == (*range(11), *[None] * 8)


def test_the_shipped_table_of_camvid():
    table = read_table(resources.find("config/labels/camvid.yaml"), CITYSCAPES)
    assert table.values == tuple(range(11))
    expected = [{10}, {2, 3}, {5}, {0}, {1}, {8, 9}, {6, 7}, {4}, {13, 14, 15, 16}, {11}, {12, 17, 18}]
    assert list(table.sets) == expected
    assert table.names[4:6] == ("pavement", "tree")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("0: [sky, cloud]", "0: 'cloud' is not a class of cityscapes"),
        ("0: 19", "0: '19' is not a class"),
        ("255: sky", "'255' is not a label value from 0 to 254"),
        ("a: sky", "'a' is not a label value"),
        ("-1: sky", "'-1' is not a label value"),
        ("1: []", "1: must be a class or a list of classes"),
        ("1: {name: x}", "1: expected the keys classes and name"),
        ("1: [[sky]]", "1: must be a class"),
        ("1: sky\n01: road", "value 1 is there twice"),
        ("1: sky\n1: road", "key '1' is repeated"),
        ("- sky", "expected a mapping"),
        ("1: [", "not readable as YAML"),
    ],
)
def test_a_broken_table_is_named_in_one_line(text, message, root):
    (root / "labels.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        open_train(root)
    assert str(caught.value).startswith(str(root / "labels.yaml"))
    assert "\n" not in str(caught.value)


def test_values_are_read_as_they_are_written(root):
    """To YAML 1.1, 010 is eight."""
    (root / "labels.yaml").write_text("00: sky\n003: road\n5: [vegetation]\n08: car\n010: pole\n")
    assert open_train(root).table.values[:5] == (0, 3, 5, 8, 10)


# --- the folder ------------------------------------------------------------------------------------------------------


def test_values_of_one_stuff_class_are_segments_and_all_others_are_not(root):
    frame = open_train(root).read(0)
    expected = np.select([values() == SKY, values() == ROAD], [10_000, 0], VOID)
    np.testing.assert_array_equal(frame.panoptic, expected)
    rows = np.select([values() == value for value in (SKY, ROAD, TREE, CAR)], range(4), -1)
    np.testing.assert_array_equal(frame.semantic, rows)
    assert frame.segmented == {0, 10}
    assert frame.depth is None


def test_without_a_table_values_are_train_ids(root):
    (root / "labels.yaml").unlink()
    png.write(root / "train" / "semantic" / "drive" / "1.png", np.where(values() == CAR, 13, 8).astype(np.uint8))
    frame = open_train(root).read(0)
    assert np.unique(frame.panoptic).tolist() == [8_000, VOID]
    assert np.unique(frame.semantic).tolist() == [8, 13]
    assert frame.segmented == set(CITYSCAPES.stuff)


def test_a_table_given_by_the_configuration_comes_first(root, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("0: sky\n3: sidewalk\n5: vegetation\n8: bus\n")
    frame = open_train(root, semantic_table=str(mine)).read(0)
    assert np.unique(frame.panoptic).tolist() == [1_000, 8_000, 10_000, VOID]
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        open_train(root, semantic_table=str(tmp_path / "none.yaml"))
    with pytest.raises(ValueError, match="semantic_table applies to the format folder only"):
        open_split(DataConfig(root=str(root), semantic_table=str(mine)), "train")


def test_a_value_that_no_table_names(root):
    found = values()
    found[0, :2] = 77
    path = root / "train" / "semantic" / "drive" / "1.png"
    png.write(path, found)
    message = "label values without a class in the table: 77 (2 pixels)"
    with pytest.raises(ValueError) as caught:
        open_train(root).read(0)
    assert str(caught.value) == f"{path}: {message}"
    (problem,) = check(DataConfig(format="folder", root=str(root)), "train").problems
    assert (problem.path, problem.message, problem.fatal) == (path, message, True)
    assert open_train(root)[0].semantic[0, :3].tolist() == [-1, -1, 0]


def test_a_panoptic_label_beside_it_tells_segments(root):
    """The cars' instances from one file; the tree, which the other leaves void, from the other."""
    panoptic = np.select([values() == SKY, values() == ROAD, values() == CAR], [10_000, 0, 13_001], VOID)
    panoptic[4:6, 8:10] = 14_007
    png.write(root / "train" / "panoptic" / "drive" / "1.png", folder.encode_panoptic(panoptic))
    frame = open_train(root).read(0)
    np.testing.assert_array_equal(frame.panoptic, panoptic)
    assert np.unique(frame.semantic[values() == TREE]).tolist() == [2]
    assert frame.segmented is None
    report = check(DataConfig(format="folder", root=str(root)), "train")
    assert report.ok
    assert (report.with_panoptic, report.with_semantic, report.without_instances) == (1, 1, 0)


def test_a_panoptic_label_that_disagrees_is_named(root):
    wrong = np.where(values() == CAR, 13_001, 8_000).astype(np.uint16)
    png.write(root / "train" / "panoptic" / "drive" / "1.png", wrong)
    path = root / "train" / "semantic" / "drive" / "1.png"
    with pytest.raises(ValueError, match="says sky where the panoptic label says vegetation") as caught:
        open_train(root).read(0)
    wrong = np.count_nonzero((values() == SKY) | (values() == ROAD))
    assert str(caught.value).startswith(f"{path}: ")
    assert f"({wrong} pixels disagree)" in str(caught.value)
    (problem,) = check(DataConfig(format="folder", root=str(root)), "train").problems
    assert (problem.path, problem.fatal) == (path, True)


def test_the_check_says_what_the_labels_are(root):
    report = check(DataConfig(format="folder", root=str(root)), "train")
    assert report.ok
    assert not report.problems  # that a data set has no depth at all is no warning for each image
    assert report.class_frames == {"sky": 1, "road": 1, "tree": 1, "car/truck": 1}
    assert "with semantic labels 1, with depth 0" in str(report)
    assert "things without instances in 1 frames" in str(report)


def test_the_check_counts_what_is_passed_over(root):
    images = root / "train" / "images"
    (images / "deep" / "er").mkdir(parents=True)
    for path in (images / "drive" / "2.bmp", images / "deep" / "er" / "1.png"):
        png.write_bytes(path, b"")
    png.write(images / "drive" / "01.png", np.zeros((H, W, 3), np.uint8))
    png.write(root / "train" / "semantic" / "drive" / "01.png", values())
    png.write(root / "train" / "semantic" / "drive" / "7.png", values())
    problems = [str(p) for p in check(DataConfig(format="folder", root=str(root)), "train").problems]
    assert len(problems) == 3
    assert "semantic/drive/7.png: the image or the other label file is missing" in problems[0]
    assert "2 pictures ignored (frames end in .png, .jpg, .jpeg, at most one folder deep)" in problems[1]
    assert "01.png: has the same number as 1.png" in problems[2]


# --- names -----------------------------------------------------------------------------------------------------------

NAMES = ("00", "0001", "010", "1e3", "2011-09-26", "2011_09_26", "no", "null", "0x10", "12:30:00", "yes", "~x", "1.0")


def row(fx):
    return f"{{fx: {fx}, fy: 1e2, cx: 5, cy: 3, width: 12, height: 8}}"


def test_names_of_sequences_are_what_is_written(tmp_path):
    for name in NAMES:
        folder.write_frame(tmp_path / "train", name, "0", np.zeros((H, W, 3), np.uint8), None, None)
    text = "sequences:\n" + "".join(f"  {name}: {row(10 + n)}\n" for n, name in enumerate(NAMES))
    (tmp_path / "cameras.yaml").write_text(text)
    reader = open_train(tmp_path)
    found = {files.name.partition("/")[0]: reader[n].intrinsics.fx for n, files in enumerate(reader.files)}
    assert found == {name: 10.0 + n for n, name in enumerate(NAMES)}
    # and what is written is read back
    cameras_file.write_cameras(tmp_path, reader.cameras)
    assert cameras_file.read_cameras(tmp_path) == reader.cameras


@pytest.mark.parametrize(("name", "hint"), [("1", "; did you mean 0001?"), ("drive", "")])
def test_a_camera_that_fits_no_sequence_is_named(tmp_path, name, hint):
    folder.write_frame(tmp_path / "train", "0001", "0", np.zeros((H, W, 3), np.uint8), None, None)
    folder.write_frame(tmp_path / "val", "0002", "0", np.zeros((H, W, 3), np.uint8), None, None)
    (tmp_path / "cameras.yaml").write_text(f"sequences:\n  0002: {row(10)}\n  {name}: {row(10)}\n")
    with pytest.raises(ValueError) as caught:
        open_train(tmp_path)
    assert str(caught.value) == f"{tmp_path}/cameras.yaml: sequences.{name}: no split has such a sequence{hint}"
    assert not check(DataConfig(format="folder", root=str(tmp_path)), "train").ok


def test_frames_and_sequences_are_in_natural_order(tmp_path):
    for name in ("s10", "s9", "S1"):
        for frame in ("f10", "f9", "f009a", "first", "f1.5"):
            folder.write_frame(tmp_path / "train", name, frame, np.zeros((H, W, 3), np.uint8), None, None)
    names = [files.name for files in open_train(tmp_path).files]
    frames = ["f1.5", "f9", "f009a", "f10", "first"]
    assert names == [f"{sequence}/{frame}" for sequence in ("S1", "s9", "s10") for frame in frames]


# --- targets ---------------------------------------------------------------------------------------------------------


def test_a_target_has_segments_and_what_is_known_of_the_other_pixels(root):
    reader = open_train(root)
    target = build_target(reader.read(0), CITYSCAPES, None, reader.table)
    assert target.classes.tolist() == [0, 10]
    assert [int(mask.sum()) for mask in target.masks] == [np.count_nonzero(values() == v) for v in (ROAD, SKY)]
    assert torch.equal(target.labelled, torch.from_numpy(values() != VOID_VALUE))
    rows = np.select([values() == value for value in (SKY, ROAD, TREE, CAR)], range(4), -1)
    assert torch.equal(target.semantic, torch.from_numpy(rows))
    assert target.class_sets.shape == (len(reader.table), 19)
    assert target.class_sets[2].nonzero()[:, 0].tolist() == [8, 9]
    assert target.class_sets[3].nonzero()[:, 0].tolist() == [13, 14]


def test_a_target_of_segments_alone_needs_no_more(root):
    reader = open_train(root)
    png.write(root / "train" / "semantic" / "drive" / "1.png", np.where(values() > 3, 3, values()).astype(np.uint8))
    target = build_target(reader.read(0), CITYSCAPES, None, reader.table)
    assert target.semantic is target.class_sets is None
    assert target.labelled.all()


def test_the_map_goes_through_augmentation(root):
    frame = open_train(root).read(0)
    seen = apply_window(frame, Window(1.0, 1.0, -2, 0, H, W + 2, flip=True))
    np.testing.assert_array_equal(seen.semantic[:, ::-1][:, 2:], frame.semantic)
    assert (seen.semantic[:, -2:] == -1).all()


def test_rows_of_a_crowd_in_another_class_table():
    """Cars 1, 2 and a car of no number, in SemanticKITTI's order, where things come first."""
    panoptic = np.array([[1, 2, 0, 8_000, VOID]], np.int32)
    told = class_labels.from_panoptic(panoptic, panoptic == 0, identity_table(SEMKITTI))
    assert told.panoptic.tolist() == [[1, 2, VOID, 8_000, VOID]]
    assert told.semantic.tolist() == [[0, 0, 0, 8, -1]]
    assert told.segmented is None
