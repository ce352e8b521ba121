"""ROS parameters made from a configuration dataclass, with types, descriptions and ranges; validated before use."""

from __future__ import annotations

import json
import math
import typing
from array import array
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Generic, Literal, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from dvps_ros.config import describe, from_dict
from dvps_ros.nodes import rclpy_private

Settings = TypeVar("Settings", bound=Any)  # a dataclass
_LARGEST_INTEGER = 2**63 - 1
#: When a parameter of a lifecycle node that is not marked runtime may be set.
WHEN = "only while the node is unconfigured"


class NodeParameters(Generic[Settings]):
    """The parameters of one node and their current values as a configuration object.

    Parameters
    ----------
    node : declares one parameter for each field of ``cls``.
    cls : frozen dataclass of options (see ``dvps_ros.config.option``); those not marked runtime become read-only.
    on_change : called with the new configuration after a change was applied.
    is_unconfigured : tells whether options that are not marked runtime may be set now; without it they are read-only.

    Attributes
    ----------
    config : the current values.
    """

    def __init__(
        self,
        node: Node,
        cls: type[Settings],
        on_change: Callable[[Settings], None] | None = None,
        is_unconfigured: Callable[[], bool] | None = None,
    ) -> None:
        self._cls = cls
        self._on_change = on_change
        self._is_unconfigured = is_unconfigured
        self._problems: dict[str, str] = {}
        self._runtime = {row["path"] for row in describe(cls) if row["runtime"]}
        accepted = {row["path"]: self._declare(node, row) for row in describe(cls)}
        self.config: Settings = from_dict(cls, accepted, "parameter")
        rclpy_private.on_parameters(node, self._validate, self._apply)

    @property
    def problems(self) -> list[str]:
        """Faults of values given at start, one line each; the default is used until a valid value is set."""
        return list(self._problems.values())

    def _declare(self, node: Node, row: dict[str, Any]) -> Any:
        """Declare one parameter and return its value; a wrong one is noted and replaced by the default."""
        name = row["path"]
        # rclpy's error does not name a wrong value: read the value first, check it, then declare the parameter
        given = node.declare_parameter(name, row["default"], ParameterDescriptor(dynamic_typing=True)).value
        node.undeclare_parameter(name)
        given = given.tolist() if isinstance(given, array) else given  # of several numbers
        try:
            value = asdict(_checked(self._cls, {name: given}))[name]
        except ValueError as error:
            self._problems[name] = str(error)
            value = row["default"]
        described = descriptor(row)
        if described.read_only and self._is_unconfigured is not None:
            described.read_only = False
            described.additional_constraints += "; " * bool(described.additional_constraints) + WHEN
        return node.declare_parameter(name, value, described, ignore_override=True).value

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            self._check_settable(parameters)
            self._changed(parameters)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        if self._ours(parameters):
            self.config = self._changed(parameters)
            for name in self._ours(parameters):
                self._problems.pop(name, None)
            if self._on_change is not None:
                self._on_change(self.config)

    def _check_settable(self, parameters: list[Parameter]) -> None:
        fixed = self._ours(parameters).keys() - self._runtime
        if fixed and self._is_unconfigured is not None and not self._is_unconfigured():
            raise ValueError(f"parameter: {', '.join(sorted(fixed))} can be set {WHEN}")

    def _changed(self, parameters: list[Parameter]) -> Settings:
        return _checked(self._cls, {**asdict(self.config), **self._ours(parameters)})

    def _ours(self, parameters: list[Parameter]) -> dict[str, Any]:
        known = asdict(self.config)
        return {parameter.name: parameter.value for parameter in parameters if parameter.name in known}


def descriptor(row: dict[str, Any]) -> ParameterDescriptor:
    """What ROS tools show of a parameter, from one row of ``dvps_ros.config.describe``."""
    result = ParameterDescriptor(description=row["description"], read_only=not row["runtime"])
    if typing.get_origin(row["type"]) is Literal:
        result.additional_constraints = f"one of {', '.join(typing.get_args(row['type']))}"
    low, high = row["low"], row["high"]
    if low is None and high is None:
        return result
    if row["type"] is int:
        low, high = -_LARGEST_INTEGER if low is None else low, _LARGEST_INTEGER if high is None else high
        result.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif row["type"] is float:
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        result.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return result


def _checked(cls: type, values: dict[str, Any]) -> Any:
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"parameter: {name} must be finite, got {value}")
    return from_dict(cls, values, "parameter")


def parameters_file(node: str, cls: type) -> str:
    """A ROS parameters file for ``node``, in any namespace, with every parameter of ``cls`` at its default."""
    lines = [
        f"# Parameters of the node {node}, each at its default; those marked * may be changed while it runs.",
        f"/**/{node}:",
        "  ros__parameters:",
    ]
    for row in describe(cls):
        choices = typing.get_args(row["type"]) if typing.get_origin(row["type"]) is Literal else ()
        one_of = f" One of {', '.join(choices)}." if choices else ""
        lines += [
            f"    # {'* ' if row['runtime'] else ''}{row['description']}{one_of}",
            f"    {row['path']}: {json.dumps(row['default'])}",
        ]
    return "\n".join(lines) + "\n"
