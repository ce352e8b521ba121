"""The data set check names each broken file, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from dvps_ros.config import DataConfig
from dvps_ros.datasets import cityscapes_dvps, png, semkitti_dvps
from dvps_ros.datasets.check import check
from dvps_ros.datasets.frames import split_folder

RGB = np.full((8, 16, 3), 77, np.uint8)
PANOPTIC = np.where(np.arange(16) < 8, 0, 13_002)[None].repeat(8, 0)
DEPTH = np.full((8, 16), 5.0)


@pytest.fixture
def root(tmp_path):
    for n in range(3):
        cityscapes_dvps.write_frame(split_folder(tmp_path, "train"), n // 2, n, RGB, PANOPTIC, DEPTH)
    return tmp_path


def file(root, n, kind):
    return next(split_folder(root, "train").glob(f"*_{n:06d}_street*_{kind}.png"))


def problems(root, form="cityscapes_dvps"):
    return [(p.path.name, p.message, p.fatal) for p in check(DataConfig(root=str(root), format=form), "train").problems]


def test_whole_data_set(root):
    report = check(DataConfig(root=str(root)), "train")
    assert report.ok
    assert not report.problems
    assert (report.frames, report.sequences, report.with_panoptic, report.with_depth) == (3, 2, 3, 3)
    assert report.sizes == {(8, 16): 3}
    assert report.class_frames == {"road": 3, "car": 3}
    assert "3 frames in 2 sequences" in str(report)


def test_truncated_files_are_named(root):
    for kind in ("leftImg8bit", "depth"):
        path = file(root, 1, kind)
        path.write_bytes(path.read_bytes()[:60])
    file(root, 2, "gtFine_instanceTrainIds").write_bytes(b"")
    found = problems(root)
    assert [name.rpartition("_")[2] for name, _, _ in found] == ["leftImg8bit.png", "depth.png", "instanceTrainIds.png"]
    assert all("truncated" in message and fatal for _, message, fatal in found)


@pytest.mark.parametrize("kind", ["gtFine_instanceTrainIds", "depth"])
def test_label_of_another_size_is_named(root, kind):
    png.write(file(root, 0, kind), np.zeros((8, 15), np.uint16))
    ((name, message, fatal),) = problems(root)
    assert kind in name
    assert "(8, 15)" in message
    assert fatal


@pytest.mark.parametrize(("value", "shown"), [(19, "19"), (254, "254"), (19_001, "19"), (65_535, "65")])
def test_class_out_of_range_is_named(root, value, shown):
    path = file(root, 0, "gtFine_instanceTrainIds")
    values = png.read_values(path)
    values[0, :3] = value
    png.write(path, values.astype(np.uint16))
    ((name, message, fatal),) = problems(root)
    assert name == path.name
    assert f"out of range: {shown} (3 pixels)" in message
    assert fatal


def test_void_of_both_encodings_is_in_range(root):
    path = file(root, 0, "gtFine_instanceTrainIds")
    values = png.read_values(path)
    values[0, :3] = [255, 32_000, 18]
    png.write(path, values.astype(np.uint16))
    assert not problems(root)


def test_depth_at_the_formats_limit_is_named(root):
    png.write(file(root, 0, "depth"), np.full((8, 16), 65_535, np.uint16))
    ((name, message, fatal),) = problems(root)
    assert name.endswith("depth.png")
    assert "65535" in message
    assert "128 pixels" in message
    assert fatal


def test_missing_labels_are_named(root):
    file(root, 0, "depth").unlink()
    file(root, 1, "depth").unlink()
    file(root, 1, "gtFine_instanceTrainIds").unlink()
    report = check(DataConfig(root=str(root)), "train")
    first, second = report.problems
    assert not first.fatal
    assert "no depth label" in first.message
    assert second.fatal
    assert "neither" in second.message
    assert not report.ok


def test_labels_that_are_required_and_those_that_are_not_read(root):
    file(root, 0, "gtFine_instanceTrainIds").unlink()
    png.write(file(root, 1, "depth"), np.full((8, 16), 65_535, np.uint16))
    config = DataConfig(root=str(root), labels="panoptic")
    ((lacking, message, fatal),) = [(p.path.name, p.message, p.fatal) for p in check(config, "train").problems]
    assert "leftImg8bit" in lacking
    assert "no panoptic label" in message
    assert fatal
    (found,) = check(replace(config, labels="depth"), "train").problems
    assert "65535" in found.message


def test_label_without_image_is_named(root):
    file(root, 2, "leftImg8bit").unlink()
    found = problems(root)
    assert len(found) == 2
    assert all("image or the other label file is missing" in message for _, message, _ in found)


def test_empty_split_and_missing_root(root, tmp_path):
    report = check(DataConfig(root=str(root)), "val")
    assert not report.ok
    assert "video_sequence/val" in str(report)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check(DataConfig(root=str(tmp_path / "nowhere")), "val")


def test_semkitti(tmp_path):
    folder = split_folder(tmp_path, "train")
    semkitti_dvps.write_frame(folder, 0, 0, RGB, np.full((8, 16), 8_000), DEPTH, focal=700.0)
    semkitti_dvps.write_frame(folder, 0, 1, RGB, np.full((8, 16), 3_007), DEPTH, focal=700.0)
    report = check(DataConfig(root=str(tmp_path), format="semkitti_dvps"), "train")
    assert not report.problems
    assert report.class_frames == {"road": 1, "truck": 1}
    png.write(folder / "000000_000000_gtFine_class.png", np.full((8, 16), 40, np.uint8))
    png.write(folder / "000000_000001_gtFine_instance.png", np.full((8, 16), 1500, np.uint16))
    found = problems(tmp_path, "semkitti_dvps")
    assert [(message.split(":")[0], fatal) for _, message, fatal in found] == [
        ("class ids out of range", True),
        ("instance ids out of range", False),
    ]
