"""The environment of every test: real ROS messages checked field by field, a ROS domain of this run's own, EGL."""

import os
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Set before any test module imports rclpy or mujoco, and inherited by the processes that tests start.
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "SYSTEM_DEFAULT")
os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds.xml"))
os.environ.setdefault("MUJOCO_GL", "egl")

pytest_plugins = ["node_logs"]
