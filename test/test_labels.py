"""dvps_ros.labels: the class tables against what the data sets publish."""

import pytest

from dvps_ros.labels import CITYSCAPES, DIVISOR, LABEL_SETS, SEMKITTI, VOID, VOID_CLASS, LabelSet, read_label_set


@pytest.mark.parametrize("labels", [CITYSCAPES, SEMKITTI], ids=lambda labels: labels.name)
def test_a_table_is_whole(labels):
    assert len(labels) == 19 == len(set(labels.names))
    assert len(set(labels.colors)) == 19, "two classes of one colour cannot be told apart"
    assert all(0 <= channel <= 255 for color in labels.colors for channel in color)
    assert sorted(labels.things + labels.stuff) == list(range(19))
    assert LABEL_SETS[labels.name] is labels
    assert [labels.index(name) for name in labels.names] == list(range(19))


def test_cityscapes_order():
    assert CITYSCAPES.things == tuple(range(11, 19))
    assert CITYSCAPES.index("sky") == 10
    assert CITYSCAPES.sky == {10}
    assert CITYSCAPES.drivable == {0}
    assert CITYSCAPES.ground == {0, CITYSCAPES.index("sidewalk")}


def test_semkitti_order():
    assert SEMKITTI.things == tuple(range(8))
    assert SEMKITTI.names[8:12] == ("road", "parking", "sidewalk", "other-ground")
    assert SEMKITTI.sky == frozenset()
    assert [SEMKITTI.names[k] for k in sorted(SEMKITTI.ground)] == ["road", "parking", "sidewalk"]


@pytest.mark.parametrize("labels", [CITYSCAPES, SEMKITTI], ids=lambda labels: labels.name)
def test_a_planner_s_view_splits_the_classes(labels):
    parts = (labels.obstacles, labels.drivable, labels.sky)
    assert frozenset().union(*parts) == frozenset(range(19))
    assert sum(map(len, parts)) == 19
    assert set(labels.things) <= labels.obstacles


def test_panoptic_values_cannot_collide():
    assert VOID == VOID_CLASS * DIVISOR == 255000
    assert max(map(len, LABEL_SETS.values())) <= VOID_CLASS
    assert VOID < 2**31


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no class 'tank'"):
        CITYSCAPES.index("tank")
    with pytest.raises(ValueError, match="differ in length"):
        LabelSet("x", ("a", "b"), (True,), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ValueError, match="is no class"):
        LabelSet("x", ("a",), (True,), ((0, 0, 0),), sky=frozenset({1}))
    with pytest.raises(ValueError, match="pavement id is no class"):
        LabelSet("x", ("a",), (True,), ((0, 0, 0),), pavement=frozenset({1}))


def test_a_table_read_for_names(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nstuff: [Floor, 'road, route', sky]\ndrivable: ['road, route']\nsky: [sky]\npavement: [floor]\n"
    )
    labels = read_label_set(path, ["Sky", "cart ", "floor", "road, route"])
    assert (labels.name, labels.names) == ("mine", ("Sky", "cart", "floor", "road, route"))
    assert labels.things == (1,)
    assert (labels.drivable, labels.pavement, labels.sky, labels.obstacles) == ({3}, {2}, {0}, {1, 2})
    assert labels.ground == {2, 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "exactly one of things and stuff"),
        ("name: x\nthings: [a]\nstuff: [b]", "exactly one of things and stuff"),
        ("name: x\nthings: [tank]", "things: 'tank' is none of the 2 classes"),
        ("name: x\nthings: [a]\nsky: b", "sky must be a list of class names, got 'b'"),
        ("name: x\nthings: [a]\nskies: [b]", "unknown key 'skies'"),
        ("things: [a]", "name must be a word, got None"),
        ("[a]", "expected a mapping, got list"),
        ("name: [", "not valid YAML"),
    ],
)
def test_mistakes_in_a_table_are_one_line(tmp_path, text, message):
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_label_set(path, ["a", "b"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no class table"):
        read_label_set(tmp_path / "none.yaml", ["a"])
