"""YAML files with every scalar as text.

YAML 1.1 reads ``0001``, ``00`` and ``2011_09_26`` as numbers, ``2011-09-26`` as a date and ``no`` as False, so names of
sequences and classes would change. Here each scalar is a string; callers convert the numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dvps_ros.errors import joined


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, with scalars as text and empty values as None; empty for an empty file.

    Raises ``ValueError`` naming a file that is not YAML, is not a mapping, or repeats a key.
    """
    try:
        node = yaml.compose(Path(path).read_text(), yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as YAML ({joined(error)})") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{path}: expected a mapping with names as keys")
    return _value(node, path)


def _value(node: yaml.Node, path: Path) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in ("", "~", "null") else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, path) for item in node.value]
    content: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"{path}: line {key.start_mark.line + 1}: a key must be a name")
        if key.value in content:
            raise ValueError(f"{path}: key {key.value!r} is repeated")
        content[key.value] = _value(value, path)
    return content
