"""dvps bench --training: steps are real, in turn, and made-up targets are whole."""

import pytest
import torch
import yaml
from test_training_distributed import CONFIG

from dvps_ros.benchmarks.training_cost import PARTS, SEGMENTS, measure_steps, synthetic_batch
from dvps_ros.cli.main import main
from dvps_ros.config import Config, from_dict


def test_made_up_segments_cover_the_image_once():
    images, targets = synthetic_batch(2, (64, 96), 80.0, torch.device("cpu"))
    assert images.shape == (2, 3, 64, 96)
    assert not torch.equal(targets[0].panoptic, targets[1].panoptic)
    for target in targets:
        assert (target.masks.sum(0) == 1).all()
        assert target.masks.flatten(1).any(1).all()
        assert len(target.classes) == len(target.panoptic.unique()) > SEGMENTS / 2
        for mask, class_id in zip(target.masks, target.classes, strict=True):
            assert (target.panoptic[mask] // 1000 == class_id).all()
        assert (target.depth > 0).all()
        assert (target.depth <= 80).all()


def test_steps_are_timed_in_pairs():
    config = from_dict(Config, CONFIG | {"training": CONFIG["training"] | {"batch_size": 2}}, "test")
    costs = measure_steps(config, (64, 96), torch.device("cpu"), torch.float32, pairs=2, warm_up=1)
    assert list(costs) == ["plain", "guided"]
    for cost in costs.values():
        assert len(cost.seconds) == len(cost.processor) == 2
        assert all(set(step) == set(PARTS) and min(step.values()) >= 0 for step in cost.seconds)
        assert cost.peak > 2**20 or cost.peak == 0


def test_the_command(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    arguments = ["bench", "--training", "--config", str(tmp_path / "tiny.yaml"), "--device", "cpu", "--frames", "1"]
    assert main([*arguments, "--precision", "bf16", "--set", "training.batch_size=2"]) == 0
    printed = capsys.readouterr().out
    assert "batch 2, 64x96, 40 segments" in printed
    assert "guidance adds" in printed


def test_a_model_folder_is_no_configuration(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--training"])
    assert main(["bench", "--training", "--model", "models/street"]) == 2
    assert "--training needs --config" in capsys.readouterr().err
