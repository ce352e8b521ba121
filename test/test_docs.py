"""The documents say what is: parameters, topics, files, links and anchors."""

import dataclasses
import re
from pathlib import Path

import pytest
import rclpy
from documents import DOCUMENTS, ROOT, anchors, code_spans, links
from parameter_tables import CONFIGURATION, PARAMETERS, renewed
from rclpy.lifecycle import LifecycleNode

from dvps_ros.cli.main import SUBCOMMANDS
from dvps_ros.config import Config
from dvps_ros.nodes.outputs import Outputs

README = (ROOT / "README.md").read_text()
TOPICS = (ROOT / "docs" / "topics.md").read_text()
#: Code spans that begin with one of these name files of the repository.
FOLDERS = "config|docs|dvps_ros|launch|models|test|nodes|runtime|network"


def test_the_readme_is_a_front_door():
    assert len(README.splitlines()) <= 140, "details belong into docs/"
    for document in (ROOT / "docs").glob("*.md"):
        assert f"docs/{document.name}" in README, f"{document.name} is reachable from the README"


def test_parameter_tables_are_those_of_the_dataclasses():
    text = PARAMETERS.read_text()
    assert "| `score_threshold` |" in renewed(text)
    assert renewed(text) == text, "run: make docs"


def test_the_configuration_page_has_every_section_as_the_dataclasses_say():
    text = CONFIGURATION.read_text()
    assert renewed(text) == text, "run: make docs"
    sections = {field.name: type(getattr(Config(), field.name)).__name__ for field in dataclasses.fields(Config)}
    del sections["labels"]
    for name, cls in sections.items():
        assert f"## {name}\n" in text
        assert f"<!-- begin {cls} -->" in text


def test_a_changed_default_would_be_seen():
    text = PARAMETERS.read_text()
    changed = text.replace("| `points_stride` | `1` |", "| `points_stride` | `2` |")
    assert changed != text
    assert renewed(changed) == text


def topics_of(text):
    return set(re.findall(r"`~/([\w/]+)`", text)) - {"enable", "reset_tracks"}


def test_every_topic_is_listed():
    context = rclpy.Context()  # its own: other tests of this process may hold the default one
    rclpy.init(context=context)
    try:
        node = LifecycleNode("listed", context=context)
        outputs = Outputs(node, uncertainty=True)
        # the lifecycle machinery and every node's own topics aside
        names = {publisher.topic_name for publisher in node.publishers}
        published = {name.removeprefix("/listed/") for name in names if name.startswith("/listed/")}
        outputs.destroy()
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    published -= {"transition_event"}
    listed = topics_of(TOPICS)
    assert {"panoptic", "points", "labels"} <= published
    assert published <= listed
    others = {"detections", "label_info", "objects"}  # where their packages are installed
    assert listed - published <= others


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_topics_that_a_document_names_exist(document):
    if document.parts[0] == "config":  # sros2: also names of other nodes
        return
    assert topics_of((ROOT / document).read_text()) <= topics_of(TOPICS)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_promised_subcommands_exist(name):
    assert (ROOT / "dvps_ros" / "cli" / f"{name}.py").is_file()


def broken_links(text, document):
    """Relative links of a document that lead nowhere: a missing file, or a missing heading of a Markdown file."""
    broken = []
    for link in links(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        if target.exists() and (not anchor or anchor in anchors(target.read_text() if path else text)):
            continue
        broken.append(link)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_and_anchors_lead_somewhere(document):
    assert broken_links((ROOT / document).read_text(), document) == []


@pytest.mark.parametrize("link", ["docs/nowhere.md", "docs/topics.md#nothing", "#nothing", "models/nowhere.png"])
def test_a_broken_link_is_found(link):
    text = f"# Head\n\n[fine](docs/topics.md#what-each-topic-costs), [fine](#head), ![one]({link}), `[no](link)`\n"
    assert broken_links(text, Path("README.md")) == [link]


def missing_files(text):
    """Files and folders that code spans name and that are not there; patterns must match something."""
    named = {span for span in code_spans(text) if re.fullmatch(rf"(?:{FOLDERS})/[\w./*-]+", span)}
    launched = {f"launch/{name}" for name in re.findall(r"\w+\.launch\.py", text)}
    paths = {path.rstrip("/") for path in named | launched}
    places = (ROOT, ROOT / "dvps_ros", ROOT / "test")
    return sorted(path for path in paths if not any(list(place.glob(path)) for place in places))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_files_that_a_document_names_exist(document):
    assert missing_files((ROOT / document).read_text()) == []


def test_a_missing_file_is_found():
    assert missing_files("`config/street.yaml`, `config/nothing.yaml`, none.launch.py, `models/*/config.yaml`") == [
        "config/nothing.yaml",
        "launch/none.launch.py",
    ]
