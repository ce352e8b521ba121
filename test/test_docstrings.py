"""Public docstrings say what a caller must know: that they exist, shapes of arrays, errors raised.

ruff's D1 asks that a docstring is there; this asks that it says something.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dvps_ros"
FILES = sorted(PACKAGE.rglob("*.py"))

#: A shape: (H, W), (B, Q, H/4, W/4), (..., 3), HxWx3, or the words that name one.
SHAPE = re.compile(
    r"\((?:\.\.\.|[A-Za-z0-9'_+*/ ]+),[^()]*\)|\b[A-Z] ?x ?[A-Z]\b|\bscalars?\b|\bany shape\b|\bshaped?\b"
)
ARRAYS = re.compile(r"\b(Tensor|ndarray|NDArray)\b")
#: Errors a caller should expect; what guards against misuse by the programmer is not meant.
USER_ERRORS = {"ValueError", "FileNotFoundError", "OSError", "RuntimeError"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST, str]]:
    """(dotted name, node, docstring of the enclosing class) of what a caller can reach."""
    yield "module", tree, ""
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node.name, node, ""
        if isinstance(node, ast.ClassDef):
            about = ast.get_docstring(node) or ""
            for member in node.body:
                if isinstance(member, Function) and not member.name.startswith("_"):
                    yield f"{node.name}.{member.name}", member, about


def overrides(node: ast.AST) -> bool:
    """True for setters and methods marked as overriding a documented one."""
    names = {ast.unparse(d).rpartition(".")[2] for d in getattr(node, "decorator_list", [])}
    return bool(names & {"setter", "override", "overload"})


def annotations(node: Function) -> str:
    """Source of all annotations of a function's parameters and result."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    return " ".join(ast.unparse(a) for a in (*(a.annotation for a in arguments if a), node.returns) if a)


def raised(node: Function) -> set[str]:
    """Names of the user errors that the function itself raises, those it catches again aside."""
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Raise) and inner.exc is not None:
            error = inner.exc.func if isinstance(inner.exc, ast.Call) else inner.exc
            found.add(ast.unparse(error))
    return found & USER_ERRORS


def complaints(source: str) -> list[str]:
    """What the public docstrings of a module leave out, one line each."""
    found = []
    for name, node, about in public_definitions(ast.parse(source)):
        text = ast.get_docstring(node) or ""
        if overrides(node):
            continue
        if not text:
            found.append(f"{name}: no docstring")
            continue
        if len(text.split()) < 3:
            found.append(f"{name}: {text!r} says nothing")
        if not isinstance(node, Function):
            continue
        if ARRAYS.search(annotations(node)) and not SHAPE.search(text + about):
            found.append(f"{name}: takes or gives arrays, their shape is not told")
        for error in sorted(raised(node)):
            if error not in text + about:
                found.append(f"{name}: raises {error}, which is not told")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_public_docstrings_say_what_a_caller_must_know(path):
    assert complaints(path.read_text()) == []


HEAD = '"""About this module."""\n'


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1", "module: no docstring"),
        (HEAD + "def f(): pass", "f: no docstring"),
        (HEAD + "class A:\n    '''Does one thing.'''\n    def f(self): pass", "A.f: no docstring"),
        (HEAD + "def f():\n    '''Do it.'''", "says nothing"),
        (HEAD + "def f(x: Tensor):\n    '''The image made brighter.'''", "shape is not told"),
        (HEAD + "def f() -> np.ndarray | None:\n    '''The image made brighter.'''", "shape is not told"),
        (HEAD + "def f(x):\n    '''The number made larger.'''\n    raise ValueError('no')", "raises ValueError"),
    ],
)
def test_the_check_catches(source, complaint):
    (found,) = complaints(source)
    assert complaint in found


@pytest.mark.parametrize(
    "source",
    [
        HEAD + "def _f(x: Tensor): pass",
        HEAD + "def f(x: Tensor):\n    '''The (H, W) image made brighter.'''\n    def inner(): pass",
        HEAD + "def f(x: Tensor):\n    '''The image made brighter, (B, Q, H/4, W/4) to (..., 3).'''",
        HEAD + "def f(x):\n    '''Made larger; raises ``ValueError`` when not.'''\n    raise ValueError('no')",
        HEAD + "class A:\n    '''Turns (H, W) around.'''\n    def f(self, x: Tensor):\n        '''Turn it around.'''",
    ],
)
def test_the_check_lets_pass(source):
    assert complaints(source) == []
