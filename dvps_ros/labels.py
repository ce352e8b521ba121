"""Class tables: names, thing or stuff, colours, and what each class means to a planner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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
    """

    name: str
    names: tuple[str, ...]
    is_thing: tuple[bool, ...]
    colors: tuple[tuple[int, int, int], ...]
    drivable: frozenset[int] = frozenset()
    sky: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.is_thing) == len(self.colors):
            raise ValueError(f"label set {self.name!r}: names, is_thing and colors differ in length")
        if not all(0 <= index < len(self) for index in self.drivable | self.sky):
            raise ValueError(f"label set {self.name!r}: a drivable or sky id is no class")

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
) -> LabelSet:
    names, is_thing, colors = zip(*rows, strict=True)
    return LabelSet(
        name,
        names,
        is_thing,
        colors,
        frozenset(names.index(n) for n in drivable),
        frozenset(names.index(n) for n in sky),
    )


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
)

LABEL_SETS = {labels.name: labels for labels in (CITYSCAPES, SEMKITTI)}
