"""Classes without segments: their likelihood by hand and by enumeration, who is spared, and a net that learns."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_scenes import make_target, small_network, street_target

from dvps_ros.config import LossConfig, MergeConfig
from dvps_ros.labels import CITYSCAPES, VOID
from dvps_ros.network import build
from dvps_ros.scene.merge import merge
from dvps_ros.structures import Prediction, Target
from dvps_ros.training import mask_losses, semantic_losses
from dvps_ros.training.criterion import Criterion
from dvps_ros.training.layers import Layers
from dvps_ros.training.semantic_losses import likelihood_losses

CAR, TRUCK = 13, 14


def logit(p):
    return math.log(p / (1 - p))


def log_classes(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()[None]


def masks(*probabilities):
    return torch.tensor([logit(p) for p in probabilities], dtype=torch.float64)[None, :, None, None]


# --- the likelihood --------------------------------------------------------------------------------------------------


def test_one_query_by_hand():
    """Class A with 0.6, B with 0.3, no object 0.1; its mask covers the pixel with 0.5. The pixel is A."""
    found = likelihood_losses(log_classes([0.6, 0.3, 0.1]), masks(0.5), torch.tensor([[True, False]]))
    assert found.shape == (1, 1, 1)
    assert found.item() == pytest.approx(-math.log(0.6 * 0.5))  # of the queries, this one must be A and cover


def test_two_queries_by_hand():
    """Neither B: (1 - 0.15) (1 - 0.08); of these, both miss with (1 - 0.3 - 0.15) (1 - 0.4 - 0.08)."""
    classes = log_classes([0.6, 0.3, 0.1], [0.5, 0.1, 0.4])
    found = likelihood_losses(classes, masks(0.5, 0.8), torch.tensor([[True, False]]))
    assert found.item() == pytest.approx(-math.log(0.85 * 0.92 - 0.55 * 0.52))


def test_a_pixel_of_two_classes_may_be_covered_by_either():
    """Both classes in the set: 1 - (1 - 0.9 * 0.5) (1 - 0.6 * 0.8), and nothing is another class."""
    classes = log_classes([0.6, 0.3, 0.1], [0.5, 0.1, 0.4])
    found = likelihood_losses(classes, masks(0.5, 0.8), torch.tensor([[True, True]]))
    assert found.item() == pytest.approx(-math.log(1 - 0.55 * 0.52))


@pytest.mark.parametrize("seed", range(5))
def test_against_enumeration_of_all_that_can_be(seed):
    """Every query has one class or none, and covers the pixel or does not: 2 ** Q * (K + 1) ** Q worlds."""
    rng = np.random.default_rng(seed)
    queries, classes = 3, 3
    class_logits = rng.normal(size=(queries, classes + 1)) * 2
    mask_logits = rng.normal(size=queries) * 2
    members = rng.random(classes) < 0.5
    members[rng.integers(classes)] = True
    p = np.exp(class_logits) / np.exp(class_logits).sum(1, keepdims=True)
    s = 1 / (1 + np.exp(-mask_logits))
    likelihood = 0.0
    for world in itertools.product(range(classes + 1), repeat=queries):
        for covers in itertools.product((False, True), repeat=queries):
            chance = np.prod([p[q, world[q]] * (s[q] if covers[q] else 1 - s[q]) for q in range(queries)])
            seen = {world[q] for q in range(queries) if covers[q]} - {classes}
            likelihood += chance * (bool(seen) and all(members[k] for k in seen))
    found = likelihood_losses(
        torch.tensor(class_logits)[None], torch.tensor(mask_logits)[None, :, None, None], torch.tensor(members)[None]
    )
    assert found.item() == pytest.approx(-math.log(likelihood), rel=1e-5)


def test_layers_sets_and_pixels_are_each_their_own():
    torch.manual_seed(0)
    class_logits, mask_logits = torch.randn(2, 4, 6).double(), torch.randn(2, 4, 3, 5).double()
    sets = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [1, 0, 0, 1, 1]]).bool()
    whole = likelihood_losses(class_logits, mask_logits, sets)
    for layer, v, x in itertools.product(range(2), range(3), range(5)):
        one = mask_logits[layer : layer + 1, :, v : v + 1, x : x + 1]
        alone = likelihood_losses(class_logits[layer : layer + 1], one, sets[v : v + 1])
        assert whole[layer, v, x].item() == pytest.approx(alone.item())


def test_gradient():
    torch.manual_seed(0)
    sets = torch.tensor([[True, False, False], [False, True, True]])
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 4), (2, 3, 2, 4))]
    assert torch.autograd.gradcheck(lambda c, m: likelihood_losses(c, m, sets), inputs)


@pytest.mark.parametrize(("class_scale", "mask_scale"), [(30.0, 30.0), (80.0, 10.0), (10.0, 80.0), (200.0, 200.0)])
def test_sure_queries_keep_finite_losses_and_gradients(class_scale, mask_scale):
    torch.manual_seed(0)
    class_logits = (class_scale * torch.randn(1, 6, 4)).requires_grad_()
    mask_logits = (mask_scale * torch.randn(1, 6, 2, 50)).requires_grad_()
    losses = likelihood_losses(class_logits, mask_logits, torch.tensor([[True, False, False], [False, True, True]]))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert (losses >= -1e-6).all()
    assert class_logits.grad.isfinite().all()
    assert mask_logits.grad.isfinite().all()


def test_a_surely_wrong_query_still_learns():
    """In float32 its probability of another class is 1, but for one part in 1e9."""
    classes = torch.tensor([[[0.0, 20.0, 0.0]]], requires_grad=True)
    mask = torch.full((1, 1, 1, 1), 20.0, requires_grad=True)
    likelihood_losses(classes, mask, torch.tensor([[True, False]])).sum().backward()
    assert classes.grad[0, 0, 1] > 0.1
    assert classes.grad[0, 0, 0] < -0.1


def test_a_second_query_is_neither_wanted_nor_driven_away():
    """One surely covers: whether another of the same class does, too, changes nothing."""
    classes = log_classes([0.9998, 0.0001, 0.0001], [0.9998, 0.0001, 0.0001])
    sets = torch.tensor([[True, False]])
    once, twice = (likelihood_losses(classes, masks(0.9999, p), sets).item() for p in (0.0001, 0.9999))
    assert once == pytest.approx(twice, abs=1e-3)


# --- points and who is spared ----------------------------------------------------------------------------------------


def test_each_row_of_an_image_gets_as_many_points():
    semantic = torch.full((20, 30), 4)
    semantic[:, 20:] = -1
    semantic[3, 5] = 0
    semantic[10:12, :9] = 2
    rows, areas, where = semantic_losses.draw(semantic, 90, 3)
    assert rows.tolist() == [0, 2, 4]
    assert areas.tolist() == [1, 18, 20 * 20 - 19]
    assert where.shape == (3, 30, 2)
    columns, lines = where.long().unbind(-1)
    assert torch.equal(semantic[lines, columns], rows[:, None].expand(3, 30))
    assert torch.equal(where, semantic_losses.draw(semantic, 90, 3)[2])
    assert not torch.equal(where, semantic_losses.draw(semantic, 90, 4)[2])


@pytest.mark.parametrize(("balance", "small"), [(0.0, 1 / 10), (0.5, 1 / 4), (1.0, 1 / 2)])
def test_a_small_row_weighs_as_much_as_the_balance_says(balance, small):
    """A tenth of the image (a third of the root of nine tenths) is of class B; one query covers all as A."""
    semantic = torch.zeros(20, 40, dtype=torch.long)
    semantic[:, :4] = 1
    empty = torch.zeros(0, dtype=torch.long), torch.zeros(0, 20, 40, dtype=torch.bool)
    target = replace(
        Target(*empty, torch.full((20, 40), VOID, dtype=torch.int32), torch.zeros(20, 40)),
        semantic=semantic,
        class_sets=torch.eye(2, dtype=torch.bool),
    )
    features = torch.full((1, 5, 10), logit(0.8))
    logits, one = log_classes([0.7, 0.1, 0.2])[None].float(), torch.ones(1, 1, 1)
    layer = Layers(logits[0], one, features, one, one, features, 80.0)
    of_a, of_b = (
        likelihood_losses(logits[0], torch.tensor(logit(0.8)).view(1, 1, 1, 1), torch.eye(2, dtype=torch.bool)[[k]])
        for k in range(2)
    )
    found = semantic_losses.image_losses(layer, target, 64, 3, balance)
    assert found.item() == pytest.approx((1 - small) * of_a.item() + small * of_b.item(), rel=1e-4)


def test_queries_that_lie_mostly_on_regions_are_spared():
    region, labelled = torch.zeros(32, 64, dtype=torch.bool), torch.ones(32, 64, dtype=torch.bool)
    region[:, 32:] = True
    labelled[16:] = False
    columns = torch.arange(16).expand(8, 16)
    left, right = columns < 8, columns >= 8
    low = torch.arange(8)[:, None].expand(8, 16) >= 4
    features = torch.stack([left.float(), right.float(), (left & low).float(), torch.ones(8, 16)])
    embedding = torch.tensor(
        [
            [9.0, 0.0, 0.0, -5.0],  # left
            [0.0, 9.0, 0.0, -5.0],  # right: the region
            [0.0, 1.0, 0.0, -5.0],  # right, hardly so: its likeliest pixels count
            [9.0, 9.0, 0.0, -5.0],  # as much of one as of the other
            [0.0, 9.0, 40.0, -5.0],  # also where nothing is labelled
        ]
    )
    spared = semantic_losses.over_regions(embedding[None], features, region & labelled, labelled)
    assert spared.tolist() == [[False, True, True, False, True]]


def test_ignored_queries_do_not_count():
    torch.manual_seed(0)
    logits, classes = torch.randn(2, 4, 6), torch.tensor([[0, 5, 5, 2], [5, 5, 4, 5]])
    untold = classes.clone()
    untold[0, 1] = untold[1, 3] = mask_losses.IGNORED
    told = untold != mask_losses.IGNORED
    found = mask_losses.class_cross_entropy(logits, untold, 0.1)
    expected = mask_losses.class_cross_entropy(logits[told], classes[told], 0.1)
    assert [value.item() for value in found] == pytest.approx([value.item() for value in expected])


# --- the criterion ---------------------------------------------------------------------------------------------------


def without_instances(target):
    """The same image where cars are known to be cars or trucks, and no more."""
    things = target.panoptic // 1000 >= 11
    panoptic = torch.where(things & (target.panoptic != VOID), VOID, target.panoptic)
    sets = torch.zeros(3, 19, dtype=torch.bool)
    sets[0, 0] = sets[1, 10] = sets[2, CAR] = sets[2, TRUCK] = True
    semantic = torch.full_like(target.panoptic, -1, dtype=torch.long)
    for row, k in enumerate((0, 10, CAR)):
        semantic[target.panoptic // 1000 == k] = row
    bare = make_target(panoptic, target.depth, has_depth=target.has_depth)
    return replace(bare, semantic=semantic, class_sets=sets, labelled=semantic >= 0)


def prediction_of(target, classes):
    """One query for each of the target's masks, of the given classes, and one that covers nothing."""
    features = 40.0 * (2 * target.masks[:, 2::4, 2::4].float() - 1)
    count = len(features) + 1
    class_logits = torch.full((1, count, 20), -20.0)
    class_logits[0, torch.arange(count), torch.tensor([*classes, 19])] = 20.0
    return Prediction(
        class_logits=class_logits,
        mask_embedding=torch.cat((torch.eye(count - 1), -torch.ones(1, count - 1)))[None],
        mask_features=features[None],
        depth_embedding=torch.zeros(1, count, 1),
        backup_embedding=torch.zeros(1, 1, 1),
        depth_features=torch.zeros(1, 1, *features.shape[1:]),
        max_depth=80.0,
    )


@pytest.fixture
def scene():
    """Sky, road and two cars, whole and without instances; the order of masks is road, sky, cars."""
    target = street_target(3)[1]
    return target, without_instances(target)


def losses_of(prediction, target, **changes):
    config = LossConfig(points=512, semantic_points=2048, **changes)
    found = Criterion(config, 19)(prediction, [target], [7])
    return {name: value.item() for name, value in found.items()}


@pytest.mark.parametrize("car", [CAR, TRUCK])
def test_queries_of_allowed_classes_lose_nothing(scene, car):
    whole, bare = scene
    losses = losses_of(prediction_of(whole, [0, 10, car, car]), bare)
    assert losses["class"] < 1e-3, "neither car is taught to be no object"
    # at borders, features are sampled between a mask's inside and outside
    assert losses["semantic"] < 2 * 1.0


def test_a_query_of_another_class_pays(scene):
    whole, bare = scene
    right, wrong = (losses_of(prediction_of(whole, [0, 10, CAR, second]), bare) for second in (CAR, 11))
    assert wrong["semantic"] > right["semantic"] + 1
    assert wrong["class"] < 1e-3  # that is not for the class loss to say


def test_a_thing_that_nothing_covers_costs(scene):
    whole, bare = scene
    right, missing = (losses_of(prediction_of(whole, [0, 10, CAR, second]), bare) for second in (CAR, 19))
    assert missing["semantic"] > right["semantic"] + 1


def test_an_object_where_a_segment_is_still_learns_to_be_none(scene):
    """A third car on the road is unmatched, and not spared: the road is a segment."""
    whole, bare = scene
    prediction = prediction_of(whole, [0, 10, CAR, CAR])
    road = replace(prediction, mask_embedding=torch.cat((prediction.mask_embedding[:, :-1], torch.eye(4)[None, :1]), 1))
    road.class_logits[0, -1] = -20.0
    road.class_logits[0, -1, CAR] = 19.0
    assert losses_of(road, bare)["class"] > 1


def test_one_car_or_two_is_not_for_this_label_to_say(scene):
    whole, bare = scene
    both = replace(whole, masks=torch.stack((*whole.masks[:2], whole.masks[2] | whole.masks[3])))
    two = losses_of(prediction_of(whole, [0, 10, CAR, CAR]), bare)
    one = losses_of(prediction_of(both, [0, 10, CAR]), bare)
    assert one["semantic"] == pytest.approx(two["semantic"], abs=0.05)
    assert one["class"] < 1e-3 > two["class"]


def test_whole_labels_have_no_semantic_loss(scene):
    whole, bare = scene
    prediction = prediction_of(whole, [0, 10, CAR, CAR])
    assert losses_of(prediction, whole)["semantic"] == 0
    assert losses_of(prediction, bare, semantic_weight=0.0)["semantic"] == 0
    assert losses_of(prediction, replace(bare, has_panoptic=False))["semantic"] == 0


def test_the_loss_is_a_mean_over_images_and_a_sum_over_layers(scene):
    whole, bare = scene
    last = prediction_of(whole, [0, 10, CAR, 11])
    once = losses_of(last, bare)["semantic"]
    assert losses_of(replace(last, layers=(last,)), bare)["semantic"] == pytest.approx(2 * once, rel=1e-5)
    batch = replace(
        last,
        **{
            name: torch.cat((getattr(last, name),) * 3)
            for name in ("class_logits", "mask_embedding", "mask_features", "depth_embedding", "backup_embedding")
        },
        depth_features=torch.cat((last.depth_features,) * 3),
    )
    config = LossConfig(points=512, semantic_points=2048)
    found = Criterion(config, 19)(batch, [bare, whole, bare], [7, 8, 7])["semantic"].item()
    assert found == pytest.approx(once, rel=1e-5)


# --- a net -----------------------------------------------------------------------------------------------------------


def test_things_stay_apart_beside_images_with_instances():
    """Three images with instances, one without: its two cars are found, each by a query of its own."""
    torch.manual_seed(0)
    net = build(small_network(queries=12, decoder_layers=2))
    pairs = [street_target(seed) for seed in (0, 1, 2, 5)]
    images = torch.stack([image for image, _ in pairs])
    truth = pairs[-1][1]
    targets = [target for _, target in pairs[:-1]] + [without_instances(truth)]
    criterion = Criterion(LossConfig(points=256, semantic_points=256, depth_weight=0.1, backup_weight=0.1), 19)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / STEPS)
        loss = sum(criterion(net(images, layers=True), targets, [step * 4 + n for n in range(4)]).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    net.eval()
    with torch.no_grad():
        prediction = net(images)
    scene = merge(prediction, 3, tuple(truth.panoptic.shape), None, CITYSCAPES, MergeConfig(score_threshold=0.5))
    found = {int(v): scene.panoptic == int(v) for v in scene.panoptic.unique() if int(v) // 1000 in (CAR, TRUCK)}
    assert len(found) == 2
    for mask in truth.masks[2:]:
        best = max((mask & one).sum().item() / (mask | one).sum().item() for one in found.values())
        assert best > 0.6
    right = (scene.panoptic // 1000 == truth.panoptic // 1000) | (truth.panoptic == VOID)
    assert right.float().mean() > 0.95


STEPS = 180
