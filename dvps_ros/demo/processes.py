"""Nodes as child processes that end with their parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dvps_ros import resources
from dvps_ros.launch_arguments import profile_variables

#: Seconds within which the awaited node must finish its work, and the others must end.
FINISHING, ENDING = 60.0, 5.0
#: prctl option of Linux: send a signal when the parent dies.
_PR_SET_PDEATHSIG = 1


class Processes:
    """Nodes as child processes, which are ended when the context is left.

    Each leads a session of its own, so Ctrl-C reaches only this process, which passes it on in order.

    Parameters
    ----------
    folder : folder of the logs (<node>.log) of nodes whose output is not shown.
    variables : the environment of all nodes.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder, self._variables = folder, variables
        self._children: dict[str, subprocess.Popen] = {}
        self._signals = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Processes:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop(self._children.values(), ENDING)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def start(
        self,
        module: str,
        parameters: Mapping[str, object],
        remaps: Mapping[str, str] | None = None,
        shown: bool = False,
    ) -> int:
        """Start ``main`` of a module as a node with the module's name; returns its process id.

        With ``shown`` its output goes to the output of this process, otherwise to its log.
        """
        node = module.rpartition(".")[2]
        arguments = ["--ros-args"]
        for name, value in parameters.items():
            arguments += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        for name, topic in (remaps or {}).items():
            arguments += ["-r", f"{name}:={topic}"]
        code = f"import sys; sys.argv[0] = '{node}'; from {module} import main; main()"
        with contextlib.ExitStack() as stack:
            log = None if shown else stack.enter_context(self._log(node).open("wb"))
            self._children[node] = subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                env=dict(self._variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        return self._children[node].pid

    def wait_for(self, node: str) -> int:
        """Wait until ``node`` ends; on Ctrl-C or SIGTERM ask it to end.

        Returns
        -------
        its exit code, or 1 if another node ended first, which a line on stderr names.
        """
        child = self._children[node]
        while child.poll() is None:
            ended = [name for name, other in self._children.items() if other.poll() is not None]
            if self._signals or ended:
                self._stop([child], FINISHING)
            if ended:
                print(f"{ended[0]} ended early: {self._last_line(ended[0])}", file=sys.stderr)
                return 1
            time.sleep(0.1)
        return child.returncode

    def _stop(self, children: Iterable[subprocess.Popen], patience: float) -> None:
        """Send SIGINT and wait; after ``patience`` seconds, or at a second Ctrl-C, kill the remaining processes."""
        running = [child for child in children if child.poll() is None]
        for child in running:
            child.send_signal(signal.SIGINT)
        until, signals = time.monotonic() + patience, max(self._signals, 1)
        while any(child.poll() is None for child in running) and time.monotonic() < until and self._signals <= signals:
            time.sleep(0.05)
        for child in running:
            if child.poll() is None:
                child.kill()
            child.wait()

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1

    def _log(self, node: str) -> Path:
        return self._folder / f"{node}.log"

    def _last_line(self, node: str) -> str:
        lines = self._log(node).read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no output")
        return f"{last.strip()} ({self._log(node)})"


def environment(domain: int, folder: Path) -> dict[str, str]:
    """This process's environment, with settings of Fast DDS for large images (see config/fastdds_local.xml)."""
    return {
        "MUJOCO_GL": "egl",
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_LOG_DIR": str(folder.resolve() / "log"),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
        profile_variables()[0]: str(resources.find("config/fastdds_local.xml").resolve()),
        "RMW_FASTRTPS_PUBLICATION_MODE": "ASYNCHRONOUS",
        "MALLOC_MMAP_THRESHOLD_": "33554432",
        "MALLOC_TRIM_THRESHOLD_": "536870912",
    }


def _die_with_parent() -> None:
    # the demo's nodes must not outlive it, even if it is killed
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
