"""The table of faults in docs/robustness.md names tests that exist, and keeps the faults that it promises."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs" / "robustness.md").read_text()
COLUMNS = ["fault", "injected how", "what the node does", "test"]
#: Words for what the table promises, each of which some row must have.
SUBJECTS = (
    *("SIGKILL", "frame_id", "camera_info", "jump", "hypothesis", "malformed", "out of memory", "NaN"),
    *("200 rounds", "SIGINT", "namespace", "tampered", "five times", "never spins", "best-effort"),
)


def table(text):
    """The rows of the table in the section "Table of faults": lists of cells, the head first."""
    [section] = re.findall(r"^## Table of faults\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert set(lines[1]) <= set("|-: ")
    return [[cell.strip() for cell in rows[0]], *rows[2:]]


def known_tests(path):
    """Names of the test functions of a file, as pytest writes them."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            functions = (member for member in node.body if isinstance(member, ast.FunctionDef))
            found |= {f"{node.name}::{member.name}" for member in functions if member.name.startswith("test_")}
    return found


def faults_of(rows):
    """What is wrong with the rows of a table, one line each."""
    wrong = []
    for row in rows:
        if len(row) != len(COLUMNS) or not all(row):
            wrong.append(f"not {len(COLUMNS)} filled cells: {row}")
            continue
        named = re.findall(r"`([^`]+)`", row[-1])
        if not named:
            wrong.append(f"no test: {row[0]}")
        for name in named:
            path, _, function = name.partition("::")
            if not (ROOT / "test" / path).is_file():
                wrong.append(f"no such file: {name}")
            elif function not in known_tests(ROOT / "test" / path):
                wrong.append(f"no such test: {name}")
    return wrong


def test_every_fault_has_a_test_that_exists():
    head, *rows = table(DOCUMENT)
    assert head == COLUMNS
    assert len(rows) >= 25
    assert faults_of(rows) == []


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_promised_fault_is_missing(subject):
    _, *rows = table(DOCUMENT)
    assert any(subject.lower() in " ".join(row[:3]).lower() for row in rows)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("`nodes/test_nodes_faults.py::test_that_nobody_wrote`", "no such test"),
        ("`nodes/test_nowhere.py::test_bag_that_loops`", "no such file"),
        ("by hand", "no test"),
        ("", "filled cells"),
    ],
)
def test_a_wrong_row_is_found(test, words):
    [line] = faults_of([["a fault", "somehow", "something", test]])
    assert words in line
