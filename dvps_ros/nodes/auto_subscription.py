"""A subscription that fits the publishers of its topic, whatever they offer and whenever they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

#: By policy, the values besides auto, the stricter one first. auto asks for the stricter one where every publisher
#: offers it; else, and while no publisher is known, for the other, which fits all of them.
_POLICIES = {
    "reliability": (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
    "durability": (DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE),
}


class AutoSubscription:
    """A subscription that asks for the reliability and durability which the topic's publishers offer.

    A latched message (durability transient local) thus arrives although it was published before.

    Parameters
    ----------
    reliability : ``"auto"``, or ``"reliable"`` or ``"best_effort"`` to force one. The standard parameters
        ``qos_overrides.<topic>.subscription.reliability`` and ``.durability`` go before it.
    """

    def __init__(
        self, node: Node, kind: type, topic: str, callback: Callable[[Any], None], reliability: str, depth: int
    ) -> None:
        self._node, self.kind, self._name, self._callback, self._depth = node, kind, topic, callback, depth
        self.topic = node.resolve_topic_name(topic)
        defaults = {"reliability": reliability, "durability": "auto"}
        self._given = {policy: self._override(policy, default) for policy, default in defaults.items()}
        self._asked = self._fitting()
        self._subscription = self._subscribe()

    def follow_publishers(self) -> None:
        """Subscribe anew when the publishers offer something else than what is asked for."""
        fitting = self._fitting()
        if fitting != self._asked:
            self._asked = fitting
            self.destroy()
            self._subscription = self._subscribe()

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _override(self, policy: str, default: str) -> str:
        name = f"qos_overrides.{self.topic}.subscription.{policy}"
        if self._node.has_parameter(name):  # of an earlier subscription; what it fell back on may have changed
            self._node.undeclare_parameter(name)
        value = self._node.declare_parameter(name, default).value
        allowed = ("auto", *(choice.name.lower() for choice in _POLICIES[policy]))
        if value not in allowed:
            raise ValueError(f"parameter {name} is {value!r}, must be {', '.join(allowed[:-1])} or {allowed[-1]}")
        return value

    def _fitting(self) -> dict[str, Any]:
        offered = [info.qos_profile for info in self._node.get_publishers_info_by_topic(self.topic)]
        asked = {}
        for policy, (strict, lenient) in _POLICIES.items():
            if self._given[policy] != "auto":
                asked[policy] = type(strict)[self._given[policy].upper()]
            else:
                everyone = offered and all(getattr(profile, policy) == strict for profile in offered)
                asked[policy] = strict if everyone else lenient
        return asked

    def _subscribe(self) -> Any:
        # reliability and durability are left out: declared once, they would pin what was offered first
        overrides = QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH))
        qos = QoSProfile(depth=self._depth, **self._asked)
        return self._node.create_subscription(
            self.kind, self._name, self._callback, qos, qos_overriding_options=overrides
        )
