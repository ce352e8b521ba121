"""The life of a node's process: from its start to a quick and quiet end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

#: Seconds after a signal until the process ends even if something is still computing.
GRACE = 1.0


def run(make_node: Callable[[], Node], arguments: list[str] | None = None) -> int:
    """Spin a node until SIGINT or SIGTERM and give the exit code.

    The process ends within two seconds of the signal, whatever the node is doing. A ``ValueError`` or ``OSError``
    from ``make_node`` becomes one line on stderr and exit code 2.
    """
    node = None
    try:
        rclpy.init(args=arguments)
        threading.Thread(target=_end_soon, daemon=True).start()
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {one_line(error)}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def one_line(error: BaseException) -> str:
    """An error as one line, with the name of its kind where that is not a user's mistake."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"


def _end_soon() -> None:
    """End the process when cleaning up after a signal takes too long."""
    while rclpy.ok():
        time.sleep(0.1)
    time.sleep(GRACE)
    os._exit(0)
