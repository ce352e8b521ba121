"""Progress lines and curves, the count of skipped samples, and the best model."""

import math
from types import SimpleNamespace

import pytest
import torch
import yaml
from training_scenes import street_target

from dvps_ros.training import progress
from dvps_ros.training.best import RECORD, KeepBest, ranking
from dvps_ros.training.progress import Progress, SkippedSamples

BROKEN, TORN = "a.png: truncated", "b.png: no such class"


class Trainer(SimpleNamespace):
    """What the callbacks read of Lightning's trainer; logs into ``logged``."""

    def __init__(self, **changes):
        state = {"global_step": 0, "max_steps": 8, "world_size": 1, "is_global_zero": True, "sanity_checking": False}
        self.logged = []
        logger = SimpleNamespace(log_metrics=lambda values, step: self.logged.append((step, values)))
        super().__init__(**(state | {"callback_metrics": {}, "logger": logger} | changes))


class Clock:
    """Time passes by ``spend`` alone."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def spend(self, seconds):
        self.now += seconds


MODULE = SimpleNamespace(device=torch.device("cpu"))


def batch(*skipped):
    """One image a group of reasons."""
    return None, [street_target(skipped=reasons)[1] for reasons in skipped]


def test_throughput_leaves_validation_out(monkeypatch, capsys):
    clock, trainer = Clock(monkeypatch), Trainer()
    trainer.callback_metrics = {"train/loss": torch.tensor(3.0), "val/PQ": torch.tensor(41.0)}
    callback = Progress(every=4, images=6)
    callback.on_train_start(trainer, MODULE)
    for step in range(1, 9):
        clock.spend(2)
        trainer.global_step = step
        callback.on_train_batch_end(trainer, MODULE)
        callback.on_train_batch_end(trainer, MODULE)  # a batch that only adds gradients
        if step == 6:
            callback.on_validation_start(trainer)
            clock.spend(1000)
            callback.on_validation_end(trainer)
    assert [step for step, _ in trainer.logged] == [4, 8]
    for _, values in trainer.logged:
        assert values["images_per_second"] == pytest.approx(3.0)
        assert 0.05 < values["peak_memory_gib"] < 1000
        assert "skipped_samples" not in values
    first, validated, last = capsys.readouterr().err.splitlines()
    assert first.startswith("step 4/8 loss 3.000 2.00 s/step, 3.00 images/s, peak ")
    assert first.endswith("0:00:08 left")
    assert validated == "step 6 validated: PQ 41.000"
    assert "2.00 s/step" in last


def test_a_progress_bar_takes_the_lines_place_but_not_the_curves(monkeypatch, capsys):
    clock, trainer = Clock(monkeypatch), Trainer(world_size=2)
    callback = Progress(every=1, images=1, lines=False)
    callback.on_train_start(trainer, MODULE)
    clock.spend(1)
    trainer.global_step = 1
    callback.on_train_batch_end(trainer, MODULE)
    assert trainer.logged[0][1]["images_per_second"] == pytest.approx(2.0)
    assert not capsys.readouterr().err


def test_skipped_samples_are_counted_and_named_once(monkeypatch, capsys):
    clock, trainer = Clock(monkeypatch), Trainer()
    skipped = SkippedSamples()
    callback = Progress(every=2, images=2, skipped=skipped)
    callback.on_train_start(trainer, MODULE)
    for step, one in enumerate([batch((BROKEN,), ()), batch((), (BROKEN, TORN))], start=1):
        clock.spend(1)
        trainer.global_step = step
        skipped.on_train_batch_end(trainer, MODULE, None, one)
        callback.on_train_batch_end(trainer, MODULE, None, one)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [f"skipped: {BROKEN}", f"skipped: {TORN}"]
    assert "3 samples skipped" in lines[2]
    assert trainer.logged[0][1]["skipped_samples"] == 3

    resumed = SkippedSamples()
    resumed.load_state_dict(skipped.state_dict())
    resumed.on_train_batch_end(trainer, MODULE, None, batch((TORN,)))
    assert resumed.samples == 4
    assert not capsys.readouterr().err


def test_frames_left_out_of_a_validation(capsys):
    trainer, skipped = Trainer(), SkippedSamples()
    callback = Progress(every=1, images=1, skipped=skipped)
    for _ in range(2):
        skipped.on_validation_start(trainer)
        skipped.on_validation_batch_end(trainer, MODULE, None, batch((BROKEN,), (), (TORN,)))
        skipped.on_validation_end(trainer)
        callback.on_validation_end(trainer)
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("skipped: ") for line in lines) == 2
    assert sum("without 2 unreadable frames" in line for line in lines) == 2
    assert skipped.samples == 0


def test_processes_add_up(monkeypatch, capsys):
    trainer, skipped = Trainer(world_size=2), SkippedSamples()

    def gather(into, mine):
        into[:] = [mine, ([BROKEN, TORN], [])]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    skipped.on_train_batch_end(trainer, MODULE, None, batch((BROKEN,)))
    assert skipped.samples == 0, "processes do not wait for one another in every step"
    skipped.share(trainer)
    assert skipped.samples == 3
    assert capsys.readouterr().err.splitlines() == [f"skipped: {BROKEN}", f"skipped: {TORN}"]


def test_what_models_are_ranked_by():
    both, neither = (True, True, True), (False, False, False)
    assert [ranking(*labels) for labels in (both, (True, True, False), (False, True, False), neither)] == [
        *("DPQ", "PQ", "absRel", None),
    ]


@pytest.mark.parametrize(
    ("measure", "values", "kept"),
    [
        ("DPQ", [40.0, 40.0, 42.0, math.nan, 41.0], 3),
        ("DPQ", [40.0, 42.0, 42.0], 2),
        ("PQ", [math.nan, 1.0, 3.0, 2.0, 2.5], 3),
        ("absRel", [0.5, 0.6, 0.2, 0.2, math.nan], 3),
        ("DPQ", [math.nan] * 2, None),
    ],
)
def test_the_best_model_is_kept(tmp_path, capsys, measure, values, kept):
    model, best = tmp_path / "model", tmp_path / "best"
    model.mkdir()
    for step, value in enumerate(values, start=1):
        (model / "config.yaml").write_text(f"step {step}")
        trainer = Trainer(global_step=step, callback_metrics={f"val/{measure}": torch.tensor(value)})
        # each time anew, as in a resumed run
        KeepBest(model, best, measure).on_validation_end(trainer)
    if kept is None:
        assert not best.exists()
        return
    record = yaml.safe_load((best / RECORD).read_text())
    assert (record["step"], record["measure"]) == (kept, measure)
    assert record["value"] == pytest.approx(values[kept - 1])
    assert (best / "config.yaml").read_text() == f"step {kept}"
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"at step {kept}, in {best}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "model"]


def test_the_best_by_another_measure_is_not_compared(tmp_path):
    (tmp_path / "model").mkdir()
    for measure in ("PQ", "DPQ"):
        trainer = Trainer(callback_metrics={f"val/{measure}": torch.tensor(9.0 if measure == "PQ" else 1.0)})
        KeepBest(tmp_path / "model", tmp_path / "best", measure).on_validation_end(trainer)
    assert yaml.safe_load((tmp_path / "best" / RECORD).read_text())["measure"] == "DPQ"


def test_only_the_first_process_writes(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    trainer = Trainer(is_global_zero=False, callback_metrics={"val/PQ": torch.tensor(9.0)})
    KeepBest(tmp_path / "model", tmp_path / "best", "PQ").on_validation_end(trainer)
    Progress(every=1, images=1).on_validation_end(trainer)
    assert not (tmp_path / "best").exists()
    assert not capsys.readouterr().err
