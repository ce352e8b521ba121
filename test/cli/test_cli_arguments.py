"""Types of arguments: what they take, what they refuse and in which words; what several options give together."""

import argparse

import pytest

from dvps_ros.cli import arguments
from dvps_ros.config import Config


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (arguments.count, "1", 1),
        (arguments.whole_number(0, 232), "0", 0),
        (arguments.whole_number(0, 232), "232", 232),
        (arguments.positive, "1e-3", 0.001),
        (arguments.real_number(0.0, 1.0), "0", 0.0),
        (arguments.real_number(0.0, 1.0), "1", 1.0),
        (arguments.real_number(5.0), "5", 5.0),
        (arguments.height_by_width, "256x512", (256, 512)),
    ],
)
def test_good_arguments_are_converted(convert, text, value):
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text", "message"),
    [
        (arguments.count, "0", "'0' is not a whole number from 1 up"),
        (arguments.count, "-1", "'-1' is not a whole number from 1 up"),
        (arguments.count, "1.5", "'1.5' is not a whole number from 1 up"),
        (arguments.count, "²", "'²' is not a whole number from 1 up"),
        (arguments.whole_number(0, 232), "233", "'233' is not a whole number from 0 to 232"),
        (arguments.positive, "0", "'0' is not a number above 0"),
        (arguments.positive, "inf", "'inf' is not a number above 0"),
        (arguments.positive, "wide", "'wide' is not a number above 0"),
        (arguments.real_number(0.0, 1.0), "1.1", "'1.1' is not a number from 0 to 1"),
        (arguments.real_number(0.0, 1.0), "nan", "'nan' is not a number from 0 to 1"),
        (arguments.real_number(5.0), "inf", "'inf' is not a number from 5 up"),
        (arguments.height_by_width, "256", "'256' must be HEIGHTxWIDTH with both at least 32, e.g. 256x512"),
        (arguments.height_by_width, "16x512", "'16x512' must be HEIGHTxWIDTH with both at least 32, e.g. 256x512"),
    ],
)
def test_bad_arguments_are_named(convert, text, message):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        convert(text)
    assert str(caught.value) == message


def intrinsics(*words):
    parser = argparse.ArgumentParser()
    arguments.add_intrinsics(parser)
    return arguments.given_intrinsics(parser.parse_args(words))


def test_intrinsics_need_a_focal_length():
    assert intrinsics() is None
    assert intrinsics("--fx", "700", "--cy", "10") == (700.0, None, None, 10.0)
    with pytest.raises(ValueError, match="need --fx"):
        intrinsics("--cy", "10")


def test_a_configuration_is_composed_of_shipped_files_and_settings():
    files = ["config/deepdps_swin_t.yaml", "config/recipes/semkitti_stage1.yaml"]
    config = arguments.configured(files, ["training.max_steps=7"])
    assert (config.network.backbone.kind, config.labels, config.training.max_steps) == ("swin", "semkitti", 7)
    assert arguments.composed_name(files) == "deepdps_swin_t_semkitti_stage1"
    assert arguments.configured(["config/street.yaml"]) != Config()
    with pytest.raises(FileNotFoundError, match=r"config/deepdps_r50_cityscapes_stage1\.yaml"):
        arguments.configured(["config/deepdps_r50_cityscapes_stage1.yaml"])


def test_a_missing_module_is_one_line_with_the_remedy(monkeypatch):
    arguments.require_modules("rclpy", "mujoco")
    monkeypatch.setattr(arguments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"mujoco is not installed: pip install mujoco"):
        arguments.require_modules("mujoco")
