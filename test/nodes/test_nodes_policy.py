"""config/sros2/policy.xml grants what the nodes have, no less and no more, and is what sros2 reads."""

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path

import pytest
from node_helpers import QuickPerceiver, start_process, wait_for
from rclpy.node import Node
from rclpy.parameter import Parameter

from dvps_ros.demo.observer_node import Observer
from dvps_ros.nodes import detections, objects
from dvps_ros.nodes.perception_node import PerceptionNode
from dvps_ros.nodes.sim_camera_node import SimCameraNode

FOLDER = Path(__file__).resolve().parents[2] / "config" / "sros2"
README = (FOLDER / "README.md").read_text()
POLICY = (FOLDER / "policy.xml").read_text()
#: What a policy can grant, by what the graph calls it.
RIGHTS = {"publish": "publisher", "subscribe": "subscriber", "reply": "service", "request": "client"}
#: sros2's schema of policies, version 0.2.0: element -> (children in order, attributes that must be, that may be).
SCHEMA = {
    "policy": (r"enclaves", {"version"}, set()),
    "enclaves": (r"(enclave )*enclave", set(), set()),
    "enclave": (r"(profiles )*profiles", {"path"}, set()),
    "profiles": (r"(profile )*profile( metadata)?", set(), {"type"}),
    "profile": (r"((topics|services|actions) ?)*", {"ns", "node"}, set()),
    "topics": (r"(topic )*topic", set(), {"publish", "subscribe"}),
    "services": (r"(service )*service", set(), {"reply", "request"}),
    "topic": (r"", set(), set()),
    "service": (r"", set(), set()),
}
VISION_MSGS = {("publish", "/perception/detections"), ("publish", "/perception/label_info")}
AUTOWARE = {("publish", "/perception/objects")}
SIM_TIME = [Parameter("use_sim_time", value=True)]


def granted(policy, path):
    """(right, full name) of all that a policy allows an enclave; a leading ~ or nothing is resolved as sros2 does."""
    rights = set()
    for profile in ET.fromstring(policy).findall(f"enclaves/enclave[@path='{path}']/profiles/profile"):
        ns, node = profile.get("ns").rstrip("/"), profile.get("node")
        for rules in profile:
            for name in (rule.text for rule in rules):
                full = name if name[0] == "/" else f"{ns}/{node}{name[1:]}" if name[0] == "~" else f"{ns}/{name}"
                rights |= {(right, full) for right, answer in rules.attrib.items() if answer == "ALLOW"}
    return rights


def held(watcher, node):
    """(right, full name) of all that the graph says a node has."""
    return {
        (right, name)
        for right, kind in RIGHTS.items()
        for name, _ in getattr(watcher, f"get_{kind}_names_and_types_by_node")(node.get_name(), node.get_namespace())
    }


def wait_until_held(watcher, node, expected):
    """Names show up in the graph a moment after their endpoints."""
    with suppress(AssertionError):  # the next line tells missing and extra names apart
        wait_for(lambda: held(watcher, node) == expected, 20)
    assert held(watcher, node) == expected


@pytest.fixture
def watcher():
    node = Node("policy_watcher")
    yield node
    node.destroy_node()


@pytest.fixture
def node(request, tmp_path):
    """One of the nodes of this package, on simulated time, so that it reads /clock as well."""
    overrides = [*SIM_TIME, Parameter("model", value=str(tmp_path)), Parameter("folder", value=str(tmp_path))]
    made = request.param(overrides)
    yield made
    made.destroy_node()


class UncertainPerceiver(QuickPerceiver):
    """Its node has every topic there is."""

    tells_uncertainty = True


def perception(overrides, **options):
    return PerceptionNode(UncertainPerceiver.load, parameter_overrides=overrides, **options)


def walk(node):
    """The states of a lifecycle node, having got there."""
    yield "unconfigured"
    for transition, state in (
        ("configure", "inactive"),
        ("activate", "active"),
        ("deactivate", "inactive"),
        ("cleanup", "unconfigured"),
        ("configure", "inactive"),
        ("activate", "active"),
    ):
        getattr(node, f"trigger_{transition}")()
        assert node.state == state
        yield state


@pytest.mark.parametrize("node", [perception], indirect=True)
def test_the_perception_node_has_what_the_policy_grants_and_nothing_else(node, watcher):
    allowed = granted(POLICY, "/perception")
    assert allowed >= VISION_MSGS | AUTOWARE
    expected = allowed - (set() if detections.AVAILABLE else VISION_MSGS) - (set() if objects.AVAILABLE else AUTOWARE)
    for state in walk(node):
        if state == "active":
            wait_until_held(watcher, node, expected)
        assert held(watcher, node) <= expected, state


def observer(overrides):
    return Observer(parameter_overrides=overrides, cli_args=["--ros-args", *remaps_of("observer_node")])


def remaps_of(executable):
    """The -r arguments that the README's command line for an executable has."""
    [line] = re.findall(rf"{executable} --ros-args ((?:.*\\\n)*.*)", README)
    return re.findall(r"-r|(?<=-r )\S+", line)


@pytest.mark.parametrize("node", [lambda o: SimCameraNode(parameter_overrides=o), observer], indirect=True)
def test_the_demos_nodes_have_what_the_policy_grants_and_nothing_else(node, watcher):
    expected = granted(POLICY, f"/{node.get_name()}")
    assert ("publish", "/rosout") in expected
    wait_until_held(watcher, node, expected)


def test_what_the_observer_reads_is_what_the_others_may_publish():
    offered = {
        name for path in ("/perception", "/sim_camera") for right, name in granted(POLICY, path) if right[0] == "p"
    }
    read = {name for right, name in granted(POLICY, "/observer") if right == "subscribe"} - {"/clock"}
    assert "/perception/points" in read
    assert read <= offered


@pytest.mark.parametrize("node", [lambda o: front_camera(o)], indirect=True)
def test_the_readmes_edit_fits_a_node_in_a_namespace_with_remaps(node, watcher, tmp_path):
    [edit] = re.findall(r"^(sed '.*?' policy\.xml > \S+)$", README, re.MULTILINE | re.DOTALL)
    source = FOLDER / "policy.xml"
    written = tmp_path / edit.rpartition(" ")[2]
    command = edit.replace(" policy.xml ", f" {source} ").replace(written.name, str(written))
    subprocess.run(["bash", "-euc", command], check=True, timeout=60, env={"PATH": os.environ["PATH"]})
    policy = written.read_text()
    check(ET.fromstring(policy))
    expected = granted(policy, "/front/perception")
    assert not granted(policy, "/perception")
    missing = (set() if detections.AVAILABLE else VISION_MSGS) | (set() if objects.AVAILABLE else AUTOWARE)
    expected -= {(right, f"/front{name}") for right, name in missing}
    assert {("subscribe", "/camera/image_raw"), ("subscribe", "/camera/camera_info")} <= expected
    node.trigger_configure()
    node.trigger_activate()
    wait_until_held(watcher, node, expected)


def front_camera(overrides):
    remaps = ["-r", "image:=/camera/image_raw", "-r", "camera_info:=/camera/camera_info"]
    return perception(overrides, namespace="front", cli_args=["--ros-args", *remaps])


def check(element):
    """Raise where an element is not what sros2's schema says."""
    children, must, may = SCHEMA[element.tag]
    assert re.fullmatch(children, " ".join(child.tag for child in element)), element.tag
    assert must <= set(element.attrib) <= must | may, element.tag
    assert {element.get(name) for name in may & set(element.attrib)} <= {"ALLOW", "DENY"}, element.tag
    assert children or element.text.strip(), element.tag
    for child in element:
        check(child)


def test_the_policy_fits_sros2s_schema():
    root = ET.fromstring(POLICY)
    check(root)
    assert root.get("version") == "0.2.0"
    paths = [enclave.get("path") for enclave in root.iter("enclave")]
    assert paths == ["/perception", "/sim_camera", "/observer"]
    names = [rule.text for kind in ("topic", "service") for rule in root.iter(kind)]
    assert not any(set(name) & set("*?[] ") for name in names), "a pattern grants more than it says"


def test_no_comment_lies_beside_an_enclave():
    # ros2 security generate_artifacts takes each child of <enclaves> for an enclave
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    children = list(ET.fromstring(POLICY, parser).find("enclaves"))
    assert [child.tag for child in children] == ["enclave"] * len(children)


@pytest.mark.parametrize(
    "broken",
    [
        POLICY.replace('ns="/" ', "", 1),
        POLICY.replace('publish="ALLOW"', 'publish="YES"', 1),
        POLICY.replace("<topic>image</topic>", "<service>image</service>", 1),
        POLICY.replace("<topic>image</topic>", "<topic></topic>", 1),
    ],
)
def test_the_schema_check_sees_mistakes(broken):
    with pytest.raises((AssertionError, AttributeError, KeyError)):
        check(ET.fromstring(broken))


@pytest.mark.parametrize("node", [lambda _: Node("operator")], indirect=True)
def test_the_readmes_example_is_enough_for_a_node_that_reads_and_asks(node, watcher):
    [example] = re.findall(r"```xml\n(.*?)```", README, re.DOTALL)
    policy = f'<policy version="0.2.0"><enclaves>{example}</enclaves></policy>'
    check(ET.fromstring(policy))
    allowed = granted(policy, "/operator")
    asked = {(right, name) for right, name in allowed if right in ("subscribe", "request")}
    offered = {("reply", name) for right, name in asked if right == "request"}
    assert offered <= granted(POLICY, "/perception")
    assert len(offered) == 2
    wait_until_held(watcher, node, allowed - asked)


def test_a_node_that_dds_lets_not_in_ends_with_one_line(tmp_path, monkeypatch):
    # an enclave without keys; the wheels, built without security, refuse at the same place
    (tmp_path / "enclaves" / "perception").mkdir(parents=True)
    for name, value in (("ENABLE", "true"), ("STRATEGY", "Enforce"), ("KEYSTORE", str(tmp_path))):
        monkeypatch.setenv(f"ROS_SECURITY_{name}", value)
    executable = "from dvps_ros.nodes.executables import perception_node; perception_node()"
    process = start_process("--ros-args", "--enclave", "/perception", code=executable)
    assert process.wait(120) == 2
    assert re.search(r"security", process.output)
    assert "Traceback" not in process.output
