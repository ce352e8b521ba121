"""``dvps render`` writes whole sequences, goes on where it was, and keeps the splits apart."""

import os
import subprocess
import sys

import numpy as np
import pytest

from dvps_ros.cli.main import main
from dvps_ros.cli.render import street_seed
from dvps_ros.datasets.cityscapes_dvps import CityscapesDvps, read_cameras

SMALL = "street: {width: 96, height: 48, length: 40.0, spacing: 0.5}\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def data(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    assert render(out, config, "--sequences", "2", "--frames", "2") == 0
    return out


def render(out, config, *more):
    return main(["render", "--out", str(out), "--config", str(config), "--workers", "1", *more])


def test_what_was_rendered_can_be_read(data):
    frames = CityscapesDvps(data, "train", focal=1.0)
    assert len(frames) == 4
    assert set(frames.sequences()) == {0, 1}
    first, second = frames[0], frames[1]
    assert first.image.shape == (48, 96, 3)
    assert first.depth.max() > 3
    assert (np.asarray(first.image) != np.asarray(second.image)).any()
    cameras = read_cameras(data / "video_sequence" / "train")
    assert set(cameras) == {0, 1}
    assert (cameras[0].cx, cameras[0].cy) == (47.5, 23.5)


def test_it_goes_on_where_it_was(data, config):
    folder = data / "video_sequence" / "train"
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("000000_*.png")}
    gone = sorted(folder.glob("000001_*_leftImg8bit.png"))[1]
    picture = gone.read_bytes()
    gone.unlink()
    assert render(data, config, "--sequences", "2", "--frames", "2") == 0
    assert gone.read_bytes() == picture
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("000000_*.png")} == kept
    assert not list(folder.glob(".*partial*"))


def test_other_settings_need_another_folder(data, config, capsys):
    assert render(data, config, "--sequences", "2", "--frames", "3") == 2
    assert render(data, config, "--sequences", "2", "--frames", "2", "--seed", "1") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert all("another configuration or seed" in line for line in lines)


def test_an_interrupted_sequence_leaves_nothing(tmp_path, config, monkeypatch):
    import dvps_ros.simulation as simulation

    whole = simulation.sequence

    def torn(seed, settings):
        yield next(whole(seed, settings))
        raise KeyboardInterrupt

    monkeypatch.setattr(simulation, "sequence", torn)
    assert render(tmp_path, config, "--sequences", "1", "--frames", "2") == 130
    assert not list((tmp_path / "video_sequence" / "train").glob("*.png"))


def test_no_street_is_in_two_splits_or_under_two_seeds():
    seeds = [street_seed(split, base, k) for split in ("train", "val") for base in (0, 1) for k in (0, 1, 999_999)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("arguments", [("--sequences", "0"), ("--split", "test"), ("--seed", "-1"), ("--workers", "x")])
def test_a_bad_argument_is_one_line(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["render", "--out", str(tmp_path), *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_configuration_is_named(tmp_path, capsys):
    assert render(tmp_path, tmp_path / "none.yaml") == 2
    assert "none.yaml" in capsys.readouterr().err
    assert not (tmp_path / "video_sequence").exists()


@pytest.mark.parametrize(("variable", "value"), [("MUJOCO_GL", "paper"), ("__EGL_VENDOR_LIBRARY_DIRS", "/nowhere")])
def test_without_graphics_one_line_says_so(variable, value, tmp_path, config):
    arguments = ["render", "--out", str(tmp_path), "--config", str(config), "--sequences", "1", "--workers", "1"]
    command = [sys.executable, "-m", "dvps_ros.cli.main", *arguments]
    environment = {**os.environ, variable: value}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "OpenGL" in done.stderr or "MUJOCO_GL" in done.stderr
    assert not list(tmp_path.rglob("*.png"))
