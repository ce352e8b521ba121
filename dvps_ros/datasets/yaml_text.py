"""YAML files whose names and numbers stay the text that the user wrote.

YAML 1.1 takes ``0001`` and ``00`` for numbers, ``2011_09_26`` too, ``2011-09-26`` for a date and ``no`` for False:
names of sequences and classes would not be found again. Here each scalar is a string, from which numbers are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dvps_ros.errors import joined


def read(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file, empty for an empty file, with every scalar as written (a value None if it is empty).

    Raises ``ValueError`` naming a file that is no YAML, no mapping, or has a key twice.
    """
    try:
        node = yaml.compose(Path(path).read_text(), yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as YAML ({joined(error)})") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{path}: expected a mapping from names")
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
            raise ValueError(f"{path}: {key.value!r} is there twice")
        content[key.value] = _value(value, path)
    return content
