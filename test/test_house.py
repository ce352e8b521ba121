"""The house stays tidy: one subject a file, functions that fit on a screen, and no two files that import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "dvps_ros").rglob("*.py"))
#: Longer than this only with the cause given here.
LONGEST_FILE, LONGEST_FUNCTION = 300, 50
TABLES = {"checkpoints/foreign_names.py": "half of it are the tables of two foreign namings"}


def name(path):
    return path.relative_to(ROOT / "dvps_ros").as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE or name(path) in TABLES, f"{name(path)}: split it by subject"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if documented else 0
            lines = node.end_lineno - node.lineno + 1 - docstring
            assert lines <= LONGEST_FUNCTION, f"{name(path)}: {node.name} has {lines} lines without its docstring"


@pytest.mark.parametrize("entry", TABLES)
def test_what_may_be_longer_is(entry):
    assert len((ROOT / "dvps_ros" / entry).read_text().splitlines()) > LONGEST_FILE, f"{entry} needs no exception"


def imports_of(path):
    """Modules of the package that a file imports when it is imported itself, not those inside functions."""
    pending, found = list(ast.parse(path.read_text()).body), set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dvps_ros"):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif isinstance(node, ast.If | ast.Try | ast.With):
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


def test_no_two_files_import_each_other():
    """Nor in a longer circle; packages' ``__init__`` files stand for what they gather and are left out."""
    module = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES if path.name != "__init__.py"
    }
    edges = {one: imports_of(path) & module.keys() - {one} for one, path in module.items()}
    while leaves := [one for one, below in edges.items() if not below & edges.keys()]:
        for one in leaves:
            del edges[one]
    assert not edges, f"circles among {sorted(edges)}"
