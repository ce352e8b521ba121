"""The life of a node's process: from its start to a quick and quiet end."""

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
    code = _live(make_node, arguments)
    gc.collect()  # ROS lets go of the network, and of its shared memory, when the last object that used it is gone
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the interpreter's own end: a thread that is still computing would meet its freed memory there.
    os._exit(code)


def _live(make_node: Callable[[], Node], arguments: list[str] | None) -> int:
    """A node from start to end; the exit code."""
    # Not Python's handler: it would throw a KeyboardInterrupt into whatever runs. And not yet ROS' own, which end the
    # spinning: what is being made would meet a context that is gone.
    signaled = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: signaled.set())
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # arguments that ROS does not understand
        return _refuse(error)
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
        return _refuse(error)
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _refuse(error: Exception) -> int:
    print(f"{Path(sys.argv[0]).name}: {one_line(error)}", file=sys.stderr)
    return 2


def _spin(executor: SingleThreadedExecutor, node: Node) -> None:
    """Spin until the end; what a callback lets out costs that callback alone."""
    while rclpy.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            return
        except FatalError:
            raise
        except Exception as error:
            if rclpy.ok():  # else the signal came while a callback was asking ROS something
                node.get_logger().error(f"unexpected error in {_place(error)}: {one_line(error)}")


def _place(error: Exception) -> str:
    """File and line where an error was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def one_line(error: BaseException) -> str:
    """An error as one line, with the name of its kind where that is not a user's mistake."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, FatalError | ValueError | OSError) else f"{type(error).__name__}: {text}"


def _end_soon(signaled: threading.Event) -> None:
    """End the process when it does not end by itself soon after a signal."""
    signaled.wait()
    end = time.monotonic() + GRACE
    while rclpy.ok() and time.monotonic() < end:
        os.kill(os.getpid(), signal.SIGINT)  # the signal came before ROS listened, or is on its way
        time.sleep(0.1)
    time.sleep(max(0.0, end - time.monotonic()))
    os._exit(0)
