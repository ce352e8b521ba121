"""``dvps train`` from the command line: a run, its resumption, and a user's mistakes."""

import os
import shutil
import signal
import subprocess
import sys

import lightning
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_network import TRAINED_NETWORK
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_scenes import street_target

from dvps_ros.checkpoints import load, load_model_config
from dvps_ros.cli.main import main
from dvps_ros.cli.trainer import hardware_of
from dvps_ros.config import Config, TrainingConfig
from dvps_ros.datasets import png
from dvps_ros.datasets.cityscapes_dvps import split_folder, write_frame
from dvps_ros.training import trial
from dvps_ros.training.module import DvpsModule
from dvps_ros.training.resume import CONFIG_KEY

CONFIG = {
    "network": TRAINED_NETWORK,
    "data": {"crop_height": 64, "crop_width": 96, "min_scale": 0.9, "max_scale": 1.1, "workers": 0},
    "loss": {"points": 64, "semantic_to_depth_weight": 0.1, "depth_to_semantic_weight": 0.1},
    "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2, "clip_norm": 1.0},
    "training": {
        "batch_size": 2,
        "max_steps": 4,
        "precision": "32",
        "validate_every": 3,
        "ema_decay": 0.9,
        "images": 1,
        "log_every": 2,
        "check_memory": False,
    },
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 3), ("val", 2)):
        for sequence in range(count):
            image, target = street_target(sequence)
            labels = target.panoptic.numpy(), target.depth.numpy()
            write_frame(split_folder(root, split), sequence, 0, image.permute(1, 2, 0).numpy(), *labels)
    return root


@pytest.fixture
def broken(data, tmp_path):
    """The same data set with one file that ends early, and one measurement that was cut off."""
    root = tmp_path / "broken"
    shutil.copytree(data, root)
    image = next(split_folder(root, "train").glob("000001*_leftImg8bit.png"))
    image.write_bytes(image.read_bytes()[:99])
    depth = next(split_folder(root, "val").glob("000001*_depth.png"))
    png.write(depth, np.full((64, 96), 65_535, np.uint16))
    return root


@pytest.fixture
def command(data, tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(CONFIG | {"data": CONFIG["data"] | {"root": str(data)}}))

    def run(*arguments, out="run"):
        return main(["train", "--config", str(config), "--out", str(tmp_path / out), "--device", "cpu", *arguments])

    return run


def interrupt_at(monkeypatch, batch, number):
    """The process gets a signal in the middle of one training step."""
    step = DvpsModule.training_step

    def interrupted(self, images, index):
        if index == batch:
            os.kill(os.getpid(), number)
        return step(self, images, index)

    monkeypatch.setattr(DvpsModule, "training_step", interrupted)


def test_a_run_leaves_a_model_a_checkpoint_and_curves(command, tmp_path, capsys):
    assert command("--set", "training.precision=bf16") == 0
    out = tmp_path / "run"
    config = load_model_config(out / "model")
    assert config.training.max_steps == 4
    assert config.network.queries == 8
    net = load(out / "model")
    assert net(torch.zeros(1, 3, 64, 96)).class_logits.isfinite().all()
    curves = EventAccumulator(str(out / "tensorboard")).Reload().Tags()
    assert {"train/loss", "train/depth", "val/PQ", "val/DPQ", "val/absRel"} <= set(curves["scalars"])
    assert curves["images"] == ["val/0"]
    assert {"images_per_second", "peak_memory_gib"} <= set(curves["scalars"])
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == 4
    record = yaml.safe_load((out / "best" / "best.yaml").read_text())
    assert record["measure"] == "DPQ"
    assert record["step"] in (3, 4)
    assert {"PQ", "DPQ", "absRel"} <= set(record["scores"])
    assert load(out / "best") is not None
    lines = capsys.readouterr().err
    assert "images/s, peak " in lines
    assert f"best so far: DPQ {record['value']:.3f} at step {record['step']}" in lines
    assert "skipped" not in lines


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(command, broken, tmp_path, monkeypatch, capsys):
    skip = ["--set", f"data.root={broken}", "data.on_bad_sample=skip", "data.workers=1"]
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert command(*skip, out="whole") == 0
    lines = capsys.readouterr().err.splitlines()
    for name, what in (("leftImg8bit", "truncated"), ("depth", "65535")):
        (named,) = [line for line in lines if line.startswith("skipped: ") and f"{name}.png: " in line]
        assert what in named
    assert sum("without 1 unreadable frames" in line for line in lines) == 2
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1, signal.SIGTERM)
        assert command(*skip, out="parts") == 128 + signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert load(tmp_path / "parts" / "model") is not None  # usable at once
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert command("--resume", *skip, out="parts") == 0
    counts = [curve(tmp_path / out, "skipped_samples")[-1] for out in ("whole", "parts")]
    assert counts[0] == counts[1] > 0
    records = [(tmp_path / out / "best" / "best.yaml").read_text() for out in ("whole", "parts")]
    assert records[0] == records[1]

    whole, parts = (torch.load(tmp_path / out / "last.ckpt", weights_only=True) for out in ("whole", "parts"))
    for kind in ("current_model_state", "state_dict"):  # the weights, and their moving average
        for name, value in whole[kind].items():
            torch.testing.assert_close(parts[kind][name], value, rtol=0, atol=0, msg=f"{kind} {name}")
    exported = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("whole", "parts"))
    first, second = exported
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_dies_in_its_last_validation_is_finished_later(command, tmp_path, monkeypatch, capsys):
    """Killed, or out of memory, after the last step's checkpoint: the model and the scores are still missing."""
    every = ["--set", "training.validate_every=4"]
    assert command(*every, out="whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(DvpsModule, "validation_step", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        assert command(*every, out="parts") == 128 + signal.SIGINT
    assert not (tmp_path / "parts" / "model").exists()
    assert "--resume goes on" in capsys.readouterr().out
    assert command("--resume", *every, out="parts") == 0
    assert "trained to step 4" in capsys.readouterr().out
    first, second = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("whole", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    records = [(tmp_path / out / "best" / "best.yaml").read_text() for out in ("whole", "parts")]
    assert records[0] == records[1]
    assert command("--resume", *every, out="parts") == 2


def test_a_signal_in_the_last_step_leaves_its_validation_to_a_resumed_run(command, tmp_path, monkeypatch):
    every = ["--set", "training.validate_every=4"]
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, signal.SIGTERM)
        assert command(*every) == 128 + signal.SIGTERM
    assert not (tmp_path / "run" / "best").exists()
    assert command("--resume", *every) == 0
    assert yaml.safe_load((tmp_path / "run" / "best" / "best.yaml").read_text())["step"] == 4


def test_a_second_signal_leaves_the_model_of_the_last_validation(command, tmp_path, monkeypatch, capsys):
    """The weights of a step that was cut off are not their moving average, which a model is."""
    step, validated = DvpsModule.training_step, []

    def interrupted(self, images, index):
        if index == 3:
            validated.append(load_file(tmp_path / "run" / "model" / "model.safetensors"))
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        return step(self, images, index)

    monkeypatch.setattr(DvpsModule, "training_step", interrupted)
    assert command("--set", "training.max_steps=6") == 128 + signal.SIGINT
    assert "that of the last validation" in capsys.readouterr().out
    model = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(validated[0][name], value) for name, value in model.items())


def test_a_signal_to_all_processes_of_a_run_ends_it_well(data, tmp_path):
    """Ctrl-C in a terminal and service managers signal the loaders, too."""
    config = tmp_path / "long.yaml"
    long = CONFIG | {"data": CONFIG["data"] | {"root": str(data), "workers": 1}}
    long["training"] = CONFIG["training"] | {"max_steps": 100_000, "validate_every": 100_000, "log_every": 1}
    config.write_text(yaml.safe_dump(long))
    command = [sys.executable, "-m", "dvps_ros.cli.main", "train", "--config", str(config), "--device", "cpu"]
    command += ["--out", str(tmp_path / "run")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        try:
            assert any(line.startswith("step 2/") for line in running.stderr)
            os.killpg(running.pid, signal.SIGTERM)
            output, _ = running.communicate(timeout=120)
        finally:
            running.kill()
    assert running.returncode == 128 + signal.SIGTERM
    assert "stopped at step" in output
    assert load(tmp_path / "run" / "model") is not None


def curve(out, name):
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    return [event.value for event in events.Scalars(name)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_sample_ends_a_run_in_one_line(command, broken, capsys, workers):
    assert command("--set", f"data.root={broken}", f"data.workers={workers}") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith(f"dvps train: {broken}")
    assert "000001_000000_street_000001_000000_leftImg8bit.png: truncated" in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_checking_a_broken_data_set(command, broken, capsys):
    assert command("--check", "--set", f"data.root={broken}") == 2
    told = capsys.readouterr().out
    assert told.count("error: ") == 2
    assert "leftImg8bit.png: truncated" in told
    assert "depth.png: depth 65535" in told


def test_running_out_of_memory_is_one_line(command, tmp_path, monkeypatch, capsys):
    step = DvpsModule.training_step

    def greedy(self, images, index):
        if index == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return step(self, images, index)

    monkeypatch.setattr(DvpsModule, "training_step", greedy)
    assert command("--set", "training.checkpoint_every=2") == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("dvps train: out of memory after step 2; lower training.batch_size")
    assert last.endswith(f"continue from {tmp_path / 'run' / 'last.ckpt'} with --resume")


def test_a_loss_that_is_not_finite_ends_a_run_and_the_checkpoint_before_stays(command, tmp_path, monkeypatch, capsys):
    """Rates put into the checkpoint stand for whatever makes a run diverge: the third step spoils the weights."""
    options = ["training.checkpoint_every=1", "training.log_every=1", "training.validate_every=50"]
    assert command("--set", *options, "training.max_steps=2") == 0
    path = tmp_path / "run" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    state["lr_schedulers"][0]["base_lrs"] = [1e9] * len(state["lr_schedulers"][0]["base_lrs"])
    for group in state["optimizer_states"][0]["param_groups"]:
        group["lr"] = 1e9
    torch.save(state, path)
    before = path.read_bytes()
    capsys.readouterr()
    assert command("--resume", "--set", *options, "training.max_steps=20") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("dvps train: step 4: loss nan (")
    assert "street_0000" in lines[-1]
    assert "optimizer.learning_rate" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    assert path.read_bytes() == before


def test_a_resumed_run_takes_changed_rates(command, tmp_path):
    options = ["training.validate_every=50", "optimizer.warmup_steps=0", "optimizer.power=0.0"]
    assert command("--set", *options, "training.max_steps=2") == 0
    changed = ["optimizer.learning_rate=1e-6", "optimizer.weight_decay=0.5"]
    assert command("--resume", "--set", *options, *changed, "training.max_steps=4") == 0
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    groups = state["optimizer_states"][0]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}
    assert {round(group["lr"], 12) for group in groups} == {1e-6, 1e-7}
    assert state["dvps_ros.config"]["optimizer"]["learning_rate"] == 1e-6
    assert {float(step["step"]) for step in state["optimizer_states"][0]["state"].values()} == {4.0}
    assert load_model_config(tmp_path / "run" / "model").optimizer.weight_decay == 0.5


def test_rates_that_group_the_parameters_anew_are_refused(command, capsys):
    assert command("--set", "training.max_steps=2") == 0
    capsys.readouterr()
    assert command("--resume", "--set", "optimizer.backbone_factor=1.0") == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dvps train:")]
    assert "need other parameter groups than" in line


def test_memory_that_does_not_suffice_ends_it_before_the_run(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trial, "_run_trial", lambda *_: {"fixed": 2**20, "image": 2**50})
    assert command("--set", "training.check_memory=true") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "not enough memory: a step of 2 images" in line
    assert not (tmp_path / "run").exists()


def test_panoptic_labels_alone_rank_by_pq(command, tmp_path, capsys):
    few = ["training.max_steps=1", "training.log_every=1", "training.ema_decay=0"]
    assert command("--set", "data.labels=panoptic", *few) == 0
    assert "no depth labels for validation: the best model is the one with the best PQ" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "run" / "best" / "best.yaml").read_text())["measure"] == "PQ"
    assert curve(tmp_path / "run", "train/depth") == [0]


def test_gradients_are_accumulated(command, tmp_path):
    assert command("--set", "training.accumulate=2", "training.max_steps=2", "training.validate_every=2") == 0
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_a_checkpoint_does_not_fall_into_a_step_of_several_batches(command, tmp_path, monkeypatch):
    """Its gradients so far would be lost: every checkpoint has seen whole steps."""
    seen = []
    save = lightning.Trainer.save_checkpoint

    def watched(trainer, *given, **options):
        seen.append((trainer.global_step, trainer.fit_loop.epoch_loop.batch_progress.total.ready))
        save(trainer, *given, **options)

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", watched)
    options = ["training.accumulate=2", "training.max_steps=3", "training.checkpoint_every=1"]
    assert command("--set", *options, "training.validate_every=50") == 0
    assert {batches == 2 * step for step, batches in seen} == {True}
    assert command("--resume", "--set", "training.accumulate=1", "training.max_steps=9") == 2


def test_starting_from_another_model(command, tmp_path):
    assert command("--set", "training.max_steps=1") == 0
    rate = "optimizer.learning_rate=0"
    assert command("--init", str(tmp_path / "run" / "model"), "--set", "training.max_steps=1", rate, out="next") == 0
    first, second = (load(tmp_path / out / "model") for out in ("run", "next"))
    for (name, value), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(value, other), name


def test_starting_from_another_network(command, tmp_path, capsys):
    assert command("--set", "training.max_steps=1") == 0
    model, changed = str(tmp_path / "run" / "model"), ["network.queries=9", "network.depth_decoder=shared"]
    still = ["training.max_steps=1", "optimizer.learning_rate=0"]
    capsys.readouterr()
    assert command("--init", model, "--init-partial", "--set", *changed, *still, out="next") == 0
    first, second = (load(tmp_path / out / "model").state_dict() for out in ("run", "next"))
    fitting = [name for name in second if name in first and first[name].shape == second[name].shape]
    assert (
        f"{model}: copied {len(fitting)} of {len(second)} tensors; missing or of another shape"
        in capsys.readouterr().err
    )
    assert len(second) - len(fitting) == 4
    for name in fitting:
        if "running_" not in name and "num_batches" not in name:
            assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize(
    ("capability", "precision", "told"), [("AVX2", "bf16", True), ("AVX512", "bf16", False), ("AVX2", "32", False)]
)
def test_a_processor_without_bf16_is_told(monkeypatch, capsys, capability, precision, told):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    hardware_of("cpu", Config(training=TrainingConfig(precision=precision)))
    assert ("--set training.precision=32" in capsys.readouterr().err) is told


def test_checking_a_data_set(command, data, capsys):
    assert command("--check") == 0
    assert "train: 3 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "training.stpes=3"], "training.stpes"),
        (["--set", "training.max_steps"], "training.max_steps"),
        (["--set", "optimizer.learning_rate=-1"], "optimizer: learning_rate is -1"),
        (["--set", "training.precision=16"], "bf16"),
        (["--set", "data.root=/nowhere"], "/nowhere"),
        (["--set", "training.batch_size=4"], "fewer than one batch"),
        (["--set", "labels=semkitti"], "semkitti"),
        (["--resume"], "nothing to resume"),
        (["--init", "/nowhere"], "/nowhere"),
        (["--init-partial"], "--init-partial needs --init"),
        (["--set", "network.backbone.freeze=1"], "network.backbone.freeze needs weights"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(command, tmp_path, capsys, arguments, message):
    assert command(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "run").exists()


OTHER_PIXELS = "--set", "network.backbone.mean=[127.5,127.5,127.5]"


def test_mistakes_about_an_existing_run(command, tmp_path, capsys):
    assert command("--set", "training.max_steps=1") == 0
    capsys.readouterr()
    for arguments, message in (
        ([], "--resume"),
        (["--resume", "--set", "training.max_steps=1"], "is at step 1; training.max_steps is 1"),
        (["--resume", "--set", "network.queries=9"], "network.queries was 8, now it is 9"),
        (["--resume", "--set", "network.backbone.freeze=2"], "network.backbone.freeze was 0, now it is 2"),
        (["--resume", "--set", "training.ema_decay=0"], "ema_decay"),
        (["--resume", "--set", "loss.pixel_class_weight=1"], "pixel_class_weight cannot be switched"),
        (
            ["--init", str(tmp_path / "run" / "model"), "--set", "network.queries=9", "--out", str(tmp_path / "o")],
            "do not fit the configured network; --init-partial copies those that do",
        ),
        (
            ["--init", str(tmp_path / "run" / "model"), *OTHER_PIXELS, "--out", str(tmp_path / "o")],
            "expects pixels of another mean: set network.backbone.mean=[123.675,116.28,103.53]",
        ),
    ):
        assert command(*arguments) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error
    (tmp_path / "run" / "last.ckpt").write_bytes(b"torn")
    assert command("--resume") == 2
    assert "is not a checkpoint" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_know_a_newer_setting_is_resumed(command, tmp_path):
    assert command("--set", "training.max_steps=1") == 0
    checkpoint = tmp_path / "run" / "last.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    del state[CONFIG_KEY]["network"]["backbone"]["freeze"], state[CONFIG_KEY]["loss"]["pixel_class_weight"]
    torch.save(state, checkpoint)
    assert command("--resume", "--set", "training.max_steps=2") == 0


def test_frozen_parts_stay_and_the_rest_moves(command, tmp_path):
    """In bf16 and with every query kept, so that validation also merges in the arithmetic of training."""
    assert command("--set", "training.max_steps=1") == 0
    start, out = tmp_path / "run" / "model", tmp_path / "frozen"
    changes = (
        *("network.backbone.freeze=2", "network.backbone.freeze_norms=true", "loss.pixel_class_weight=1"),
        *("training.precision=bf16", "training.validate_every=2", "training.max_steps=2", "merge.score_threshold=0"),
    )
    assert command("--init", str(start), "--out", str(out), "--set", *changes) == 0
    before, after = (load(folder).state_dict() for folder in (start, out / "model"))
    backbone = load(out / "model").backbone
    frozen = {
        id(value) for part in backbone._parts[:2] for m in part for value in m.state_dict(keep_vars=True).values()
    }
    names = {f"backbone.{n}" for n, value in backbone.state_dict(keep_vars=True).items() if id(value) in frozen}
    assert len(names) > 5
    for name in names:  # the moving average rounds
        torch.testing.assert_close(after[name], before[name], rtol=1e-6, atol=1e-8)
    moved = {name for name in after if not torch.allclose(before[name].float(), after[name].float(), atol=1e-6)}
    assert "query_decoder.content" in moved
    assert any(name.startswith("backbone.") for name in moved)
