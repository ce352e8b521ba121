"""README.md says what is: parameters, topics, commands and files."""

import re
from pathlib import Path

import pytest
import rclpy
from rclpy.lifecycle import LifecycleNode
from readme_tables import renewed

from dvps_ros.cli.main import SUBCOMMANDS
from dvps_ros.nodes.outputs import Outputs

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_parameter_tables_are_those_of_the_dataclasses():
    assert "| `score_threshold` |" in renewed(TEXT)
    assert renewed(TEXT) == TEXT, "run: make docs"


def test_a_changed_default_would_be_seen():
    assert renewed(TEXT.replace("| `points_stride` | `1` |", "| `points_stride` | `2` |")) == renewed(TEXT)


def test_every_topic_is_listed():
    context = rclpy.Context()  # its own: other tests of this process may hold the default one
    rclpy.init(context=context)
    try:
        node = LifecycleNode("listed", context=context)
        outputs = Outputs(node)
        # the lifecycle machinery and every node's own topics aside
        names = {publisher.topic_name for publisher in node.publishers}
        published = {name.removeprefix("/listed/") for name in names if name.startswith("/listed/")}
        outputs.destroy()
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    published -= {"transition_event"}
    listed = set(re.findall(r"`~/([\w/]+)`", TEXT)) - {"enable", "reset_tracks"}
    assert {"panoptic", "points", "labels"} <= published
    assert published <= listed
    assert listed - published <= {"detections", "label_info"}, "these need vision_msgs; others are no topics"


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_promised_subcommands_exist(name):
    assert (ROOT / "dvps_ros" / "cli" / f"{name}.py").is_file()


def test_commands_in_the_text_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", TEXT, re.MULTILINE)) <= targets
    assert set(re.findall(r"(?:^|`)dvps ([a-z]+)", TEXT, re.MULTILINE)) <= set(SUBCOMMANDS)


def test_linked_and_named_files_exist():
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link}
    named = set(re.findall(r"`((?:config|models|nodes|runtime|network|dvps_ros)/[\w./]+)`", TEXT))
    launched = {f"launch/{name}" for name in re.findall(r"\w+\.launch\.py", TEXT)}
    assert {"CONTRIBUTING.md", "models/street/montage.png"} <= links
    missing = [p for p in links | named | launched if not (ROOT / p).exists() and not (ROOT / "dvps_ros" / p).exists()]
    assert missing == []
