"""Declaration, strict reading, writing and description of configurations: YAML files and frozen dataclasses.

Each field has its description and range, from which ROS parameters, ``--help`` texts and documentation tables are
generated. A YAML file contains only values that differ. ``base: other.yaml`` starts from another file in the same
folder, ``base: [one.yaml, other.yaml]`` from several, of which a later one overrides the earlier ones.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from dvps_ros.config.renamed import renewed
from dvps_ros.errors import joined


def option(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    runtime: bool = False,
) -> Any:
    """A dataclass field with its documentation for users.

    Parameters
    ----------
    default : the default value.
    description : one sentence, with the unit.
    low, high : inclusive bounds of a number, or of each element of a tuple.
    runtime : whether it can be changed in a running node.
    """
    return field(default=default, metadata={"description": description, "low": low, "high": high, "runtime": runtime})


def documented(description: str) -> dict[str, Any]:
    """Metadata of a field whose default is made by a factory, as ``option`` gives it."""
    return {"description": description, "low": None, "high": None, "runtime": False}


def save_config(config: Any, path: str | Path) -> None:
    """Write all values of the dataclass ``config``, so that a trained model does not depend on later defaults."""
    Path(path).write_text(yaml.safe_dump(plain(asdict(config)), sort_keys=False))


def from_dict(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """Build the dataclass ``cls`` from a mapping. Raises ``ValueError`` beginning with ``where`` and the key's path."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {type(values).__name__}")
    known = {f.name: f for f in fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")
    given = {key: _convert(value, hints[key], f"{where}: {key}") for key, value in values.items()}
    for key, value in given.items():
        check_range(value, known[key].metadata, f"{where}: {key}")
    return cls(**given)


def check_range(value: Any, metadata: Mapping[str, Any], where: str) -> None:
    """Raise ``ValueError`` beginning with ``where`` if a number, or one of a tuple, exceeds its declared bounds."""
    low, high = metadata.get("low"), metadata.get("high")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if (low is not None and not number >= low) or (high is not None and not number <= high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            raise ValueError(f"{where} is {number}, must be {bounds}")


def describe(cls: type, prefix: str = "") -> list[dict[str, Any]]:
    """One row per option of a configuration dataclass: path, type, default, description, low, high, runtime."""
    rows: list[dict[str, Any]] = []
    hints = typing.get_type_hints(cls)
    for f in fields(cls):
        path = f"{prefix}{f.name}"
        if is_dataclass(hints[f.name]):
            rows += describe(hints[f.name], f"{path}.")
        else:
            default = f.default_factory() if f.default_factory is not MISSING else f.default
            rows.append({"path": path, "type": hints[f.name], "default": default, **f.metadata})
    return rows


def _convert(value: Any, hint: Any, where: str) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return from_dict(hint, {} if value is None else value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if str(value) in arguments and isinstance(value, str | int):  # `precision: 16` reads as a number
            return str(value)
        raise ValueError(f"{where} is {value!r}, must be one of {', '.join(map(str, arguments))}")
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _convert(value, arguments[0], where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a mapping, got {value!r}")
        return plain(dict(value))
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{where} must be a number, got {value!r}") from None
    if type(value) is hint:
        return value
    raise ValueError(f"{where} must be of type {hint.__name__}, got {value!r}")


def plain(value: Any) -> Any:
    """``value`` with tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping of a YAML file over its bases. Raises ``FileNotFoundError`` or ``ValueError`` naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}")
    if path.resolve() in seen:
        raise ValueError(f"{path}: the chain of its bases is circular")
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML ({joined(error)})") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected a mapping, got {type(tree).__name__}")
    bases = tree.pop("base", None) or []
    if not isinstance(bases, str | list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: base must be a file name or a list of them, got {bases!r}")
    tree = renewed(tree, str(path))
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = _merged(merged, read_yaml(path.parent / base, (*seen, path.resolve())))
    return _merged(merged, tree)


def read_layers(paths: Iterable[Path]) -> dict[str, Any]:
    """The mapping of several YAML files with their bases, of which a later one overrides the earlier ones.

    Raises as ``read_yaml``.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        merged = _merged(merged, read_yaml(path))
    return merged


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(lower)
    for key, value in upper.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result
