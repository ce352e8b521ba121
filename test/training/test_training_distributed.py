"""Two processes (gloo) under torchrun train as one process with the doubled batch does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from distributed_commands import run_all
from small_network import TRAINED_NETWORK
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_scenes import street_target

from dvps_ros.datasets.cityscapes_dvps import split_folder, write_frame

#: Rates and clipping are the paper's.
CONFIG = {
    "network": {**TRAINED_NETWORK, "decoder_layers": 3},
    "data": {"crop_height": 64, "crop_width": 96, "min_scale": 0.8, "max_scale": 1.2, "workers": 0},
    "loss": {"points": 64, "semantic_to_depth_weight": 0.1, "depth_to_semantic_weight": 0.1},
    "optimizer": {"warmup_steps": 0},
    "training": {
        "max_steps": 2,
        "precision": "32",
        "validate_every": 2,
        "ema_decay": 0.9,
        "images": 0,
        "log_every": 1,
        "check_memory": False,
    },
}
SWIN = {"kind": "swin", "depths": [1, 1, 1, 1], "embedding": 16, "heads": [1, 1, 2, 2], "window": 4}
#: Neither guidance nor augmentation: every image has as many masks, with depth, as every other.
ALIKE = {
    "network": {"backbone": SWIN},
    "data": {"min_scale": 1.0, "max_scale": 1.0},
    "loss": {"semantic_to_depth_weight": 0.0, "depth_to_semantic_weight": 0.0},
}
#: Data set, floating point type, what the configuration changes. In float64 the order of sums plays no part; in float32
#: it does, and where a derivative jumps (bilinear sampling at a pixel's center) a step of Adam can differ by more.
RUNS = {
    "resnet": ("complete", "float64", {"training": {"max_steps": 3, "validate_every": 3}}),
    "mixed": ("incomplete", "float64", {"loss": {"depth_to_semantic_form": "similarity"}}),
    "swin": ("complete", "float32", ALIKE),
}
#: Images of one optimizer step.
BATCH = 2


def write_data(root, complete):
    """Four frames to train on, or one with panoptic labels alone and one with depth alone; three to validate.

    Two processes have uneven shares of those: 2 and 1.
    """
    for split, count in (("train", 4 if complete else 2), ("val", 3)):
        for sequence in range(count):
            image, target = street_target(sequence)
            panoptic, depth = target.panoptic.numpy(), target.depth.numpy()
            if split == "train" and not complete:
                panoptic, depth = (panoptic, None) if sequence else (None, depth)
            folder = split_folder(root, split)
            write_frame(folder, sequence, 0, image.permute(1, 2, 0).numpy(), panoptic, depth)


def merged(config, changes):
    result = dict(config)
    for key, value in changes.items():
        result[key] = merged(result[key], value) if isinstance(value, dict) and "kind" not in value else value
    return result


def command(folder, name, batch, accumulate=1, out="one"):
    """Floating point type and arguments of one run."""
    data, dtype, changes = RUNS[name]
    config = merged(CONFIG, changes)
    config = merged(config, {"training": {"batch_size": batch, "accumulate": accumulate}})
    config = merged(config, {"data": {"root": str(folder / data)}})
    path = folder / f"{name}_{out}.yaml"
    path.write_text(yaml.safe_dump(config))
    return dtype, ["train", "--config", str(path), "--out", str(folder / f"{name}_{out}"), "--device", "cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all runs: by one process, by two with half its batch, and one that accumulates halves."""
    folder = tmp_path_factory.mktemp("distributed")
    for data in ("complete", "incomplete"):
        write_data(folder / data, data == "complete")
    pair = [list(command(folder, name, BATCH // 2, out="two")) for name in RUNS]
    (folder / "pair.yaml").write_text(yaml.safe_dump(pair))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = Path(__file__).with_name("distributed_commands.py")
    with (folder / "pair.log").open("w") as log:
        torchrun = subprocess.Popen([*launch, str(script), str(folder / "pair.yaml")], stdout=log, stderr=log)
        try:
            one = [command(folder, name, BATCH) for name in RUNS]
            assert run_all([*one, command(folder, "swin", BATCH // 2, accumulate=2, out="accumulated")]) == 0
            code = torchrun.wait(timeout=300)
        finally:
            torchrun.terminate()  # passed on to both
            torchrun.wait(timeout=60)
    assert code == 0, (folder / "pair.log").read_text()
    return folder


def difference(folder, first, second):
    """Largest difference of any weight, of its moving average, or of a statistic of batch norms."""
    states = (torch.load(folder / run / "last.ckpt", weights_only=True) for run in (first, second))
    one, two = ({**state["current_model_state"], **state["state_dict"]} for state in states)
    assert one.keys() == two.keys()
    return max(float((one[key].double() - two[key].double()).abs().max()) for key in one)


@pytest.mark.parametrize(("name", "limit"), [("resnet", 1e-10), ("mixed", 1e-10), ("swin", 1e-5)])
def test_two_processes_end_with_the_weights_of_one(runs, name, limit):
    assert difference(runs, f"{name}_one", f"{name}_two") < limit


def test_accumulated_halves_with_as_many_masks_each_are_the_whole_batch(runs):
    """Without that they are not: the mean of two means is not the mean over both. Nor with batch norm."""
    assert difference(runs, "swin_one", "swin_accumulated") < 1e-5


@pytest.mark.parametrize("name", list(RUNS))
def test_the_runs_changed_their_weights(runs, name):
    """By their moving average, which lags behind."""
    state = torch.load(runs / f"{name}_one" / "last.ckpt", weights_only=True)
    now, average = state["current_model_state"], state["state_dict"]
    assert max(float((now[key] - average[key]).abs().max()) for key in now if now[key].is_floating_point()) > 3e-5


def curves(folder, run):
    events = EventAccumulator(str(folder / run / "tensorboard")).Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"] if "/" in tag}


@pytest.mark.parametrize("name", list(RUNS))
def test_logged_losses_and_scores_are_those_of_all_images(runs, name):
    one, two = (curves(runs, f"{name}_{out}") for out in ("one", "two"))
    assert {"train/loss", "val/DPQ", "val/absRel"} <= one.keys() == two.keys()
    for tag, values in one.items():
        np.testing.assert_allclose(two[tag], values, rtol=1e-5, err_msg=tag)
