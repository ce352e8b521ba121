"""The environment of every test: real ROS messages checked field by field, a ROS domain of this run's own, EGL."""

import contextlib
import fcntl
import os
import random
from pathlib import Path

import pytest
from requirements import lacking

from dvps_ros.launch_arguments import profile_variables

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path("/dev/shm")

# Set before any test module imports rclpy or mujoco, and inherited by the processes that tests start.
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
if worker := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw"):  # it inherits the first process's domain
    os.environ["ROS_DOMAIN_ID"] = str((int(os.environ["ROS_DOMAIN_ID"]) + int(worker)) % 101 + 1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the other workers have the other cores
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "SYSTEM_DEFAULT")
os.environ.setdefault(profile_variables()[0], str(ROOT / "config" / "fastdds_local.xml"))
os.environ.setdefault("MUJOCO_GL", "egl")

pytest_plugins = ["node_logs"]


@pytest.fixture(scope="session", autouse=True)
def no_shared_memory_is_left():
    """Take away the segments of the processes that tests killed: no exit handler of Fast DDS frees 64 MB of a dead one.

    As ``fastdds shm clean`` does: whose lock can be had has no owner. Those of before the session stay.
    """
    before = set(SHARED.glob("fast*_el"))
    yield
    for lock in set(SHARED.glob("fast*_el")) - before:
        with contextlib.suppress(OSError), lock.open() as file:  # held, or gone meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
            lock.unlink()


LEFT_OUT = {}


def pytest_ignore_collect(collection_path):
    """Leave out the files whose modules are not installed, as in a workspace whose packages come from apt."""
    if collection_path.suffix == ".py" and (missing := lacking(collection_path)):
        LEFT_OUT[collection_path.name] = ", ".join(sorted(missing))
        return True
    return None


def pytest_terminal_summary(terminalreporter):
    for name, missing in sorted(LEFT_OUT.items()):
        terminalreporter.write_line(f"{name} was left out: {missing} is not installed")
