"""The criterion on real predictions: incomplete labels, deep supervision, what is independent of what."""

from dataclasses import replace

import pytest
import torch
from training_scenes import make_target, small_network, street_target

from dvps_ros.config import LossConfig
from dvps_ros.labels import VOID
from dvps_ros.network import build
from dvps_ros.structures import Prediction
from dvps_ros.training.criterion import Criterion
from dvps_ros.training.depth_losses import scale_invariant
from dvps_ros.training.guidance_losses import depth_to_semantic, semantic_to_depth

GUIDED = LossConfig(points=128, semantic_to_depth_weight=0.1, depth_to_semantic_weight=0.1)
SEMANTIC = {"class", "mask", "dice"}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build(small_network())


def supervise(net, targets, images=None, config=GUIDED):
    torch.manual_seed(1)
    images = torch.stack([street_target(i)[0] for i in range(len(targets))]) if images is None else images
    net.zero_grad()
    losses = Criterion(config, 19)(net(images, layers=True), targets)
    sum(losses.values()).backward()
    return {name: loss.item() for name, loss in losses.items()}


def gradient(module):
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


def without_panoptic(target):
    nothing = torch.full_like(target.panoptic, VOID)
    empty = {"masks": target.masks[:0], "classes": target.classes[:0], "labelled": torch.zeros_like(target.labelled)}
    return replace(target, panoptic=nothing, has_panoptic=False, **empty)


def without_depth(target):
    return replace(target, depth=torch.zeros_like(target.depth), has_depth=False)


def targets_of(*kinds):
    change = {"both": lambda t: t, "panoptic": without_depth, "depth": without_panoptic}
    change["none"] = lambda t: without_depth(without_panoptic(t))
    return [change[kind](street_target(index)[1]) for index, kind in enumerate(kinds)]


def test_complete_labels_give_every_loss(net):
    losses = supervise(net, targets_of("both", "both"))
    expected = SEMANTIC | {"depth", "backup", "semantic_to_depth", "depth_to_semantic"}
    assert set(losses) == expected | {"semantic"}
    assert {name for name, value in losses.items() if value} == expected


def test_panoptic_labels_alone(net):
    losses = supervise(net, targets_of("panoptic", "panoptic"))
    assert {name for name, value in losses.items() if value} == SEMANTIC | {"semantic_to_depth"}
    assert gradient(net.depth_decoder) > 0  # through the guidance


def test_depth_labels_alone(net):
    losses = supervise(net, targets_of("depth", "depth"))
    assert {name for name, value in losses.items() if value} == {"backup", "depth_to_semantic"}
    assert gradient(net.semantic_decoder) > 0  # through the guidance


def test_no_labels_at_all_give_zero_and_finite_gradients(net):
    losses = supervise(net, targets_of("none", "none"))
    assert not any(losses.values())
    assert gradient(net) == 0
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("kinds", [("both", "none"), ("panoptic", "depth"), ("depth", "both", "none", "panoptic")])
def test_mixed_batches_are_finite(net, kinds):
    losses = supervise(net, targets_of(*kinds))
    assert all(torch.tensor(value).isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    assert losses["class"] > 0


def test_an_image_without_labels_changes_nothing(net):
    """Its own output gets no gradient; the means are over the labelled image alone."""
    net.eval()
    both, none = targets_of("both", "none")
    image = street_target(0)[0]
    alone = supervise(net, [both], image[None])
    beside = supervise(net, [both, none], torch.stack((image, street_target(1)[0])))
    net.train()
    assert beside == pytest.approx(alone, rel=1e-4)


def test_an_image_without_segments_teaches_no_object(net):
    empty = make_target(torch.full((64, 96), VOID), torch.zeros(64, 96))
    known = replace(empty, labelled=torch.ones(64, 96, dtype=torch.bool))
    losses = supervise(net, [known, known])
    assert losses["class"] > 0
    assert losses["mask"] == losses["dice"] == 0


def test_more_segments_than_queries():
    torch.manual_seed(0)
    net = build(small_network(queries=2))
    losses = supervise(net, targets_of("both", "both"))
    assert all(torch.tensor(value).isfinite() for value in losses.values())


def test_images_that_are_no_multiple_of_the_padding():
    torch.manual_seed(0)
    net = build(small_network())
    pairs = [street_target(i, 50, 70) for i in range(2)]
    losses = supervise(net, [t for _, t in pairs], torch.stack([image for image, _ in pairs]))
    assert all(torch.tensor(value).isfinite() for value in losses.values())


def test_points_belong_to_the_image_not_to_its_place_in_the_batch(net):
    net.eval()
    images = torch.stack([street_target(i)[0] for i in range(3)])
    targets = targets_of("both", "depth", "panoptic")
    criterion = Criterion(GUIDED, 19)
    with torch.no_grad():
        forwards = criterion(net(images, layers=True), targets, [5, 6, 7])
        backwards = criterion(net(images.flip(0), layers=True), targets[::-1], [7, 6, 5])
        others = criterion(net(images, layers=True), targets, [5, 6, 8])
    net.train()
    assert {n: v.item() for n, v in backwards.items()} == pytest.approx(
        {n: v.item() for n, v in forwards.items()}, rel=1e-4
    )
    assert others["mask"] != forwards["mask"]


@pytest.mark.parametrize("direction", ["semantic_to_depth", "depth_to_semantic"])
def test_guidance_on_chosen_levels(net, direction):
    """Each level is what the public function says of that decoder map, and the term is their mean."""
    target = street_target(0)[1]
    prediction = net(street_target(0)[0][None], layers=True)
    maps = prediction.depth_maps if direction == "semantic_to_depth" else prediction.semantic_maps
    expected = []
    for stride, features in ((4, maps.stride4), (8, maps.stride8), (32, maps.stride32)):
        assert features.shape[-2:] == (64 // stride, 96 // stride)
        middle = slice(stride // 2, None, stride)
        if direction == "semantic_to_depth":
            expected.append(semantic_to_depth(features, target.panoptic[None, middle, middle], VOID))
        else:
            expected.append(depth_to_semantic(features, target.depth[None, middle, middle]))
    assert prediction.depth_maps.stride4 is prediction.depth_features
    assert prediction.semantic_maps.stride4 is prediction.mask_features
    for levels, mean in (((4,), expected[0]), ((4, 8, 32), sum(expected) / 3)):
        config = replace(LossConfig(points=64), **{f"{direction}_weight": 2.0, f"{direction}_levels": levels})
        got = Criterion(config, 19)(prediction, [target])[direction]
        assert got.item() == pytest.approx(2 * mean.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"semantic_to_depth_levels": (5,)}, "semantic_to_depth_levels"),
        ({"depth_to_semantic_levels": ()}, "depth_to_semantic_levels"),
        ({"depth_to_semantic_levels": (4, 4)}, "must be distinct members of"),
        ({"patch": 4}, "loss.patch is 4"),
    ],
)
def test_guidance_that_does_not_exist_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Criterion(LossConfig(**changes), 19)


def test_labels_of_a_few_pixels(net):
    """Like projected LiDAR: only those pixels are drawn, so void in between plays no part."""
    sparse = []
    for target in targets_of("both", "both"):
        keep = torch.zeros_like(target.labelled)
        keep[2::4, 2::12] = True
        panoptic = torch.where(keep, target.panoptic, VOID)
        sparse.append(make_target(panoptic, torch.where(keep, target.depth, 0.0)))
    losses = supervise(net, sparse)
    assert all(torch.tensor(value).isfinite() for value in losses.values())
    assert losses["mask"] > 0
    assert losses["depth"] > 0


# --- a prediction made by hand ---------------------------------------------------------------------------------------


def perfect_prediction(target, sharpness=40.0):
    """Query n is segment n: one feature channel a segment; one depth channel, the truth itself."""
    count, (height, width) = len(target.classes), target.panoptic.shape
    features = (2.0 * target.masks.float() - 1) * sharpness
    features = torch.nn.functional.interpolate(features[None], (height // 4, width // 4), mode="nearest-exact")
    depth = target.depth[2::4, 2::4].clamp_min(0.1) / 80
    return Prediction(
        class_logits=sharpness * torch.nn.functional.one_hot(target.classes, 20)[None].float(),
        mask_embedding=torch.eye(count)[None],
        mask_features=features,
        depth_embedding=torch.ones(1, count, 1),
        backup_embedding=torch.ones(1, 1, 1),
        depth_features=torch.logit(depth)[None, None],
        max_depth=80.0,
    )


def test_a_perfect_prediction_is_near_the_floor():
    target = street_target(3)[1]
    losses = Criterion(LossConfig(points=512, importance=0.0), 19)(perfect_prediction(target), [target])
    assert losses["class"].item() < 1e-6
    assert losses["dice"].item() < 5 * 0.15  # bilinear borders
    assert losses["depth"].item() == pytest.approx(2.5 * 10 * 1e-3, rel=1e-3)
    assert losses["backup"].item() == pytest.approx(2.5 * 10 * 1e-3, rel=1e-3)


def test_swapped_queries_are_matched_back():
    target = street_target(3)[1]
    right = perfect_prediction(target)
    order = torch.arange(len(target.classes) - 1, -1, -1)
    swapped = replace(right, class_logits=right.class_logits[:, order], mask_embedding=right.mask_embedding[:, order])
    criterion = Criterion(LossConfig(points=512), 19)
    torch.manual_seed(0)
    expected = criterion(right, [target])
    torch.manual_seed(0)
    got = criterion(swapped, [target])
    assert {n: v.item() for n, v in got.items()} == pytest.approx({n: v.item() for n, v in expected.items()}, abs=1e-5)


def test_segment_depth_is_the_public_formula():
    target = street_target(3)[1]
    prediction = perfect_prediction(target)
    prediction = replace(prediction, depth_features=prediction.depth_features + 0.3 * torch.randn(1, 1, 16, 24))
    got = Criterion(LossConfig(points=512), 19)(prediction, [target])
    pred = prediction.depth[0]
    true = target.depth[2::4, 2::4].expand_as(pred)
    masks = target.masks[:, 2::4, 2::4]
    assert got["depth"].item() == pytest.approx(2.5 * scale_invariant(pred, true, masks).item(), rel=1e-5)
    everywhere = torch.ones_like(masks[:1])
    expected = scale_invariant(prediction.backup_depth[0], true[:1], everywhere)
    assert got["backup"].item() == pytest.approx(2.5 * expected.item(), rel=1e-5)


def test_layers_add_up():
    target = street_target(3)[1]
    last = perfect_prediction(target)
    empty = torch.zeros(1, 0, 1)
    initial = replace(last, depth_embedding=empty, backup_embedding=empty)
    criterion = Criterion(LossConfig(points=2048, importance=0.0), 19)
    torch.manual_seed(0)
    one = criterion(last, [target])
    torch.manual_seed(0)
    three = criterion(replace(last, layers=(initial, last)), [target])
    for name, layers in (("class", 3), ("mask", 3), ("dice", 3), ("depth", 2), ("backup", 2)):
        assert three[name].item() == pytest.approx(layers * one[name].item(), rel=1e-4)


def test_half_precision_predictions_are_summed_in_full():
    target = street_target(3)[1]
    full = perfect_prediction(target, sharpness=4.0)
    names = ("class_logits", "mask_embedding", "mask_features", "depth_embedding", "backup_embedding", "depth_features")
    half = replace(full, **{name: getattr(full, name).bfloat16() for name in names})
    criterion = Criterion(LossConfig(points=512), 19)
    torch.manual_seed(0)
    expected = criterion(full, [target])
    torch.manual_seed(0)
    got = criterion(half, [target])
    assert all(loss.dtype == torch.float32 for loss in got.values())
    assert got["mask"].item() == pytest.approx(expected["mask"].item(), rel=0.02)


def test_learned_sigmas_of_the_similarity_form_get_gradients(net):
    config = LossConfig(points=64, depth_to_semantic_weight=1.0, depth_to_semantic_form="similarity")
    criterion = Criterion(config, 19)
    images = torch.stack([street_target(i)[0] for i in range(2)])
    sum(criterion(net(images, layers=True), targets_of("both", "both")).values()).backward()
    assert {name: p.grad.item() != 0 for name, p in criterion.named_parameters()} == {
        "sigma_semantic": True,
        "sigma_depth": True,
    }
