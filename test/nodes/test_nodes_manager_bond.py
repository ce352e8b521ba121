"""The bond with a lifecycle manager: a stand-in with the methods of bondpy 4, which is not among the ROS wheels."""

import importlib.util
from typing import ClassVar

import pytest
from lifecycle_msgs.msg import Transition

from dvps_ros.nodes import manager_bond


class Bond:
    """Says what was asked of it; like the real one it refuses settings after its start."""

    made: ClassVar[list] = []

    def __init__(self, node, topic, bond_id, on_broken=None, on_formed=None):
        self.name, self.topic, self.id = node.get_name(), topic, bond_id
        self.period = self.timeout = None
        self.started = self.ended = False
        Bond.made.append(self)

    def set_heartbeat_period(self, seconds):
        assert not self.started
        self.period = seconds

    def set_heartbeat_timeout(self, seconds):
        assert not self.started
        self.timeout = seconds

    def start(self):
        self.started = True

    def shutdown(self):
        assert self.started
        self.ended = True


@pytest.fixture
def bonds(monkeypatch):
    monkeypatch.setattr(manager_bond, "Bond", Bond)
    monkeypatch.setattr(Bond, "made", [])
    return Bond.made


def test_an_active_node_has_a_bond_as_nav2_s_nodes_have(bench, bonds):
    with bench("semantic") as b:
        [bond] = bonds
        assert (bond.topic, bond.id) == ("bond", "perception")
        assert (bond.period, bond.timeout) == (0.1, 4.0)
        assert bond.started
        assert not bond.ended
        b.change(Transition.TRANSITION_DEACTIVATE)
        assert bond.ended  # on purpose: a manager does not take it for a death
        b.change(Transition.TRANSITION_ACTIVATE)
        assert [one.ended for one in bonds] == [True, False]
    assert all(one.ended for one in bonds)


def test_without_bondpy_there_is_none(bench, monkeypatch):
    monkeypatch.setattr(manager_bond, "Bond", None)
    with bench("semantic") as b:
        b.send_until(lambda: b.got("semantic"))


def test_offered_exactly_where_bondpy_is_installed():
    there = importlib.util.find_spec("bondpy") is not None
    assert (manager_bond.Bond is not None) == there
    assert ("bond_timeout" in manager_bond.MANAGER) != there
