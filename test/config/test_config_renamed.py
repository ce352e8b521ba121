"""Keys of earlier versions: taken, and told of in one line."""

import logging
import shutil

import pytest

from dvps_ros import checkpoints, resources
from dvps_ros.config import Config, InputConfig, PairConfig, apply_overrides, load_config, renamed
from dvps_ros.runtime import Perceiver

SAID = "replace input.height and input.width by input.pixels: 131072 "


@pytest.fixture
def said(caplog):
    """The lines that dvps_ros logs, as in a process of its own."""
    renamed._warn_once.cache_clear()
    caplog.set_level(logging.INFO, "dvps_ros")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "dvps_ros"]


def write(folder, text, name="c.yaml"):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("cls", [Config, PairConfig])
def test_the_sides_become_their_product_with_one_line(tmp_path, said, cls):
    path = write(tmp_path, "input: {height: 256, width: 512}")
    assert load_config(path, cls).input == InputConfig(pixels=131072)
    assert load_config(path, cls) == load_config(path, cls)  # more often read, but told of once
    (line,) = said()
    assert line.startswith(f"{path}: {SAID}")


def test_new_keys_say_nothing(tmp_path, said):
    assert load_config(write(tmp_path, "input: {pixels: 131072}")).input.pixels == 131072
    assert load_config(write(tmp_path, "input:", "empty.yaml")).input.pixels == 0
    assert apply_overrides(Config(), ["input.pixels=6144"]).input.pixels == 6144
    assert said() == []


def test_old_keys_on_top_of_a_new_base(tmp_path, said):
    write(tmp_path, "input: {pixels: 131072}", "new.yaml")
    path = write(tmp_path, "base: new.yaml\ninput: {height: 192, width: 384}")
    assert load_config(path).input.pixels == 192 * 384
    path = write(tmp_path, "base: c.yaml\ninput: {pixels: 4096}", "d.yaml")
    assert load_config(path).input.pixels == 4096
    (line,) = said()
    assert "input.pixels: 73728" in line


def test_zeros_were_the_images_own_size(tmp_path):
    assert load_config(write(tmp_path, "input: {height: 0, width: 0}")).input.pixels == 0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{height: 256}", r"input\.height 256 is not a size: replace .* by input\.pixels: .*131072"),
        ("{width: 512}", r"input\.width 512 is not a size: replace .* by input\.pixels"),
        ("{height: 0, width: 512}", r"is not a size"),
        ("{height: 256, width: wide}", r"is not a size"),
        ("{height: 256, width: 512, pixels: 131072}", r"input\.pixels replaces input\.height and input\.width: remove"),
    ],
)
def test_half_a_size_is_refused_in_one_line(tmp_path, section, message):
    path = write(tmp_path, f"input: {section}")
    with pytest.raises(ValueError, match=message) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_overrides_take_them_too(said):
    changed = apply_overrides(
        Config(input=InputConfig(5)), ["input.height=256", "network.queries=7", "input.width=512"]
    )
    assert (changed.input.pixels, changed.network.queries) == (131072, 7)
    (line,) = said()
    assert line.startswith(f"overrides: {SAID}")
    with pytest.raises(ValueError, match=r"overrides: input\.height 256 is not a size"):
        apply_overrides(Config(), ["input.height=256"])


def test_a_model_folder_with_old_keys_works_as_before(tmp_path, said):
    own = resources.find("models/street")
    for name in ("model.safetensors", "config.yaml"):
        shutil.copy(own / name, tmp_path / name)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("  pixels: 131072", "  height: 256\n  width: 512"))
    digests = [f"{checkpoints.file_hash(tmp_path / name)}  {name}\n" for name in ("model.safetensors", "config.yaml")]
    (tmp_path / "model.sha256").write_text("".join(digests))
    assert Perceiver.load(tmp_path, "cpu").config == load_config(own / "config.yaml")
    (line,) = said()  # although a folder's configuration is read twice
    assert line.startswith(f"{config}: {SAID}")
