"""dvps demo: the whole trip over DDS with a tiny random network, and its user's mistakes."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from pair_models import save_depth, save_segmentation

from dvps_ros import checkpoints
from dvps_ros.config import BackboneConfig, Config, InputConfig, MergeConfig, NetworkConfig
from dvps_ros.network import build

DVPS = [sys.executable, "-m", "dvps_ros.cli.main"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a tiny network of random weights that sees the street at 128x64."""
    backbone = BackboneConfig(block="basic", depths=(1, 1, 1, 1), stem=16, widths=(16, 32, 32, 32))
    network = NetworkConfig(
        backbone=backbone, width=32, heads=4, encoder_layers=1, queries=8, decoder_layers=2, feedforward=32
    )
    # every query is kept: a random network is sure of nothing
    merge = MergeConfig(score_threshold=0.0, mask_threshold=0.0, overlap_threshold=0.0)
    config = replace(Config(), network=network, merge=merge, input=InputConfig(64 * 128))
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    checkpoints.save(build(network), folder, config)
    return folder


def children(pid: int) -> list[str]:
    """Command lines of the live processes whose environment says they belong to demo ``pid``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"DEMO_OF_TEST={pid}\0".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def demo(model: Path, folder: Path, *options: str) -> subprocess.Popen:
    arguments = [*DVPS, "demo", "--model", str(model), "--folder", str(folder), *options]
    environment = {**os.environ, "DEMO_OF_TEST": str(os.getpid()), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def check_files(folder: Path) -> None:
    picture = cv2.imread(str(folder / "montage.png"))
    assert picture is not None
    assert picture.shape[1] > 1500
    stamps: dict[str, set] = {}
    with (folder / "recording.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        for schema, channel, _, message in reader.iter_decoded_messages():
            if schema.name in ("sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/CameraInfo"):
                header = message.header
                stamp = (header.stamp.sec, header.stamp.nanosec, header.frame_id)
                stamps.setdefault(channel.topic, set()).add(stamp)
    assert {"/camera/image", "/perception/panoptic", "/perception/depth", "/perception/points"} <= set(stamps)
    assert len(set(map(frozenset, stamps.values()))) == 1, "every topic holds the same frames"


def test_it_ends_by_itself_with_everything(model, tmp_path):
    running = demo(model, tmp_path / "out", "--seconds", "3")
    out, error = running.communicate(timeout=150)
    assert (running.returncode, error) == (0, "")
    assert children(os.getpid()) == []
    for row in ("camera", "answers", "age of an answer", "one frame's work", "PQ", "depth absRel", "objects per frame"):
        assert re.search(rf"^  {re.escape(row)} ", out, re.MULTILINE), row
    check_files(tmp_path / "out")


def test_two_networks_of_transformers_drive_too(tmp_path):
    pair = tmp_path / "pair"
    save_segmentation(pair / "segmentation")
    save_depth(pair / "depth")
    (pair / "pair.yaml").write_text("{segmentation: segmentation, depth: depth, input: {pixels: 8192}}")
    running = demo(pair, tmp_path / "out", "--seconds", "2")
    _, error = running.communicate(timeout=150)
    assert (running.returncode, error) == (0, "")
    check_files(tmp_path / "out")


def test_ctrl_c_leaves_both_files_too(model, tmp_path):
    running = demo(model, tmp_path, "--seconds", "600")
    until = time.monotonic() + 120
    # the recording grows beyond its first kilobytes once frames are answered
    while not (tmp_path / "recording.mcap").exists() or (tmp_path / "recording.mcap").stat().st_size < 2_000_000:
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert (running.returncode, error) == (0, "")
    assert children(os.getpid()) == []
    check_files(tmp_path)


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path, model):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text((model / "config.yaml").read_text())
    running = demo(broken, tmp_path / "out", "--seconds", "3")
    out, error = running.communicate(timeout=120)
    assert running.returncode == 1
    assert "Traceback" not in out + error
    assert "model.safetensors" in error
    assert len(error.strip().split("\n")) == 1
    assert children(os.getpid()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "no/such/model"], "no such file or folder: no/such/model"),
        (["--seconds", "0"], "'0' is not a number above 0"),
        (["--rate", "fast"], "'fast' is not a number above 0"),
        (["--domain", "300"], "'300' is not a whole number from 0 to 232"),
        (["--sedcons", "3"], "--sedcons"),
    ],
)
def test_mistakes_are_one_line(tmp_path, options, message):
    done = subprocess.run([*DVPS, "demo", *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
