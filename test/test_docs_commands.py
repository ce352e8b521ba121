"""Every command line that a document quotes exists: subcommands and options, make targets, launch arguments."""

import ast
import re
import shlex
from dataclasses import fields, replace

import pytest
from documents import DOCUMENTS, ROOT, code_spans, command_lines

from dvps_ros.cli.main import build_parser
from dvps_ros.config import Config, PerceptionConfig, apply_overrides, describe, load_config

PARSER = build_parser()
SUBPARSERS = next(action.choices for action in PARSER._actions if isinstance(action.choices, dict))
OPTIONS = {name: set(sub._option_string_actions) for name, sub in SUBPARSERS.items()}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXECUTABLES = set(re.findall(r"\"(\w+) = dvps_ros\.", (ROOT / "setup.py").read_text()))
SECTIONS = "|".join(field.name for field in fields(Config))
PATHS = {row["path"] for row in describe(Config)}
#: Options that documents name and that belong to other programs.
FOREIGN_OPTIONS = {"--nnodes", "--nproc_per_node", "--enclave", "--system-site-packages"}
#: CHANGELOG.md may name what is gone.
CURRENT = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]


def launch_arguments(name):
    """Names of the arguments that a launch file declares."""
    for node in ast.parse((ROOT / "launch" / name).read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "ARGUMENTS":
            return {key.value for key in node.value.keys}
    raise AssertionError(f"{name} declares no ARGUMENTS")


LAUNCH_FILES = {path.name: launch_arguments(path.name) for path in (ROOT / "launch").glob("*.launch.py")}


def wrong_dvps(words, whole):
    """What is wrong with the arguments of ``dvps``. ``whole``: the line is complete and must parse."""
    if words in (["--help"], ["--version"]):
        return ""
    if not words or words[0] not in SUBPARSERS:
        return f"no such subcommand: {' '.join(words[:1])}"
    unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - OPTIONS[words[0]]
    if unknown:
        return f"no such options: {unknown}"
    if not whole:
        return ""
    try:
        arguments = PARSER.parse_args(words)
    except SystemExit:
        return "does not parse"
    config = getattr(arguments, "config", None)
    if not config:
        return ""
    files = config if isinstance(config, list) else [config]
    missing = [file for file in files if not (ROOT / file).is_file()]
    if missing:
        return f"no such file: {missing}"
    try:
        apply_overrides(load_config([ROOT / file for file in files]), getattr(arguments, "set", None) or [])
    except ValueError as error:
        return str(error)
    return ""


def wrong_launch(words):
    """What is wrong with the words after ``ros2 launch dvps_ros``."""
    if words[0] not in LAUNCH_FILES:
        return f"no such launch file: {words[0]}"
    given = {word.partition(":=")[0] for word in words[1:] if ":=" in word}
    unknown = given - LAUNCH_FILES[words[0]]
    return f"no such arguments: {unknown}" if unknown else ""


def wrong(line, whole=True):
    """What is wrong with a command line, in one sentence; empty when nothing is, or when another program reads it."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["torchrun"] and "dvps_ros.cli.main" in words:
        words = ["dvps", *words[words.index("dvps_ros.cli.main") + 1 :]]
    match words:
        case ["dvps", *rest]:
            return wrong_dvps(rest, whole)
        case ["make", *rest]:
            unknown = {word for word in rest if "=" not in word} - TARGETS
            return f"no such targets: {unknown}" if unknown else ""
        case ["ros2", "launch", "dvps_ros", *rest]:
            return wrong_launch(rest)
        case ["ros2", "run", "dvps_ros", name, *_]:
            return "" if name in EXECUTABLES else f"no such executable: {name}"
        case ["ros2", "param", "set", _, name, *_]:
            return "" if name in {f.name for f in fields(PerceptionConfig)} else f"no such parameter: {name}"
        case ["pytest", *rest]:
            missing = [word for word in rest if "/" in word and not (ROOT / word.partition("::")[0]).is_file()]
            return f"no such file: {missing}" if missing else ""
    return ""


def wrong_span(span):
    """What is wrong with a code span within a sentence; it may hold a part of a command only."""
    if re.match(r"(dvps|make|ros2|torchrun|pytest) ", span):
        return wrong(span, whole=False)
    if re.match(r"--[a-z]", span):
        option = re.split(r"[ =]", span)[0]
        known = FOREIGN_OPTIONS.union(*OPTIONS.values())
        if option not in known:
            return f"no such option: {option}"
        span = span.partition("--set ")[2]
    if match := re.fullmatch(r"(\w+):=\S*", span):
        known = set.union(*LAUNCH_FILES.values())
        return "" if match[1] in known else f"no such launch argument: {match[1]}"
    if re.fullmatch(rf"({SECTIONS})\.[a-z_.]+(=\S*)?", span) and not span.endswith((".py", ".yaml", ".md")):
        return "" if span.partition("=")[0] in PATHS else f"no such key: {span}"
    return ""


def mistakes(text):
    lines = [f"{line}: {wrong(line)}" for line in command_lines(text) if wrong(line)]
    return lines + [f"{span}: {wrong_span(span)}" for span in code_spans(text) if wrong_span(span)]


@pytest.mark.parametrize("document", CURRENT, ids=str)
def test_every_command_line_exists(document):
    assert mistakes((ROOT / document).read_text()) == []


def test_the_documents_quote_command_lines():
    lines = [line for document in CURRENT for line in command_lines((ROOT / document).read_text())]
    assert sum(line.startswith(("dvps ", "make ", "ros2 launch dvps_ros ")) for line in lines) >= 15


@pytest.mark.parametrize(
    "line",
    [
        "dvps dream --model models/street",
        "dvps evaluate --model models/street --loud",
        "dvps evaluate --model models/street --data",
        "dvps train --config config/nothing.yaml",
        "dvps train --config config/street.yaml --set data.colour=1",
        "torchrun --nproc_per_node 8 -m dvps_ros.cli.main train --config config/nothing.yaml",
        "make coffee",
        "ros2 launch dvps_ros nothing.launch.py",
        "ros2 launch dvps_ros perception.launch.py \\\n  colour:=red",
        "ros2 run dvps_ros nothing_node",
        "ros2 param set /perception nothing 1",
        "pytest -s test/nodes/test_nothing.py",
    ],
)
def test_a_wrong_line_is_found(line):
    assert len(mistakes(f"```bash\n{line}   # a remark\n```\n")) == 1


@pytest.mark.parametrize(
    "span", ["dvps dream", "dvps evaluate --loud", "make coffee", "--loud", "colour:=red", "training.sleep=1"]
)
def test_a_wrong_span_is_found(span):
    assert len(mistakes(f"A sentence with `{span}` in it.\n")) == 1


@pytest.mark.parametrize("span", ["dvps label", "--set training.accumulate=8", "data.labels=depth", "image:=", "a.b"])
def test_a_right_span_passes(span):
    assert mistakes(f"A sentence with `{span}` in it.\n") == []


def test_the_training_that_readme_shows_continues_from_the_model_that_ships():
    [(config, model)] = re.findall(r"dvps train --config (\S+) --init (\S+)", (ROOT / "README.md").read_text())
    learner = load_config(ROOT / config).network.with_random_weights()
    shipped = load_config(ROOT / model / "config.yaml").network.with_random_weights()
    frozen = replace(shipped.backbone, freeze=learner.backbone.freeze)  # that changes no weight's shape
    assert learner == replace(shipped, backbone=frozen)
