"""Class tables: names, thing or stuff, colours, and what each class means to a planner."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dvps_ros.errors import joined

#: One class holds at most this many instances: panoptic value = class * DIVISOR + instance.
DIVISOR = 1000
#: Class value of pixels without a label.
VOID_CLASS = 255
#: Panoptic value of pixels without a label.
VOID = VOID_CLASS * DIVISOR


@dataclass(frozen=True)
class LabelSet:
    """The K classes of one data set, in train-id order; ``len(labels) == K``.

    Attributes
    ----------
    name : short identifier used in configurations, e.g. ``"cityscapes"``.
    names : K class names.
    is_thing : K booleans; True for countable classes.
    colors : K RGB triples, 0..255, the field's customary palette.
    drivable : train ids a wheeled robot may drive on.
    sky : train ids that have no depth and never become points.
    pavement : train ids of hard ground beside the drivable one, level with it or a kerb higher.
    """

    name: str
    names: tuple[str, ...]
    is_thing: tuple[bool, ...]
    colors: tuple[tuple[int, int, int], ...]
    drivable: frozenset[int] = frozenset()
    sky: frozenset[int] = frozenset()
    pavement: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.is_thing) == len(self.colors):
            raise ValueError(f"label set {self.name!r}: names, is_thing and colors differ in length")
        if not all(0 <= index < len(self) for index in self.drivable | self.sky | self.pavement):
            raise ValueError(f"label set {self.name!r}: a drivable, sky or pavement id is no class")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def things(self) -> tuple[int, ...]:
        """Train ids of the thing classes, ascending."""
        return tuple(i for i, thing in enumerate(self.is_thing) if thing)

    @property
    def stuff(self) -> tuple[int, ...]:
        """Train ids of the stuff classes, ascending."""
        return tuple(i for i, thing in enumerate(self.is_thing) if not thing)

    @property
    def obstacles(self) -> frozenset[int]:
        """Train ids a planner must stay clear of: everything but drivable ground and sky."""
        return frozenset(range(len(self))) - self.drivable - self.sky

    @property
    def ground(self) -> frozenset[int]:
        """Train ids of the ground that a camera's height is measured from: drivable ground and pavement."""
        return self.drivable | self.pavement

    def index(self, name: str) -> int:
        """Train id of a class name; raises ``ValueError`` naming an unknown one."""
        if name not in self.names:
            raise ValueError(f"label set {self.name!r} has no class {name!r}")
        return self.names.index(name)


def _label_set(
    name: str,
    rows: Iterable[tuple[str, bool, tuple[int, int, int]]],
    drivable: tuple[str, ...],
    sky: tuple[str, ...],
    pavement: tuple[str, ...],
) -> LabelSet:
    names, is_thing, colors = zip(*rows, strict=True)
    meanings = (frozenset(map(names.index, group)) for group in (drivable, sky, pavement))
    return LabelSet(name, names, is_thing, colors, *meanings)


#: The 19 evaluated classes of Cityscapes (Cordts et al., CVPR 2016), train-id order and palette.
CITYSCAPES = _label_set(
    "cityscapes",
    (
        ("road", False, (128, 64, 128)),
        ("sidewalk", False, (244, 35, 232)),
        ("building", False, (70, 70, 70)),
        ("wall", False, (102, 102, 156)),
        ("fence", False, (190, 153, 153)),
        ("pole", False, (153, 153, 153)),
        ("traffic light", False, (250, 170, 30)),
        ("traffic sign", False, (220, 220, 0)),
        ("vegetation", False, (107, 142, 35)),
        ("terrain", False, (152, 251, 152)),
        ("sky", False, (70, 130, 180)),
        ("person", True, (220, 20, 60)),
        ("rider", True, (255, 0, 0)),
        ("car", True, (0, 0, 142)),
        ("truck", True, (0, 0, 70)),
        ("bus", True, (0, 60, 100)),
        ("train", True, (0, 80, 100)),
        ("motorcycle", True, (0, 0, 230)),
        ("bicycle", True, (119, 11, 32)),
    ),
    drivable=("road",),
    sky=("sky",),
    pavement=("sidewalk",),
)

#: The 19 classes of SemanticKITTI (Behley et al., ICCV 2019) in SemKITTI-DVPS order: things first.
SEMKITTI = _label_set(
    "semkitti",
    (
        ("car", True, (100, 150, 245)),
        ("bicycle", True, (100, 230, 245)),
        ("motorcycle", True, (30, 60, 150)),
        ("truck", True, (80, 30, 180)),
        ("other-vehicle", True, (100, 80, 250)),
        ("person", True, (255, 30, 30)),
        ("bicyclist", True, (255, 40, 200)),
        ("motorcyclist", True, (150, 30, 90)),
        ("road", False, (255, 0, 255)),
        ("parking", False, (255, 150, 255)),
        ("sidewalk", False, (75, 0, 75)),
        ("other-ground", False, (175, 0, 75)),
        ("building", False, (255, 200, 0)),
        ("fence", False, (255, 120, 50)),
        ("vegetation", False, (0, 175, 0)),
        ("trunk", False, (135, 60, 0)),
        ("terrain", False, (150, 240, 80)),
        ("pole", False, (255, 240, 150)),
        ("traffic-sign", False, (255, 0, 0)),
    ),
    drivable=("road", "parking"),
    sky=(),
    pavement=("sidewalk",),
)

LABEL_SETS = {labels.name: labels for labels in (CITYSCAPES, SEMKITTI)}


@dataclass(frozen=True)
class SemanticTable:
    """What the values of a label map without instances mean: row r is one value, which may be any of ``sets[r]``.

    Attributes
    ----------
    labels : the class table with K classes.
    values : V values in files, 0..254; a negative one is in no file.
    names : V names for people.
    sets : V sets of train ids, none of them empty.
    """

    labels: LabelSet
    values: tuple[int, ...]
    names: tuple[str, ...]
    sets: tuple[frozenset[int], ...]

    def __post_init__(self) -> None:
        if not len(self.values) == len(self.names) == len(self.sets):
            raise ValueError("semantic table: values, names and sets differ in length")
        if not all(row and row <= set(range(len(self.labels))) for row in self.sets):
            raise ValueError("semantic table: a set is empty, or holds what is no class")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def stuff(self) -> tuple[int | None, ...]:
        """V train ids: the stuff class whose every pixel has this value and no other class has; else None.

        Such a value tells a whole segment. A thing value lacks instances; a value of several classes, or a class that
        another value may also be, lacks borders.
        """
        alone = [next(iter(row)) if len(row) == 1 else None for row in self.sets]
        return tuple(
            k if k is not None and not self.labels.is_thing[k] and sum(k in other for other in self.sets) == 1 else None
            for k in alone
        )

    def with_classes(self) -> SemanticTable:
        """This table with a further row, whose value is in no file, for each class that has no row of its own."""
        added = [k for k in range(len(self.labels)) if frozenset({k}) not in self.sets]
        names = (self.labels.names[k] for k in added)
        return SemanticTable(
            self.labels,
            self.values + tuple(-1 - k for k in added),
            self.names + tuple(f"{name} alone" if name in self.names else name for name in names),
            self.sets + tuple(frozenset({k}) for k in added),
        )


def identity_table(labels: LabelSet) -> SemanticTable:
    """The table in which each value is its own train id."""
    classes = range(len(labels))
    return SemanticTable(labels, tuple(classes), labels.names, tuple(frozenset({k}) for k in classes))


def read_label_set(path: str | Path, names: Sequence[str]) -> LabelSet:
    """The class table of a checkpoint with K ``names``, from a YAML that tells what they mean.

    The YAML has ``name``, either ``things`` or ``stuff`` (the others are the rest), and optionally ``drivable``,
    ``sky`` and ``pavement``: lists of class names, capitals and surrounding spaces aside. Colors are made up.

    Raises ``FileNotFoundError`` or ``ValueError`` naming what is missing, unknown, or no class of the checkpoint.
    """
    tree = _read_yaml(Path(path))
    if ("things" in tree) == ("stuff" in tree):
        raise ValueError(f"{path}: exactly one of things and stuff must be given")
    groups = {key: _indices(tree[key], names, f"{path}: {key}") for key in _GROUPS if key in tree}
    things = groups.get("things", frozenset(range(len(names))) - groups.get("stuff", frozenset()))
    is_thing = tuple(i in things for i in range(len(names)))
    return LabelSet(
        tree["name"],
        tuple(name.strip() for name in names),
        is_thing,
        tuple(_color(i) for i in range(len(names))),
        **{key: groups.get(key, frozenset()) for key in _MEANINGS},
    )


def class_tables(folder: Path) -> list[Path]:
    """The files in ``folder`` that ``read_label_set`` is made for, by name; tables of label values may lie beside."""
    return [path for path in sorted(folder.glob("*.yaml")) if re.search(r"^name:", path.read_text(), re.MULTILINE)]


_MEANINGS = ("drivable", "sky", "pavement")
_GROUPS = ("things", "stuff", *_MEANINGS)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no class table {path}")
    try:
        tree = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML ({joined(error)})") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected a mapping, got {type(tree).__name__}")
    if unknown := [key for key in tree if key not in ("name", *_GROUPS)]:
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; known are name, {', '.join(_GROUPS)}")
    if not isinstance(tree.get("name"), str) or not tree["name"]:
        raise ValueError(f"{path}: name must be a word, got {tree.get('name')!r}")
    return tree


def _indices(wanted: Any, names: Sequence[str], where: str) -> frozenset[int]:
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise ValueError(f"{where} must be a list of class names, got {wanted!r}")
    known = {name.strip().casefold(): index for index, name in enumerate(names)}
    if unknown := [name for name in wanted if name.strip().casefold() not in known]:
        raise ValueError(f"{where}: {unknown[0]!r} is none of the {len(names)} classes")
    return frozenset(known[name.strip().casefold()] for name in wanted)


def _color(index: int) -> tuple[int, int, int]:
    """RGB of a class that has no customary color: hues a golden ratio apart are the farthest from those before."""
    hue, shade = (index * 0.618034) % 1.0, index % 3
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.9, 0.55, 0.75)[shade], (0.95, 0.8, 0.55)[shade])
    return round(255 * red), round(255 * green), round(255 * blue)
