"""The models that ship: small, whole, with a card, and they see a picture of any shape."""

from pathlib import Path

import numpy as np
import pytest

from dvps_ros import checkpoints
from dvps_ros.runtime import Perceiver
from dvps_ros.structures import Intrinsics

MODELS = sorted(folder for folder in (Path(__file__).resolve().parents[1] / "models").iterdir() if folder.is_dir())
#: What a model may weigh in half precision, in bytes.
MOST = 25e6
#: What a card tells, as headings.
TOLD = ("## Measured", "## Trained", "## Not for", "## Licence")


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_a_model_that_ships(folder):
    assert (folder / checkpoints.CONFIG_FILE).is_file()
    assert (folder / "model.safetensors").stat().st_size <= MOST
    card = (folder / "README.md").read_text()
    assert [heading for heading in TOLD if heading not in card] == []
    perceiver = Perceiver.load(folder, "cpu", "32", "torch")
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    scene = perceiver.step(picture, Intrinsics(150.0, 150.0, 79.5, 59.5, 160, 120))
    assert scene.depth.shape == (120, 160)
    assert scene.metric
    assert 0 < float(scene.depth.min()) < float(scene.depth.max()) <= 1000
    assert (scene.depth_std is not None) == perceiver.tells_uncertainty
