"""dvps_ros.config: strict loading, bases, overrides, ranges, and every configuration that ships."""

import typing
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dvps_ros import config
from dvps_ros.config import Config, apply_overrides, check_range, describe, from_dict, load_config, save_config

ROOT = Path(__file__).resolve().parents[1]
#: perception.yaml is a ROS parameter file; the others are model configurations.
MODEL_CONFIGS = sorted(
    {*(ROOT / "config").glob("*.yaml"), *(ROOT / "config" / "recipes").glob("*.yaml")}
    - {ROOT / "config" / "perception.yaml"}
)


def write(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_defaults(tmp_path):
    assert load_config(write(tmp_path, "")) == Config()


def test_values_land_where_they_are_named(tmp_path):
    loaded = load_config(
        write(tmp_path, "network: {queries: 30, backbone: {widths: [1, 2, 3, 4]}}\noptimizer: {learning_rate: 1e-4}\n")
    )
    assert loaded.network.queries == 30
    assert loaded.network.backbone.widths == (1, 2, 3, 4)
    assert loaded.optimizer.learning_rate == 1e-4  # YAML 1.1 reads 1e-4 as a string
    assert loaded.network.width == Config().network.width


def test_save_and_load_round_trip(tmp_path):
    changed = apply_overrides(Config(), ["network.queries=7", "network.canonical_focal=300", "data.root=a b/c"])
    save_config(changed, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml") == changed
    written = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert written["network"]["width"] == Config().network.width, "a saved file states every value"


@given(queries=st.integers(1, 500), rate=st.floats(0, 1), flip=st.floats(0, 1))
def test_overrides_round_trip(queries, rate, flip):
    changed = apply_overrides(
        Config(), [f"network.queries={queries}", f"optimizer.learning_rate={rate!r}", f"data.flip={flip!r}"]
    )
    assert (changed.network.queries, changed.optimizer.learning_rate, changed.data.flip) == (queries, rate, flip)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("networks: {}", "unknown key 'networks'"),
        ("network: {querys: 3}", "network: unknown key 'querys'"),
        ("network: {backbone: {kind: vgg}}", "backbone: kind is 'vgg', must be one of resnet, swin"),
        ("network: {queries: '3'}", "queries must be of type int"),
        ("network: {queries: true}", "queries must be of type int"),
        ("network: {queries: 3.0}", "queries must be of type int"),
        ("network: {queries: 0}", "queries is 0, must be at least 1"),
        ("network: 3", "expected a mapping"),
        ("network: {backbone: {depths: 3}}", "depths must be a list"),
        ("network: {backbone: {depths: [1, 0, 1, 1]}}", "depths is 0, must be at least 1"),
        ("merge: {score_threshold: 1.5}", "score_threshold is 1.5, must be between 0.0 and 1.0"),
        ("merge: {score_threshold: .nan}", "score_threshold is nan"),
        ("optimizer: {learning_rate: fast}", "learning_rate must be a number"),
        ("data: {color_jitter: 1}", "color_jitter must be of type bool"),
        ("- 1", "expected a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_mistakes_are_named_on_one_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
        load_config(tmp_path / "nothing.yaml")


def test_base_is_read_first_and_merged_deeply(tmp_path):
    write(tmp_path, "network: {queries: 5, width: 64, backbone: {stem: 8}}", "a.yaml")
    write(tmp_path, "base: a.yaml\nnetwork: {queries: 6, backbone: {kind: swin}}", "b.yaml")
    loaded = load_config(write(tmp_path, "base: b.yaml\nnetwork: {heads: 4}", "c.yaml")).network
    assert (loaded.queries, loaded.width, loaded.heads) == (6, 64, 4)
    assert (loaded.backbone.stem, loaded.backbone.kind) == (8, "swin")


def test_of_several_bases_the_later_wins(tmp_path):
    write(tmp_path, "network: {queries: 5, width: 64}", "a.yaml")
    write(tmp_path, "network: {queries: 6}\ndata: {workers: 3}", "b.yaml")
    loaded = load_config(write(tmp_path, "base: [a.yaml, b.yaml]\nnetwork: {heads: 4}", "c.yaml"))
    assert (loaded.network.queries, loaded.network.width, loaded.network.heads, loaded.data.workers) == (6, 64, 4, 3)
    with pytest.raises(ValueError, match=r"d\.yaml: base must be a file name or a list"):
        load_config(write(tmp_path, "base: {a: b}", "d.yaml"))


def test_of_several_files_the_later_wins_and_a_mistake_names_its_file(tmp_path):
    first = write(tmp_path, "network: {queries: 5, width: 64}\ndata: {workers: 3}", "a.yaml")
    write(tmp_path, "network: {queries: 6, heads: 4}", "base.yaml")
    second = write(tmp_path, "base: base.yaml\nnetwork: {heads: 2}", "b.yaml")
    loaded = load_config([first, str(second)])
    assert (loaded.network.queries, loaded.network.width, loaded.network.heads, loaded.data.workers) == (6, 64, 2, 3)
    assert load_config([second, first]).network.queries == 5
    with pytest.raises(ValueError, match=r"c\.yaml: unknown key 'networks'") as caught:
        load_config([first, write(tmp_path, "networks: {}", "c.yaml"), second])
    assert "a.yaml" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        load_config([first, tmp_path / "gone.yaml"])


def test_a_base_that_leads_back_is_an_error(tmp_path):
    write(tmp_path, "base: b.yaml", "a.yaml")
    with pytest.raises(ValueError, match="is circular"):
        load_config(write(tmp_path, "base: a.yaml", "b.yaml"))


def test_a_missing_base_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        load_config(write(tmp_path, "base: gone.yaml"))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("network.queries", "not of the form"),
        ("network.querys=3", "unknown key 'network.querys'"),
        ("nothing.at.all=3", "unknown key 'nothing.at.all'"),
        ("network.queries.more=3", "unknown key"),
        ("data.root=[a", "is no YAML: while parsing"),
        ("network.queries=many", "queries must be of type int"),
        ("merge.mask_threshold=-1", "mask_threshold is -1.0, must be between"),
    ],
)
def test_bad_overrides_are_named(assignment, message):
    with pytest.raises(ValueError, match=message):
        apply_overrides(Config(), [assignment])


def test_none_where_it_is_allowed_and_only_there():
    assert apply_overrides(Config(), ["network.canonical_focal=null"]).network.canonical_focal is None
    with pytest.raises(ValueError, match="max_depth must be of type float"):
        apply_overrides(Config(), ["network.max_depth=null"])


def test_bounds_are_inclusive():
    for value in (0.0, 1.0):
        check_range(value, {"low": 0.0, "high": 1.0}, "x")
    check_range(True, {"low": 5, "high": 6}, "a bool is not a number")
    with pytest.raises(ValueError, match="x is 2, must be between 0 and 1"):
        check_range((0, 2), {"low": 0, "high": 1}, "x")


def test_frozen():
    with pytest.raises(AttributeError):
        Config().network.queries = 3


def config_classes() -> list[type]:
    return [c for c in vars(config).values() if isinstance(c, type) and is_dataclass(c)]


@pytest.mark.parametrize("cls", config_classes(), ids=lambda c: c.__name__)
def test_every_option_is_described_and_its_default_valid(cls):
    assert from_dict(cls, {}, "defaults") == cls()
    for row in describe(cls):
        assert row["description"].endswith("."), row["path"]
        check_range(row["default"], row, row["path"])
        if row["low"] is not None and row["high"] is not None:
            assert row["low"] < row["high"], row["path"]


def test_describe_walks_every_leaf_once():
    rows = [row["path"] for row in describe(Config)]
    assert len(rows) == len(set(rows))
    assert {"labels", "network.backbone.kind", "network.queries", "street.rate"} <= set(rows)

    def leaves(cls: type) -> int:
        hints = typing.get_type_hints(cls)
        return sum(leaves(hints[f.name]) if is_dataclass(hints[f.name]) else 1 for f in fields(cls))

    assert len(rows) == leaves(Config)


@pytest.mark.parametrize("path", MODEL_CONFIGS, ids=lambda p: p.name)
def test_shipped_configurations_load(path):
    loaded = load_config(path)
    assert loaded.network.width % loaded.network.heads == 0
    assert len(loaded.network.backbone.depths) == 4


def test_the_promised_configurations_ship():
    assert {"deepdps_r50", "deepdps_swin_t", "deepdps_swin_b", "street"} <= {p.stem for p in MODEL_CONFIGS}
