"""All that leans on parts of rclpy which are not its public interface.

Tried with rclpy 7.1.6 (Jazzy); docs/ros.md says what was read in the sources of other distributions.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

#: What ROS raises where DDS or its security refuses; rclpy has no public name for it.
RosError = rclpy_implementation.RCLError


def lifecycle_state(node: LifecycleNode) -> str:
    """The state that a lifecycle node is in, such as ``"inactive"``; rclpy tells it by a service alone."""
    return node._state_machine.current_state[1]


def refuse_wrong_transitions(node: LifecycleNode, on_refused: Callable[[Exception], None]) -> None:
    """Answer a request for a transition that the state does not have with failure.

    Without this the error leaves the service's callback and ends the executor's spinning.
    """
    service = node._service_change_state
    answer = service.callback

    def guarded(request, response):
        try:
            return answer(request, response)
        except Exception as error:
            on_refused(error)
            response.success = False
            return response

    service.callback = guarded


def forget_destroyed(node: Node) -> None:
    """Take out of a node's callback group the dead references that destroyed publishers and subscriptions leave."""
    entities = node.default_callback_group.entities
    entities -= {reference for reference in entities if reference() is None}
