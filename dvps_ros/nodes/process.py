"""Running a node as a process that starts with clear errors and ends quickly and quietly."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions, install_signal_handlers

from dvps_ros.errors import joined
from dvps_ros.nodes.rclpy_private import RosError

#: Seconds after a signal until the process ends even if something is still computing.
GRACE = 1.0


class FatalError(Exception):
    """Raised in a callback: the process ends with this line on stderr and exit code 2."""


def run(make_node: Callable[[], Node], arguments: list[str] | None = None) -> NoReturn:
    """Spin a node until SIGINT or SIGTERM, then end the process.

    The process ends within two seconds of the signal, whatever the node is doing. A ``ValueError``, an ``OSError``
    or what ROS refuses in ``make_node`` becomes one line on stderr and exit code 2.
    """
    code = _run(make_node, arguments)
    gc.collect()  # ROS frees DDS and its shared memory when the last object that uses them is collected
    sys.stdout.flush()
    sys.stderr.flush()
    # Skip the interpreter's shutdown, which frees memory that a thread may still be computing with.
    os._exit(code)


def _run(make_node: Callable[[], Node], arguments: list[str] | None) -> int:
    """Make a node and spin it until the end; the exit code."""
    # Python's handler would raise KeyboardInterrupt anywhere. The handlers of ROS would shut the context down while the
    # node is being made, so they are installed afterwards.
    signaled = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: signaled.set())
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # arguments that ROS does not understand
        return _fail(error)
    threading.Thread(target=_end_soon, args=(signaled,), daemon=True).start()
    node = None
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        install_signal_handlers(SignalHandlerOptions.ALL)
        if not signaled.is_set():
            _spin(executor, node)
    except (FatalError, ValueError, OSError, RosError) as error:
        return _fail(error)
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _fail(error: Exception) -> int:
    """Print the error as one line; the exit code."""
    print(f"{Path(sys.argv[0]).name}: {one_line(error)}", file=sys.stderr)
    return 2


def _spin(executor: SingleThreadedExecutor, node: Node) -> None:
    """Spin until the end; an exception in a callback is logged and ends that callback alone."""
    while rclpy.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            return
        except FatalError:
            raise
        except Exception as error:
            if rclpy.ok():  # else a signal shut the context down during a callback
                node.get_logger().error(f"unexpected error in {_place(error)}: {one_line(error)}")


def _place(error: Exception) -> str:
    """File and line where an error was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def one_line(error: BaseException) -> str:
    """An error as one line, with the name of its type if it is not a user's mistake."""
    text = joined(error)
    return text if isinstance(error, FatalError | ValueError | OSError) else f"{type(error).__name__}: {text}"


def _end_soon(signaled: threading.Event) -> None:
    """End the process if it does not end by itself within ``GRACE`` seconds of a signal."""
    signaled.wait()
    end = time.monotonic() + GRACE
    while rclpy.ok() and time.monotonic() < end:
        os.kill(os.getpid(), signal.SIGINT)  # again, as the signal may have come before ROS installed its handlers
        time.sleep(0.1)
    time.sleep(max(0.0, end - time.monotonic()))
    os._exit(0)
