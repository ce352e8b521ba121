"""package.xml, setup.py and constraints.txt agree with each other and with the code."""

import ast
import importlib
import re
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import distribution
from pathlib import Path

import pytest

import dvps_ros

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ET.parse(ROOT / "package.xml").getroot()
#: Import names whose package is called otherwise, by rosdep's name.
ROSDEP_NAMES = {
    "cv2": "python3-opencv",
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
#: Packages that package.xml leaves to pip, or that come with rclpy.
FROM_PIP = {"torch", "rosbags", "transformers", "safetensors", "mcap", "lightning", "mujoco", "onnxruntime", "PIL"}
#: zstd: Python's own from 3.14 on, before that setup.py's backports.zstd.
FROM_PIP |= {"compression", "backports", "openvino"}
WITH_RCLPY = {"builtin_interfaces", "rcl_interfaces"}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (re.fullmatch(r"([\w.-]+)==([\w.]+)(?:; .*)?", line) for line in lines if not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", pair[1]).lower(): pair[2] for pair in pairs}


def test_one_name_and_version():
    assert MANIFEST.get("format") == "3"
    assert MANIFEST.findtext("name") == "dvps_ros"
    assert MANIFEST.findtext("version") == dvps_ros.__version__ == distribution("dvps_ros").version
    assert MANIFEST.findtext("export/build_type") == "ament_python"
    assert (ROOT / "resource" / "dvps_ros").is_file()


def test_executables_can_be_called():
    scripts = [e for e in distribution("dvps_ros").entry_points if e.group == "console_scripts"]
    assert {"dvps", "perception_node", "sim_camera_node", "observer_node"} <= {script.name for script in scripts}
    for script in scripts:
        assert callable(getattr(importlib.import_module(script.module), script.attr)), script


@pytest.mark.parametrize("folder", ["dvps_ros", "launch"])
def test_package_xml_declares_what_is_imported(folder):
    declared = {element.text for element in MANIFEST.iter("exec_depend")}
    imported = set()
    for path in (ROOT / folder).rglob("*.py"):
        if path.parent.name in {
            "training",
            "simulation",
            "benchmarks",
            "cli",
        }:  # pip sets these up
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    imported -= {"dvps_ros", *sys.stdlib_module_names, *FROM_PIP, *WITH_RCLPY}
    assert imported
    assert {ROSDEP_NAMES.get(name, name) for name in imported} - declared == set()


def test_every_requirement_is_pinned_within_its_bounds():
    from packaging.requirements import Requirement

    pins = pinned()
    assert pins["torch"] == "2.13.0"
    for text in distribution("dvps_ros").requires:
        requirement = Requirement(text)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins, requirement
        assert requirement.specifier.contains(pins[name]), requirement
