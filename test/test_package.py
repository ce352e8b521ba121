"""package.xml, setup.py and constraints.txt agree with each other and with the code."""

import ast
import importlib
import re
import runpy
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import dvps_ros

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ET.parse(ROOT / "package.xml").getroot()
#: Import names whose package is called otherwise: its rosdep key, and its name for pip.
ROSDEP_NAMES = {
    "cv2": "python3-opencv",
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
PIP_NAMES = {"cv2": "opencv-python-headless", "yaml": "pyyaml", "backports": "backports-zstd"}
#: Who imports, by what is done with it: folders of the package (its own files are "."), or "launch".
PURPOSES = {
    "robot": (
        *(".", "config", "structures", "network", "checkpoints", "camera", "scene", "drawing", "runtime", "nodes"),
        "launch",
    ),
    "training": ("datasets", "training", "metrics", "cli"),
    "demo": ("simulation", "demo", "benchmarks"),
}
#: Extras that pip installs for a purpose, beside install_requires.
EXTRAS = {"robot": ("export", "openvino"), "training": ("train",), "demo": ("sim", "ros")}
#: What package.xml leaves to pip: its build depends on the robot, or no distribution has it.
LEFT_TO_PIP = {"torch", "transformers", "safetensors", "onnxruntime", "openvino"}
#: What no file imports, and why it is there: programs that launch files start; cv_bridge is found by its name alone;
#: rclpy's lifecycle nodes speak lifecycle_msgs.
NOT_IMPORTED = {"ros2launch", "ros2bag", "rosbag2_storage_mcap", "rviz2", "cv_bridge", "lifecycle_msgs"}


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


@pytest.fixture(scope="module")
def arguments():
    """What setup.py gives to setuptools."""
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("setuptools.setup", lambda **keywords: given.update(keywords))
        runpy.run_path(str(ROOT / "setup.py"))
    return given


def normal(requirement):
    """The name of a requirement, as pip compares names."""
    return re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()


def imports_of(purpose):
    """Names of the foreign packages that the files of a purpose import, anywhere in them."""
    found = set()
    for folder in PURPOSES[purpose]:
        place = ROOT / "launch" if folder == "launch" else ROOT / "dvps_ros" / folder
        for path in place.glob("*.py") if folder in (".", "launch") else place.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add(node.module.partition(".")[0])
    return found - {"dvps_ros", "compression", *sys.stdlib_module_names}  # compression: Python's own from 3.14 on


EXEC_DEPENDS = {element.text for element in MANIFEST.iter("exec_depend")}


def test_every_folder_has_a_purpose():
    folders = {path.parent.name for path in (ROOT / "dvps_ros").glob("*/__init__.py")}
    assert folders | {".", "launch"} == set().union(*PURPOSES.values())


def test_package_xml_declares_what_a_robot_imports():
    imported = imports_of("robot")
    assert {"rclpy", "tf2_ros", "scipy", "builtin_interfaces", "launch_ros"} <= imported
    assert {ROSDEP_NAMES.get(name, name) for name in imported - LEFT_TO_PIP} <= EXEC_DEPENDS


@pytest.mark.parametrize("purpose", PURPOSES)
def test_pip_installs_what_is_imported(purpose, arguments):
    extras = [requirement for extra in EXTRAS[purpose] for requirement in arguments["extras_require"][extra]]
    installed = {normal(requirement) for requirement in (*arguments["install_requires"], *extras)}
    foreign = imports_of(purpose) - EXEC_DEPENDS  # ROS packages are a distribution's, or come as wheels
    assert foreign
    assert {PIP_NAMES.get(name, name).lower() for name in foreign} <= installed


def test_nothing_is_declared_that_is_not_used(arguments):
    imported = set().union(*map(imports_of, PURPOSES))
    names = {PIP_NAMES.get(name, name).lower() for name in imported}
    assert {normal(requirement) for requirement in arguments["install_requires"]} <= names
    assert {ROSDEP_NAMES.get(name, name) for name in imported} >= EXEC_DEPENDS - NOT_IMPORTED
    assert NOT_IMPORTED <= EXEC_DEPENDS


def test_the_workflows_say_that_they_were_not_run():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        assert "never run" in path.read_text().splitlines()[0]
        assert yaml.safe_load(path.read_text())["jobs"]


def test_what_ubuntu_24_04_has_is_enough(arguments):
    """Its own NumPy, OpenCV and SciPy, which cv_bridge was built for, need not be replaced."""
    bounds = {normal(text): Requirement(text).specifier for text in arguments["install_requires"]}
    for name, version in (("numpy", "1.26.4"), ("opencv-python-headless", "4.6.0"), ("scipy", "1.11.4")):
        assert bounds[name].contains(version), name


def test_every_requirement_is_pinned_within_its_bounds():
    pins = pinned()
    assert pins["torch"] == "2.13.0"
    for text in distribution("dvps_ros").requires:
        requirement = Requirement(text)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins, requirement
        assert requirement.specifier.contains(pins[name]), requirement
