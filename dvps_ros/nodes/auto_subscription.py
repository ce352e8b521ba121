"""A subscription whose QoS follows what the publishers of its topic offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

#: Values of each policy, the stricter one first. "auto" requests the stricter one if every publisher offers it.
#: Otherwise, and while there is no publisher, it requests the other one, which is compatible with all.
_POLICIES = {
    "reliability": (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
    "durability": (DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE),
}


class AutoSubscription:
    """A subscription that requests the type, reliability and durability that the topic's publishers offer.

    With it a latched message (durability transient local) arrives even if it was published earlier.

    Parameters
    ----------
    kinds : message types that may come; the first is requested while no publisher has one of them.
    reliability : ``"auto"``, or ``"reliable"`` or ``"best_effort"`` to force one. The standard parameters
        ``qos_overrides.<topic>.subscription.reliability`` and ``.durability`` take precedence.
    """

    def __init__(
        self,
        node: Node,
        kinds: Sequence[type],
        topic: str,
        callback: Callable[[Any], None],
        reliability: str,
        depth: int,
    ) -> None:
        self._node, self._name, self._callback, self._depth = node, topic, callback, depth
        self._kinds = {f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}": kind for kind in kinds}
        self.type_name = next(iter(self._kinds))
        self.topic = node.resolve_topic_name(topic)
        defaults = {"reliability": reliability, "durability": "auto"}
        self._configured = {policy: self._override(policy, default) for policy, default in defaults.items()}
        self._requested = self._matching()
        self._subscription = self._subscribe()

    def follow_publishers(self) -> None:
        """Subscribe again if the publishers now offer another type or other policies than the requested ones."""
        matching = self._matching()
        if matching != self._requested:
            self._requested = matching
            self.destroy()
            self._subscription = self._subscribe()

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _override(self, policy: str, default: str) -> str:
        name = f"qos_overrides.{self.topic}.subscription.{policy}"
        if self._node.has_parameter(name):  # of an earlier subscription, perhaps with another default
            self._node.undeclare_parameter(name)
        value = self._node.declare_parameter(name, default).value
        allowed = ("auto", *(choice.name.lower() for choice in _POLICIES[policy]))
        if value not in allowed:
            raise ValueError(f"parameter {name} is {value!r}, must be {', '.join(allowed[:-1])} or {allowed[-1]}")
        return value

    def _matching(self) -> dict[str, Any]:
        """The type and the policies to request from the present publishers."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        offered = [info.qos_profile for info in publishers]
        known = [info.topic_type for info in publishers if info.topic_type in self._kinds]
        policies: dict[str, Any] = {"type": self.type_name if self.type_name in known or not known else known[0]}
        for policy, (strict, lenient) in _POLICIES.items():
            if self._configured[policy] != "auto":
                policies[policy] = type(strict)[self._configured[policy].upper()]
            else:
                all_strict = offered and all(getattr(profile, policy) == strict for profile in offered)
                policies[policy] = strict if all_strict else lenient
        return policies

    def _subscribe(self) -> Any:
        # reliability and durability are left out: as declared parameters they would keep the first offer for good
        overrides = QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH))
        policies = {policy: self._requested[policy] for policy in _POLICIES}
        self.type_name = self._requested["type"]
        kind, qos = self._kinds[self.type_name], QoSProfile(depth=self._depth, **policies)
        return self._node.create_subscription(kind, self._name, self._callback, qos, qos_overriding_options=overrides)
