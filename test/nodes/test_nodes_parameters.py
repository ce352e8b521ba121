"""Parameters as ROS tools see them, and what happens to wrong ones."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from dvps_ros.config import PerceptionConfig, SimCameraConfig
from dvps_ros.nodes.parameters import NodeParameters, parameters_file


@pytest.fixture(params=["Humble", "later"])
def make(request, monkeypatch):
    """Makes a node and its parameters; Humble's rclpy tells nothing after parameters were set."""
    if request.param == "Humble":
        monkeypatch.delattr(Node, "add_post_set_parameters_callback")
    nodes = []

    def parameters(cls=PerceptionConfig, on_change=None, **given):
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        nodes.append(Node("parameters_test", parameter_overrides=overrides))
        return nodes[-1], NodeParameters(nodes[-1], cls, on_change)

    yield parameters
    for node in nodes:
        node.destroy_node()


@pytest.mark.parametrize("cls", [PerceptionConfig, SimCameraConfig])
def test_every_field_is_declared_with_default_type_and_description(make, cls):
    node, parameters = make(cls)
    assert parameters.config == cls()
    assert parameters.problems == []
    for field in fields(cls):
        described = node.describe_parameter(field.name)
        value = node.get_parameter(field.name).value
        assert (tuple(value) if isinstance(field.default, tuple) else value) == field.default
        assert described.description == field.metadata["description"]
        assert described.read_only != field.metadata["runtime"]
        if field.metadata["low"] is not None:
            ranges = [*described.integer_range, *described.floating_point_range]
            assert ranges[0].from_value == field.metadata["low"]


def test_values_given_at_start_are_taken_and_integers_stand_for_floats(make):
    node, parameters = make(max_age=2, model="models/other", device="cpu")
    assert (parameters.config.max_age, parameters.config.model) == (2.0, "models/other")
    assert isinstance(node.get_parameter("max_age").value, float)


def test_a_list_of_numbers_is_taken(make):
    node, parameters = make(SimCameraConfig, distortion=[0.1, -0.2, 0.0, 0.0, 0.05])
    assert parameters.problems == []
    assert parameters.config.distortion == (0.1, -0.2, 0.0, 0.0, 0.05)
    assert list(node.get_parameter("distortion").value) == [0.1, -0.2, 0.0, 0.0, 0.05]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_age": "long"}, "max_age"),
        ({"max_age": -1.0}, "max_age is -1.0, must be at least 0.0"),
        ({"max_depth": float("nan")}, "max_depth must be finite"),
        ({"input_transport": "theora"}, "must be one of auto, raw, compressed"),
        ({"autostart": 1}, "autostart must be of type bool"),
        ({"model": 5}, "model must be of type str"),
    ],
)
def test_wrong_values_at_start_are_noted_in_one_line(make, given, words):
    _, parameters = make(**given)
    assert parameters.config == PerceptionConfig()
    assert len(parameters.problems) == 1
    assert words in parameters.problems[0]
    assert "\n" not in parameters.problems[0]


def test_runtime_changes_are_applied_together_or_not_at_all(make):
    seen = []
    node, parameters = make(on_change=seen.append)
    good = [Parameter("score_threshold", value=0.5), Parameter("max_rate", value=3.0)]
    assert node.set_parameters_atomically(good).successful
    assert (parameters.config.score_threshold, parameters.config.max_rate) == (0.5, 3.0)
    assert seen == [parameters.config]
    bad = [Parameter("max_rate", value=4.0), Parameter("score_threshold", value=1.5)]
    assert not node.set_parameters_atomically(bad).successful
    assert (parameters.config.score_threshold, parameters.config.max_rate) == (0.5, 3.0)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("name", "value"), [("model", "other"), ("autostart", True), ("max_rate", "fast"), ("max_depth", float("inf"))]
)
def test_refused_changes_say_why_and_change_nothing(make, name, value):
    node, parameters = make()
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    assert result.reason
    assert parameters.config == PerceptionConfig()


def test_the_shipped_parameters_file_says_what_the_dataclass_says():
    shipped = (Path(__file__).resolve().parents[2] / "config" / "perception.yaml").read_text()
    assert shipped == parameters_file("perception", PerceptionConfig)
    values = yaml.safe_load(shipped)["/**/perception"]["ros__parameters"]
    assert values == {field.name: field.default for field in fields(PerceptionConfig)}
