"""config/foxglove.json shows topics that the demo's recording has."""

import json
from pathlib import Path

from dvps_ros.demo.observer_node import FRAME_TOPICS, UNRECORDED
from dvps_ros.launch_arguments import BASE_FRAME

LAYOUT = json.loads((Path(__file__).resolve().parents[2] / "config" / "foxglove.json").read_text())
RECORDED = {*FRAME_TOPICS, "/diagnostics"} - UNRECORDED


def values(part):
    """Every key and text in a part of the layout."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield key
            yield from values(value)
    elif isinstance(part, list):
        for value in part:
            yield from values(value)
    elif isinstance(part, str):
        yield part


def test_every_topic_is_recorded():
    topics = {value for value in values(LAYOUT["configById"]) if value.startswith("/")}
    assert {"/perception/points", "/perception/overlay", "/diagnostics"} <= topics <= RECORDED
    assert LAYOUT["configById"]["3D!scene"]["followTf"] == BASE_FRAME


def test_every_panel_has_a_place_and_settings():
    placed = {value for value in values(LAYOUT["layout"]) if "!" in value}
    assert placed == LAYOUT["configById"].keys()
