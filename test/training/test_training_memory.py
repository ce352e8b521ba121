"""Memory: what there is, what was used, and the trial step that compares the two before a run."""

import subprocess

import pytest
import torch
from training_scenes import small_network

from dvps_ros.config import Config, DataConfig, LossConfig, TrainingConfig
from dvps_ros.labels import DIVISOR
from dvps_ros.training import memory, trial

GIB = 2**30


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path):
    """A machine with 8 GiB left."""
    write(tmp_path, "proc/meminfo", "MemTotal:  16777216 kB\nMemFree:  1048576 kB\nMemAvailable:  8388608 kB\n")
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    return tmp_path


def test_memory_of_a_machine_without_limits(machine):
    assert memory.available(machine) == 8 * GIB


def test_memory_of_a_control_group(machine):
    write(machine, "proc/self/cgroup", "0::/outer/inner\n")
    for name, limit in (("outer", 4 * GIB), ("outer/inner", "max")):
        write(machine, f"sys/fs/cgroup/{name}/memory.max", f"{limit}\n")
        write(machine, f"sys/fs/cgroup/{name}/memory.current", f"{3 * GIB}\n")
        write(machine, f"sys/fs/cgroup/{name}/memory.stat", f"anon 5\ninactive_file {GIB}\n")
    assert memory.available(machine) == 2 * GIB


def test_memory_of_a_container_of_version_1(machine):
    # the path is the host's, of which the container sees the top alone
    write(machine, "proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/host/container\n")
    write(machine, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{3 * GIB}\n")
    write(machine, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{GIB}\n")
    write(machine, "sys/fs/cgroup/memory/memory.stat", f"total_inactive_file {GIB // 2}\n")
    assert memory.available(machine) == 2.5 * GIB


def test_memory_that_nobody_knows(tmp_path):
    assert memory.available(tmp_path) is None


def test_this_machines_memory_grows_by_what_is_taken():
    free = memory.available()
    assert free is None or free > 0
    before = memory.peak(torch.device("cpu"))
    size = max(before, GIB // 8)
    taken = torch.ones(size // 4)
    assert memory.peak(torch.device("cpu")) >= 0.9 * taken.nbytes + (memory.status("VmRSS") or 0) * 0.1
    assert memory.peak(torch.device("cpu")) > before


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "), True),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Segmentation fault. "), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_errors_that_mean_memory(error, ran_out):
    assert memory.ran_out(error) is ran_out


def test_the_cpus_own_error_means_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, dtype=torch.uint8)
    assert memory.ran_out(caught.value)


def config(**training) -> Config:
    return Config(
        network=small_network(),
        data=DataConfig(crop_height=64, crop_width=96),
        loss=LossConfig(points=64, semantic_to_depth_weight=0.1, depth_to_semantic_weight=0.1),
        training=TrainingConfig(precision="32", **training),
    )


def test_a_crowded_image_has_all_that_takes_memory():
    images, (target,) = trial.crowded_batch(config(), 1)
    assert images.shape == (1, 3, 64, 96)
    assert len(target.classes) == len(target.masks) == trial.SEGMENTS
    assert (target.masks.sum(0) == 1).all()
    assert (target.panoptic // DIVISOR == target.classes[target.masks.int().argmax(0)]).all()
    assert len(target.panoptic.unique()) == trial.SEGMENTS
    assert (target.depth > 0).all()


def test_a_step_is_tried_and_nothing_here_changes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    # more than any machine has, by what one image really takes
    with pytest.raises(ValueError, match=r"a step of 9000000 images takes about \d+\.\d\d GiB") as caught:
        trial.require_memory(config(batch_size=9_000_000), "cpu", "32-true")
    assert torch.equal(torch.random.get_rng_state(), before)
    said = str(caught.value)
    image = float(said.partition("GiB (")[2].split()[0])
    assert 0 < image < 1
    assert all(key in said for key in ("training.batch_size", "data.crop_height", "check_memory"))
    assert "\n" not in said


def test_a_batch_is_extrapolated_and_shared_memory_shared(monkeypatch):
    found = {"fixed": GIB, "image": GIB // 2}
    monkeypatch.setattr(trial, "_run_trial", lambda *_: found)
    monkeypatch.setattr(memory, "available", lambda: 6 * GIB)
    assert "takes about 5.00 GiB, 6.00 GiB are" in trial.require_memory(config(batch_size=8), "cpu", "32-true")
    with pytest.raises(ValueError, match=r"in each of 2 processes takes about 10\.00 GiB"):
        trial.require_memory(config(batch_size=8), "cpu", "32-true", processes=2)
    monkeypatch.setattr(memory, "available", lambda: None)
    assert "an unknown amount" in trial.require_memory(config(batch_size=800), "cpu", "32-true")


@pytest.mark.parametrize(
    ("code", "message"), [(-9, "one image does not fit into 1.00 GiB"), (1, None), (-11, "signal 11")]
)
def test_a_trial_that_ends_early(monkeypatch, code, message):
    done = subprocess.CompletedProcess([], code, "", "Traceback\n  ...\nKeyError: 'x'\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(memory, "available", lambda: GIB)
    if code == -9:  # the system's answer to a process that takes too much
        with pytest.raises(ValueError, match=message):
            trial.require_memory(config(), "cpu", "32-true")
    else:  # no verdict, and no reason not to train
        assert (message or "KeyError: 'x'") in trial.require_memory(config(), "cpu", "32-true")


def on_cuda(monkeypatch, most):
    """The CUDA trial on a pretended GPU that takes ``most`` images a step."""
    tried = []

    def fit(config, images, steps, **_):
        tried.append(images)
        if images > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    for name in ("set_device", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (15 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: tried[-1] * 5 * GIB)
    monkeypatch.setattr(trial, "_fit", fit)
    monkeypatch.setattr(trial, "_run_trial", lambda c, _, precision: trial._on_cuda(c, precision, 0))
    return tried


def test_a_gpu_that_suffices(monkeypatch):
    assert "takes 10.00 GiB, 15.00 GiB" in _said(monkeypatch, 2)


def test_a_gpu_that_does_not_suffice(monkeypatch):
    with pytest.raises(ValueError, match=r"more than the 15\.00 GiB free of 16\.00 GiB, one image .* 5\.00 GiB"):
        _said(monkeypatch, 1)
    with pytest.raises(ValueError, match=r"free of 16\.00 GiB; lower training\.batch_size"):
        _said(monkeypatch, 0)


def _said(monkeypatch, most):
    on_cuda(monkeypatch, most)
    return trial.require_memory(config(batch_size=2), "cuda", "16-mixed")
