"""What the nodes that watch a perception node share: first answer, diagnostics, and the end of their process."""

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
    name : of the node.
    cls : configuration dataclass of its parameters.

    Attributes
    ----------
    settings : the parameters at start.
    trouble : why the run cannot go on; empty while all is well.
    diagnostics : the last status of the perception node, as text by key.
    reports : number of its statuses so far.

    Raises
    ------
    ValueError : naming a parameter that has no valid value.
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
        """How the run is going before the first answer."""
        return f"waiting for the first answer ({time.monotonic() - self._begun:.0f} s)"

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Take what the perception node reports; an error of it ends the run."""
        for status in message.status:
            if status.name.rpartition("/")[2] != "perception":
                continue
            self.diagnostics = {value.key: value.value for value in status.values}
            self.reports += 1
            if status.level == DiagnosticStatus.ERROR:
                self.trouble = self.trouble or f"the perception node says: {status.message}"


Watching = TypeVar("Watching", bound=Watcher)


def run_watcher(
    make: Callable[[], Watching], work: Callable[[Watching, list[int]], str], arguments: list[str] | None = None
) -> NoReturn:
    """Make a node, let it work and end the process: exit code 0, or 1 with one line on stderr.

    Parameters
    ----------
    make : makes the node; its ``ValueError`` and ``OSError`` become the line.
    work : called with the node and a list of the signals (SIGINT, SIGTERM) received so far, after the first of which it
        returns soon; gives why the run failed, or an empty text.
    arguments : of the process; None: those of the command line.
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
