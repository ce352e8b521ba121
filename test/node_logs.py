"""The suite's own assertion that no node logs an uncaught exception: a pytest plugin, loaded by conftest.py.

Every log of a session lies in its temporary folder: what ROS writes (``ROS_LOG_DIR``, also of the processes that tests
start), what processes print (``NodeProcess``), and what ``dvps demo`` leaves. When the session ends, each ``*.log`` in
there is searched; one uncaught exception fails the session, and so does a missing log. In this process, exceptions of
threads and of destructors fail the test that they happen in (see pyproject.toml), and outside of tests the session.
"""

import os
import re
import subprocess
import sys
import threading
import time
import traceback
from itertools import count
from pathlib import Path

import pytest

#: How an exception that nobody caught announces itself, in Python, in rclpy, in nodes/process.py, and in C++.
UNCAUGHT = re.compile(
    r"Traceback \(most recent call last\)|Exception in thread|Exception ignored in|exception was never retrieved"
    r"|unexpected error in |terminate called|Fatal Python error|Segmentation fault"
)
#: Lines of a log that are shown after such an announcement.
SHOWN = 25


class Session:
    """What is known of the logs of one run of pytest."""

    def __init__(self):
        self.folder: Path | None = None
        self.root: Path | None = None
        self.expected: list[Path] = []
        self.escaped: list[str] = []  # tracebacks of this process, outside of any test
        self.report: list[str] = []
        self._number = count()

    def new_log(self, name: str) -> Path:
        """A file for a process's output, which must exist when the session ends."""
        if self.folder is None:
            raise RuntimeError("a node process is started outside of a test")
        self.expected.append(self.folder / f"{next(self._number):03d}_{name}.log")
        return self.expected[-1]


SESSION = Session()


class NodeProcess(subprocess.Popen):
    """A process whose output, stdout and stderr as one, goes to a log of the session.

    Parameters
    ----------
    command : the program and its arguments.
    env : its environment; None: this process's.
    """

    def __init__(self, command: list[str], env: dict[str, str] | None = None):
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].partition(" ")[0]
        self.log = SESSION.new_log(re.sub(r"\W+", "_", test) or "process")
        environment = {**(os.environ if env is None else env), "PYTHONUNBUFFERED": "1"}
        with self.log.open("wb") as file:
            super().__init__(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for_line(self, words: str, timeout: float) -> str:
        """Wait until it has printed a whole line with ``words``; gives its output so far."""
        end = time.monotonic() + timeout
        while True:
            ended = self.poll() is not None  # asked before reading: what it printed last counts, too
            output = self.output
            if any(words in line for line in output.splitlines(keepends=True) if line.endswith("\n")):
                return output
            assert not ended, f"ended with {self.returncode} without {words!r}: {output}"
            assert time.monotonic() < end, f"{words!r} was not printed within {timeout} s: {output}"
            time.sleep(0.02)


@pytest.fixture(scope="session", autouse=True)
def node_logs(tmp_path_factory):
    """The folder of the session's logs; ROS writes there, in this process and in those that tests start."""
    SESSION.folder, SESSION.root = tmp_path_factory.mktemp("node_logs"), tmp_path_factory.getbasetemp()
    os.environ["ROS_LOG_DIR"] = str(SESSION.folder / "ros")
    return SESSION.folder


def uncaught(folder: Path) -> tuple[int, int, list[str]]:
    """How many logs and lines ``folder`` holds, and an excerpt for each log with an uncaught exception."""
    excerpts, lines, logs = [], 0, sorted(path for path in folder.rglob("*.log") if path.is_file())
    for path in logs:
        text = path.read_text(errors="replace").splitlines()
        lines += len(text)
        at = next((index for index, line in enumerate(text) if UNCAUGHT.search(line)), None)
        if at is not None:
            excerpts.append("\n".join([f"{path}:{at + 1}", *text[at : at + SHOWN]]))
    return len(logs), lines, excerpts


def missing(session: Session) -> list[str]:
    """Logs that should be there and are not: the scan must not pass for want of anything to read."""
    return [f"{path}: the log of a process is gone" for path in session.expected if not path.is_file()]


def pytest_configure(config):
    """Keeps the traceback of whatever escapes from a thread or a destructor between tests."""
    config.pluginmanager.register(FromWorkers())
    thread_hook, unraisable_hook = threading.excepthook, sys.unraisablehook

    def on_thread(arguments):
        if arguments.exc_type is not SystemExit:
            SESSION.escaped.append("".join(traceback.format_exception(arguments.exc_value)))
        thread_hook(arguments)

    def on_unraisable(arguments):
        SESSION.escaped.append("".join(traceback.format_exception(arguments.exc_value)))
        unraisable_hook(arguments)

    threading.excepthook, sys.unraisablehook = on_thread, on_unraisable


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Fails the session when a log holds an uncaught exception."""
    if SESSION.root is None:  # no test ran in this process
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["node_logs"] = []
        return
    logs, lines, excerpts = uncaught(SESSION.root)
    faults = [*excerpts, *SESSION.escaped, *missing(SESSION)]
    SESSION.report = [f"node logs: {logs} files, {lines} lines, {len(faults)} with an uncaught exception", *faults]
    if hasattr(session.config, "workeroutput"):  # a worker of pytest-xdist; its own exit status is not looked at
        session.config.workeroutput["node_logs"] = SESSION.report
    _fail(session, bool(faults))


def _fail(session, faults: bool) -> None:
    if faults and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


class FromWorkers:
    """The reports of pytest-xdist's workers, which search the logs of their own tests.

    Raises
    ------
    KeyError : a worker that ended by itself tells no report.
    """

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        if not error:  # a crashed worker fails the session by itself
            SESSION.report += node.workeroutput["node_logs"]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        _fail(session, any(not line.endswith(" 0 with an uncaught exception") for line in SESSION.report))


def pytest_terminal_summary(terminalreporter):
    """Says how much was searched and what was found."""
    faults = any(not text.endswith(" 0 with an uncaught exception") for text in SESSION.report)
    if faults:
        terminalreporter.section("uncaught exceptions in the logs of nodes", red=True)
    for text in SESSION.report:
        terminalreporter.write_line(text, red=faults)
