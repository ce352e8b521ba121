"""Uses of private parts of rclpy, and its differences between distributions.

docs/ros.md lists the distributions with which it was run, and those whose sources were read.
"""

from __future__ import annotations

from collections.abc import Callable

from rcl_interfaces.msg import SetParametersResult
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter

#: Raised when DDS or its security refuses something; rclpy has no public name for it.
RosError = rclpy_implementation.RCLError


def on_parameters(
    node: Node,
    validate: Callable[[list[Parameter]], SetParametersResult],
    apply: Callable[[list[Parameter]], None],
) -> None:
    """Have ``validate`` judge parameters that are to be set, and ``apply`` called with those that it lets pass.

    Humble has no callback for after they are set: there ``apply`` is called a moment before.
    """
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_on_set_parameters_callback(validate)
        node.add_post_set_parameters_callback(apply)
        return

    def both(parameters: list[Parameter]) -> SetParametersResult:
        result = validate(parameters)
        if result.successful:
            apply(parameters)
        return result

    node.add_on_set_parameters_callback(both)


def lifecycle_state(node: LifecycleNode) -> str:
    """The state of a lifecycle node, such as ``"inactive"``; publicly only a service gives it."""
    return node._state_machine.current_state[1]


def refuse_wrong_transitions(node: LifecycleNode, on_refused: Callable[[Exception], None]) -> None:
    """Make requests for a transition that the present state does not allow fail.

    Without this the service's callback raises, which ends the executor's spinning.
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
    """Remove the dead references of destroyed publishers and subscriptions from a node's callback group."""
    entities = node.default_callback_group.entities
    entities -= {reference for reference in entities if reference() is None}
