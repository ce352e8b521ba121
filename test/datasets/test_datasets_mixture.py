"""Several data sets as one: shares, orders, what each source wants, and a user's mistakes."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from dvps_ros.config import Config, DataConfig, InputConfig, SourceConfig, apply_overrides, load_config, save_config
from dvps_ros.datasets.cityscapes_dvps import split_folder, write_frame
from dvps_ros.datasets.formats import open_source, training_sources, validation_sources
from dvps_ros.datasets.mixture import Mixture, Part
from dvps_ros.datasets.module import DvpsData, collate

CAR = 13


@pytest.fixture
def roots(tmp_path):
    """Two data sets: ``many`` has six sequences of one frame, all labels; ``few`` has two, and larger pictures."""
    rng = np.random.default_rng(0)
    for name, sequences, size in (("many", 6, (32, 64)), ("few", 2, (64, 96))):
        panoptic = np.where(np.arange(size[0])[:, None] < 12, 2_000, CAR * 1000 + 1) + np.zeros(size, int)
        for split in ("train", "val"):
            for sequence in range(sequences):
                rgb = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
                write_frame(split_folder(tmp_path / name, split), sequence, 0, rgb, panoptic, np.full(size, 20.0))
    return tmp_path


def source(root, **options):
    return SourceConfig(root=str(root), focal=100.0, **options)


def mixture(roots, few, many):
    sources = [source(roots / "few", share=few), source(roots / "many", share=many)]
    return Mixture([Part(one, open_source(one, "train")) for one in sources], seed=3)


def test_places_are_shared_out_and_frames_come_round_evenly(roots):
    mixed = mixture(roots, few=3.0, many=1.0)
    assert len(mixed) == 8
    found = [mixed.locate(place, epoch) for epoch in range(6) for place in range(8)]
    assert Counter(part for part, _ in found) == {0: 36, 1: 12}
    # six places of an epoch for two frames: each comes three times; two for six frames: each once in three epochs
    assert Counter(position for part, position in found if part == 0) == {0: 18, 1: 18}
    assert Counter(position for part, position in found if part == 1) == dict.fromkeys(range(6), 2)
    again = mixture(roots, few=3.0, many=1.0)
    assert found == [again.locate(place, epoch) for epoch in range(6) for place in range(8)]


def test_a_share_however_small_has_a_place(roots):
    mixed = mixture(roots, few=1000.0, many=0.001)
    assert 1 in {mixed.locate(place, 0)[0] for place in range(len(mixed))}


def test_one_data_set_keeps_its_order(roots):
    one = source(roots / "many")
    mixed = Mixture([Part(one, open_source(one, "train"))], seed=3)
    assert [mixed.locate(place, 5) for place in range(6)] == [(0, place) for place in range(6)]


def test_each_source_gives_the_labels_that_it_wants_in_one_batch(roots):
    data = DataConfig(
        sources=(source(roots / "few", labels="depth"), source(roots / "many", labels="panoptic")),
        validation=(source(roots / "many"),),
        crop_height=32,
        crop_width=32,
        workers=0,
    )
    module = DvpsData(replace(Config(), data=data, input=InputConfig(pixels=2048)))
    module.setup()
    images, targets = collate([module.train[place, 0, 0] for place in range(8)])
    assert images.shape == (8, 3, 32, 32)
    assert Counter((t.has_panoptic, t.has_depth) for t in targets) == {(False, True): 4, (True, False): 4}
    assert not any(t.depth.any() for t in targets if t.has_panoptic)
    assert all(torch.equal(module.train[place, 4, 1][0], module.train[place, 4, 1][0]) for place in range(8))
    assert module.val_labels() == (True, True, True)
    assert len(module.val) == 6


def test_sequences_are_taken_and_held_out(roots):
    def taken(**options):
        return [files.sequence for files in open_source(source(roots / "many", **options), "train").files]

    assert taken(include=("00000[1-3]",), exclude=("000002",)) == [1, 3]
    assert taken(exclude=("000000",)) == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"no sequence of train fits the pattern 'b\*'; there are 000000, 000001"):
        taken(include=("b*",))
    with pytest.raises(ValueError, match="include and exclude leave no sequence of train"):
        taken(exclude=("*",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": ()}, "data.sources needs data.validation: name the data sets to validate on"),
        ({"share": 0.0}, r"data.sources\[0\] \(few\): share is 0; remove the source"),
        ({"name": "many"}, "data.sources: two sources have the name many: set their name"),
        ({"name": "a/b"}, "data.sources: the name a/b must not contain /"),
        ({"root": ""}, "a data source has no root"),
    ],
)
def test_mistakes_are_named(roots, change, message):
    few = source(roots / "few")
    validation = change.pop("validation", (source(roots / "many"),))
    data = DataConfig(sources=(replace(few, **change), source(roots / "many")), validation=validation)
    with pytest.raises(ValueError, match=message):
        [open_source(one, "train") for one in training_sources(data)]


def test_a_missing_folder_is_named(roots):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_source(source(roots / "nowhere"), "train")


def test_sources_are_written_and_read_again(roots, tmp_path):
    data = DataConfig(sources=(source(roots / "few", exclude=("b*",)),), validation=(source(roots / "many"),))
    config = replace(Config(), data=data)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml").data == data
    assert [one.name for one in validation_sources(data)] == ["many"]
    assert apply_overrides(config, ["data.workers=0"]).data.sources == data.sources


def test_validation_takes_every_frame_of_every_data_set_once(roots):
    """Whatever the shares: a few frames of real depth must not count as often as hundreds of others."""
    sources = (source(roots / "few", share=5.0), source(roots / "many"))
    module = DvpsData(replace(Config(), data=DataConfig(sources=sources, validation=sources, workers=0)))
    module.setup()
    frames = module.val.frames
    assert [frames.locate(place, 0) for place in range(8)] == [(0, 0), (0, 1), *((1, k) for k in range(6))]
    some = replace(module.config, training=replace(module.config.training, validate_batches=3))
    module = DvpsData(some)
    module.setup()
    assert module.val_dataloader().dataset.indices == [0, 4, 7]  # spread over both
