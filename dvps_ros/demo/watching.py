"""Common base of nodes that watch a perception node: first answer, diagnostics, end of the process."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dvps_ros.nodes.parameters import NodeParameters

Settings = TypeVar("Settings", bound=Any)  # a dataclass


class Watcher(Node, Generic[Settings]):
    """A node that watches the node ``perception``.

    Parameters
    ----------
    name : name of the node.
    cls : configuration dataclass of its parameters.

    Attributes
    ----------
    settings : the parameters at start.
    trouble : why the run cannot continue; empty if it can.
    diagnostics : the last status of the perception node, as text by key.
    reports : number of statuses received so far.

    Raises
    ------
    ValueError : naming a parameter with an invalid value.
    """

    def __init__(self, name: str, cls: type[Settings], **options: Any) -> None:
        super().__init__(name, **options)
        parameters = NodeParameters(self, cls)
        if parameters.problems:
            raise ValueError(parameters.problems[0])
        self.settings: Settings = parameters.config
        self.trouble = ""
        self.diagnostics: dict[str, str] = {}
        self.reports = 0
        self._begun = time.monotonic()
        self._first_answer: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the first answer, 0 before it."""
        return 0.0 if self._first_answer is None else time.monotonic() - self._first_answer

    @property
    def waiting_line(self) -> str:
        """A line about the progress before the first answer."""
        return f"waiting for the first answer ({time.monotonic() - self._begun:.0f} s)"

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Store the perception node's report; an error ends the run."""
        for status in message.status:
            if status.name.rpartition("/")[2] != "perception":
                continue
            self.diagnostics = {value.key: value.value for value in status.values}
            self.reports += 1
            if status.level == DiagnosticStatus.ERROR:
                self.trouble = self.trouble or f"the perception node reports: {status.message}"


Watching = TypeVar("Watching", bound=Watcher)


def run_watcher(
    make: Callable[[], Watching], work: Callable[[Watching, list[int]], str], arguments: list[str] | None = None
) -> NoReturn:
    """Create a node, run it and end the process with exit code 0, or 1 and one line on stderr.

    Parameters
    ----------
    make : creates the node; the line is the message of its ``ValueError`` or ``OSError``.
    work : called with the node and the list of signals (SIGINT, SIGTERM) received so far, and must return soon after
        the first one. It returns why the run failed, or an empty text.
    arguments : arguments of the process; None: those of the command line.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    name = make.__name__.lower()
    try:
        node = make()
        trouble = work(node, signals)
        node.destroy_node()
    except (ValueError, OSError) as error:
        trouble = str(error)
    rclpy.try_shutdown()
    if trouble:
        print(f"{name}: {trouble}", file=sys.stderr)
    sys.exit(1 if trouble else 0)
