"""Tables of label values: which class, or which of several classes, each value of a ``semantic/`` folder means.

::

    # labels.yaml
    0: sky
    1: [building, wall]                                      # one of these two classes
    5: {name: tree, classes: [vegetation, terrain]}          # a name for reports; default: the names of its classes
    9: 11                                                    # a train id instead of a class name

Values are 0 to 254; 255 is unlabelled in every file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dvps_ros.datasets import yaml_text
from dvps_ros.labels import VOID_CLASS, LabelSet, SemanticTable

FILE = "labels.yaml"


def read_table(path: Path, labels: LabelSet) -> SemanticTable:
    """The table in a YAML file.

    Parameters
    ----------
    path : the file.
    labels : the class table that its names belong to.

    Raises ``FileNotFoundError`` naming a missing file, ``ValueError`` naming the file and its fault.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no table of label values {path}")
    rows = {}
    for key, meaning in yaml_text.read(path).items():
        if not key.isdecimal() or not int(key) < VOID_CLASS:
            raise ValueError(f"{path}: {key!r} is not a label value from 0 to {VOID_CLASS - 1}")
        if int(key) in rows:
            raise ValueError(f"{path}: value {int(key)} is there twice")
        rows[int(key)] = _row(meaning, labels, f"{path}: {key}")
    if not rows:
        raise ValueError(f"{path}: the table is empty")
    values = tuple(sorted(rows))
    return SemanticTable(labels, values, *zip(*(rows[value] for value in values), strict=True))


def _row(meaning: Any, labels: LabelSet, where: str) -> tuple[str, frozenset[int]]:
    name = None
    if isinstance(meaning, dict):
        if not {"name", "classes"}.issuperset(meaning) or "classes" not in meaning:
            raise ValueError(f"{where}: expected the keys classes and name")
        name, meaning = meaning.get("name"), meaning["classes"]
    words = meaning if isinstance(meaning, list) else [meaning]
    if not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{where}: must be a class or a list of classes")
    classes = [_class(word, labels, where) for word in words]
    return name or "/".join(labels.names[k] for k in classes), frozenset(classes)


def _class(word: str, labels: LabelSet, where: str) -> int:
    if word in labels.names:
        return labels.names.index(word)
    if word.isdecimal() and int(word) < len(labels):
        return int(word)
    raise ValueError(f"{where}: {word!r} is not a class of {labels.name}")
