"""What the launch files make of their arguments."""

import pytest

from dvps_ros import launch_arguments
from dvps_ros.launch_arguments import camera_info_beside, flag, node_finds, number


def test_words_that_yaml_takes_for_true_or_false():
    assert [flag("rviz", text) for text in ("true", "yes", "On")] == [True] * 3
    assert [flag("rviz", text) for text in ("False", "no", "off")] == [False] * 3


@pytest.mark.parametrize("text", ["", "1", "maybe", "[", "null"])
def test_other_words_are_refused_by_name(text):
    with pytest.raises(RuntimeError, match=r"^rviz:=.*must be true or false$"):
        flag("rviz", text)


def test_numbers_are_finite():
    assert (number("camera_height", "1.65"), number("camera_height", "2")) == (1.65, 2.0)
    for text in ("", "high", "nan", "inf"):
        with pytest.raises(RuntimeError, match=f"^camera_height:={text}: must be a number$"):
            number("camera_height", text)


@pytest.mark.parametrize(
    ("image", "camera_info"),
    [
        ("image", "camera_info"),
        ("/image", "/camera_info"),
        ("/camera/image_raw", "/camera/camera_info"),
        ("/camera/image_raw/compressed", "/camera/camera_info"),
        ("camera/image_rect", "camera/camera_info"),
    ],
)
def test_the_calibration_lies_beside_the_image(image, camera_info):
    assert camera_info_beside(image) == camera_info


@pytest.mark.parametrize(
    ("rclpy", "wanted"), [("3.3.16", "FASTRTPS"), ("7.1.6", "FASTRTPS"), ("9.1.2", "FASTDDS"), ("10.0.1", "FASTDDS")]
)
def test_the_profile_s_variable_is_that_of_the_distribution(monkeypatch, rclpy, wanted):
    monkeypatch.setattr(launch_arguments, "version", lambda package: rclpy)
    first, second = launch_arguments.profile_variables()
    assert first == f"{wanted}_DEFAULT_PROFILES_FILE"
    assert {first, second} == {"FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"}


def test_a_module_is_looked_for_by_the_python_that_runs_the_node(tmp_path, monkeypatch):
    """apt's ros2 does not see what pip installed into the virtual environment in which the node was built."""
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "dvps_ros").touch()
    for name, answer in (("has", 0), ("has_not", 1)):
        python, script = tmp_path / f"python_{name}", tmp_path / "lib" / "dvps_ros" / name
        python.write_text(f"#!/bin/sh\nexit {answer}\n")
        python.chmod(0o755)
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!{python}\nimport nothing\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert node_finds("has", "mujoco")
    assert not node_finds("has_not", "mujoco")
    assert node_finds("missing", "math")  # this Python answers
