"""The search of node logs that ends every session: what it catches, and that it cannot pass for want of logs."""

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from node_logs import SESSION, NodeProcess, uncaught

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def elsewhere():
    """A folder that this session does not search."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def session_of(folder, body):
    """A pytest of its own, with this suite's plugin and settings, that runs one test of ``body``."""
    (folder / "test_made_up.py").write_text("import gc, os, sys, threading\nfrom node_logs import NodeProcess\n\n")
    with (folder / "test_made_up.py").open("a") as file:
        file.write(f"def test_made_up(node_logs, tmp_path):\n{textwrap.indent(textwrap.dedent(body), '    ')}")
    command = [sys.executable, "-m", "pytest", "-p", "node_logs", "-c", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        [*command, f"--rootdir={folder}", f"--basetemp={folder / 'temporary'}", str(folder / "test_made_up.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "test")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_quiet_process_passes_and_is_counted(elsewhere):
    done = session_of(elsewhere, "NodeProcess([sys.executable, '-c', 'print(1)']).wait(60)")
    assert done.returncode == 0, done.stdout
    assert "node logs: 1 files, 1 lines, 0 with an uncaught exception" in done.stdout


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("NodeProcess([sys.executable, '-c', '[][3]']).wait(60)", "IndexError: list index out of range"),
        (
            "code = 'import threading; threading.Thread(target=lambda: 1 / 0).start()'\n"
            "NodeProcess([sys.executable, '-c', code]).wait(60)",
            "ZeroDivisionError",
        ),
        (
            "(node_logs / 'ros').mkdir()\n"
            "(node_logs / 'ros' / 'n.log').write_text('[ERROR] [1.0] [n]: unexpected error in a.py:3: KeyError: 4')",
            "unexpected error in a.py:3: KeyError: 4",
        ),
        ("NodeProcess([sys.executable, '-c', '']).log.unlink()", "the log of a process is gone"),
    ],
)
def test_a_session_with_an_uncaught_exception_fails_though_its_tests_pass(elsewhere, body, words):
    done = session_of(elsewhere, body)
    assert "1 passed" in done.stdout
    assert done.returncode == 1, done.stdout
    assert "uncaught exceptions in the logs of nodes" in done.stdout
    assert words in done.stdout
    assert str(elsewhere / "temporary") in done.stdout


@pytest.mark.parametrize(
    "body",
    [
        "thread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()",
        "class Broken:\n    def __del__(self): 1 / 0\nBroken()\ngc.collect()",
    ],
)
def test_what_escapes_from_a_thread_or_a_destructor_fails_its_test(elsewhere, body):
    done = session_of(elsewhere, body)
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout
    assert "ZeroDivisionError" in done.stdout


def test_what_escapes_between_tests_fails_the_session(elsewhere):
    (elsewhere / "conftest.py").write_text(
        "import pytest, threading\n\n@pytest.hookimpl(tryfirst=True)\ndef pytest_sessionfinish():\n"
        "    thread = threading.Thread(target=lambda: 1 / 0)\n    thread.start()\n    thread.join()\n"
    )
    done = session_of(elsewhere, "pass")
    assert "1 passed" in done.stdout
    assert done.returncode == 1, done.stdout
    assert "ZeroDivisionError" in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        "Exception in thread perception_worker (most recent call last):",
        "Exception ignored in: <function Node.__del__ at 0x7f>",
        "[ERROR] [1.0] [perception]: unexpected error in outputs.py:12: KeyError: 'depth'",
        "terminate called after throwing an instance of 'rclcpp::exceptions::RCLError'",
        "Fatal Python error: Segmentation fault",
    ],
)
def test_every_way_to_say_it_is_known(elsewhere, line):
    (elsewhere / "deep").mkdir()
    (elsewhere / "good.log").write_text("[INFO] [1.0] [perception]: active\n")
    (elsewhere / "deep" / "node.log").write_text(f"[INFO] started\n{line}\n  File x\n")
    files, lines, [excerpt] = uncaught(elsewhere)
    assert (files, lines) == (2, 4)
    assert excerpt == f"{elsewhere / 'deep' / 'node.log'}:2\n{line}\n  File x"


def test_ros_of_this_process_and_of_its_children_writes_into_the_session_s_folder(node_logs):
    assert Path(os.environ["ROS_LOG_DIR"]) == node_logs / "ros"
    code = "import rclpy; rclpy.init(); rclpy.create_node('noted').get_logger().error('written down'); rclpy.shutdown()"
    process = NodeProcess([sys.executable, "-c", code])
    assert process.wait(60) == 0, process.output
    assert process.log in SESSION.expected
    assert "written down" in process.output
    assert any("written down" in path.read_text() for path in (node_logs / "ros").glob("*.log"))
