"""The import rule: a package imports only lower levels or its own files; the network stays free of everything heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dvps_ros"
LEVELS = {
    "__init__": 0,
    "config": 0,
    "errors": 0,
    "files": 0,
    "labels": 0,
    "resources": 0,
    "structures": 0,
    "network": 1,
    "checkpoints": 2,
    "camera": 2,
    "scene": 2,
    "drawing": 3,
    "metrics": 2,
    "simulation": 2,
    "runtime": 4,
    "datasets": 4,
    "training": 4,
    "launch_arguments": 5,
    "nodes": 5,
    "demo": 6,
    "benchmarks": 7,
    "cli": 8,
}
#: Only these parts may import the module at all.
RESERVED = {
    "mujoco": {"simulation"},
    "rclpy": {"nodes", "demo", "benchmarks"},
    "lightning": {"training", "datasets", "benchmarks", "cli"},
}


def imported_modules(tree: ast.AST, package: str) -> set[str]:
    """Absolute names of every module that ``tree`` imports anywhere, ``from a import b`` giving ``a.b`` too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def violations(source: str, module: str) -> list[str]:
    """What in the ``source`` of ``module`` (dotted, inside dvps_ros) breaks the rule."""
    parts = module.split(".")
    part = parts[1] if len(parts) > 1 else "__init__"
    found = []
    for name in imported_modules(ast.parse(source), module.rpartition(".")[0]):
        top, *rest = name.split(".")
        if top != "dvps_ros":
            allowed = RESERVED.get(top)
            if allowed is not None and part not in allowed:
                found.append(f"{module} imports {top}, which only {', '.join(sorted(allowed))} may")
            continue
        other = rest[0] if rest else "__init__"
        if other == part or other not in LEVELS:  # a name of dvps_ros/__init__.py is no module
            continue
        if LEVELS[other] > LEVELS[part] or (LEVELS[other] == LEVELS[part] != 0):
            found.append(f"{module} (level {LEVELS[part]}) imports dvps_ros.{other} (level {LEVELS[other]})")
    return sorted(set(found))


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the package."""
    result = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        result[".".join(("dvps_ros", *path.relative_to(PACKAGE).with_suffix("").parts))] = path
    return result


def test_every_part_has_a_level():
    parts = {p.stem if p.suffix == ".py" else p.name for p in PACKAGE.iterdir() if p.name != "__pycache__"}
    assert parts <= set(LEVELS), "new top-level parts need a level here and in CONTRIBUTING.md"


@pytest.mark.parametrize("module", modules())
def test_imports_point_downwards(module):
    assert violations(modules()[module].read_text(), module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dvps_ros.network.dvps", "import rclpy"),
        ("dvps_ros.network.dvps", "from dvps_ros.scene import merge"),
        ("dvps_ros.network.dvps", "from ..scene.merge import merge"),
        ("dvps_ros.scene.merge", "from dvps_ros import metrics"),
        ("dvps_ros.scene.merge", "def f():\n    import dvps_ros.runtime.perceive"),
        ("dvps_ros.nodes.perception_node", "from dvps_ros.demo import observer_node"),
        ("dvps_ros.labels", "from dvps_ros.network import build"),
        ("dvps_ros.training.module", "import mujoco"),
    ],
)
def test_the_rule_catches(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dvps_ros.network.dvps", "from dvps_ros.network.heads import Heads\nfrom .layers import Mlp\nimport torch"),
        ("dvps_ros.structures", "from dvps_ros.labels import VOID"),
        ("dvps_ros.nodes.perception_node", "import rclpy\nfrom dvps_ros.runtime import Perceiver"),
        ("dvps_ros.cli.main", "from dvps_ros import __version__"),
    ],
)
def test_the_rule_lets_pass(module, source):
    assert violations(source, module) == []


def test_importing_the_network_loads_nothing_heavy():
    heavy = ("rclpy", "lightning", "pytorch_lightning", "mujoco", "cv2")
    code = f"import sys, dvps_ros.network; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def circles(imports: dict[str, set[str]]) -> list[str]:
    """The modules from which imports lead back to themselves."""

    def reached(module: str) -> set[str]:
        found, waiting = set(), [module]
        while waiting:
            new = imports[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    return [module for module in imports if module in reached(module)]


def test_no_file_imports_itself_by_a_detour():
    known = modules()
    imports = {
        module: imported_modules(ast.parse(path.read_text()), module.rpartition(".")[0]) & known.keys() - {module}
        for module, path in known.items()
    }
    assert circles(imports) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
