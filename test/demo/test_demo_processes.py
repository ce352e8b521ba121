"""dvps_ros.demo.processes: every child has ended when the context is left, in time and in order."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from dvps_ros.demo import processes
from dvps_ros.demo.processes import Processes

FRIENDLY = """
    import signal, sys, time
    def main():
        signal.signal(signal.SIGINT, lambda *_: (print("asked to end", flush=True), sys.exit(0)))
        print("ready", *sys.argv[1:], flush=True)
        time.sleep(60)
"""
STUBBORN = """
    import signal, time
    def main():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(60)
"""
FAILING = """
    import sys
    def main():
        print("no such thing as a model", file=sys.stderr)
        sys.exit(3)
"""


@pytest.fixture
def nodes(tmp_path):
    """The environment that finds the modules above."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, code in (("friendly", FRIENDLY), ("stubborn", STUBBORN), ("failing", FAILING)):
        (folder / f"{name}.py").write_text(textwrap.dedent(code))
    return {**os.environ, "PYTHONPATH": str(folder)}


def wait_for_text(path, text: str) -> None:
    until = time.monotonic() + 20
    while text not in (path.read_text() if path.exists() else ""):
        assert time.monotonic() < until, f"{text!r} never came"
        time.sleep(0.02)


def alive(process: subprocess.Popen) -> bool:
    return process.poll() is None


def test_leaving_ends_friendly_and_stubborn_ones(tmp_path, nodes, monkeypatch):
    monkeypatch.setattr(processes, "ENDING", 0.5)
    with Processes(tmp_path, nodes) as started:
        started.start("friendly", {"rate": 2.5, "go": True}, {"image": "/camera/image"})
        started.start("stubborn", {})
        wait_for_text(tmp_path / "friendly.log", "ready")
        wait_for_text(tmp_path / "stubborn.log", "ready")
        children = list(started._children.values())
        assert all(map(alive, children))
    assert [child.returncode for child in children] == [0, -signal.SIGKILL]
    log = (tmp_path / "friendly.log").read_text()
    assert "--ros-args -p rate:=2.5 -p go:=true -r image:=/camera/image" in log
    assert "asked to end" in log


def test_another_one_s_end_is_told_and_ends_the_wait(tmp_path, nodes, capsys):
    with Processes(tmp_path, nodes) as started:
        started.start("friendly", {})
        wait_for_text(tmp_path / "friendly.log", "ready")
        started.start("failing", {})
        assert started.wait_for("friendly") == 1
    error = capsys.readouterr().err
    assert error.startswith("failing ended early: no such thing as a model (")
    assert error.count("\n") == 1


def test_ctrl_c_is_passed_on(tmp_path, nodes):
    before = signal.getsignal(signal.SIGINT)
    with Processes(tmp_path, nodes) as started:
        started.start("friendly", {})
        wait_for_text(tmp_path / "friendly.log", "ready")
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert started.wait_for("friendly") == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_children_do_not_outlive_a_killed_parent(tmp_path, nodes):
    code = f"""
        import time
        from pathlib import Path
        from dvps_ros.demo.processes import Processes
        with Processes(Path({str(tmp_path)!r}), {{**{nodes!r}}}) as started:
            started.start("friendly", {{}})
            print(started._children["friendly"].pid, flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    wait_for_text(tmp_path / "friendly.log", "ready")
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not running(child)


def running(pid: int) -> bool:
    """True unless the process is gone, or ended and only not yet collected."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
