"""The bond by which a lifecycle manager knows that an active node lives; only where bondpy is installed."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode

try:
    from bondpy.bondpy import Bond
except ImportError:  # not on PyPI
    Bond = None

#: As Nav2's own nodes have it: topic in the node's namespace, and seconds.
_TOPIC, _HEARTBEAT_PERIOD, _HEARTBEAT_TIMEOUT = "bond", 0.1, 4.0
#: How to bring the node up with Nav2's lifecycle manager, for the log.
MANAGER = "a lifecycle manager" if Bond is not None else "a lifecycle manager (Nav2's with bond_timeout: 0.0)"


class ManagerBond:
    """Forms the bond when a node is activated and breaks it when it is deactivated, as Nav2's nodes do.

    Without a manager nobody answers, and bondpy gives up after ten seconds; the node goes on either way.

    Parameters
    ----------
    node : its name is the bond's id.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._bond: Any = None

    def form(self) -> None:
        """Begin to send heartbeats, from a thread of bondpy's own."""
        if Bond is None:
            return
        self.end()
        self._bond = Bond(self._node, _TOPIC, self._node.get_name())
        self._bond.set_heartbeat_period(_HEARTBEAT_PERIOD)
        self._bond.set_heartbeat_timeout(_HEARTBEAT_TIMEOUT)
        self._bond.start()

    def end(self) -> None:
        """Tell the manager that the node stops on purpose."""
        if self._bond is not None:
            self._bond.shutdown()
            self._bond = None
