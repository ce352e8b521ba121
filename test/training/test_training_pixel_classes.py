"""The class asked of every pixel: its value by hand, what it leaves out, and what it teaches."""

import math
from dataclasses import replace

import pytest
import torch
from training_scenes import small_network, street_target

from dvps_ros.config import LossConfig
from dvps_ros.labels import DIVISOR, VOID
from dvps_ros.network import build
from dvps_ros.structures import Target
from dvps_ros.training import pixel_classes
from dvps_ros.training.criterion import Criterion

#: An image of 4 x 8 pixels is two pixels of stride 4.
CAR, ROAD, SKY = 2, 0, 1


def target_of(left, right, **more):
    """Two pixels of stride 4 with one panoptic id each, and nothing else."""
    panoptic = torch.full((4, 8), left, dtype=torch.int32)
    panoptic[:, 4:] = right
    empty = torch.zeros(0, dtype=torch.long), torch.zeros(0, 4, 8, dtype=torch.bool)
    return Target(*empty, panoptic, torch.zeros(4, 8), **more)


def logits_of(*pixels):
    return torch.tensor(pixels).log().T[None, :, None]


LOGITS = logits_of([0.5, 0.25, 0.25], [0.1, 0.2, 0.7])


def test_segments_by_hand():
    total, images = pixel_classes.total(LOGITS, [target_of(ROAD * DIVISOR, CAR * DIVISOR + 3)])
    assert images == 1
    assert total.item() == pytest.approx(-(math.log(0.5) + math.log(0.7)) / 2, rel=1e-5)


def test_pixels_without_a_class_are_left_out():
    total, images = pixel_classes.total(LOGITS, [target_of(VOID, CAR * DIVISOR)])
    assert (total.item(), images) == (pytest.approx(-math.log(0.7), rel=1e-5), 1)
    total, images = pixel_classes.total(LOGITS, [target_of(VOID, VOID)])
    assert (total.item(), images) == (0, 0)
    total, images = pixel_classes.total(LOGITS, [target_of(ROAD, ROAD, has_panoptic=False)])
    assert (total.item(), images) == (0, 0)


def test_a_pixel_of_several_classes_may_be_each():
    """The left pixel is sky or car, the right one unlabelled."""
    semantic = torch.zeros(4, 8, dtype=torch.long)
    semantic[:, 4:] = -1
    sets = torch.tensor([[False, True, True]])
    total, images = pixel_classes.total(LOGITS, [target_of(VOID, VOID, semantic=semantic, class_sets=sets)])
    assert (total.item(), images) == (pytest.approx(-math.log(0.5), rel=1e-5), 1)


def test_a_confident_mistake_can_be_corrected():
    logits = torch.tensor([60.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2).clone().requires_grad_()
    total, _ = pixel_classes.total(logits, [target_of(CAR * DIVISOR, CAR * DIVISOR)])
    total.backward()
    assert total.item() == pytest.approx(60)
    assert logits.grad[0, CAR].sum().item() == pytest.approx(-1)


def test_the_classifier_needs_the_width_of_its_features():
    with pytest.raises(ValueError, match=r"loss.pixel_class_weight needs the width of E_pixel"):
        Criterion(LossConfig(pixel_class_weight=1.0), 19)


def test_images_count_alike():
    one, other = target_of(ROAD, ROAD), target_of(VOID, CAR * DIVISOR)
    both, images = pixel_classes.total(LOGITS.expand(2, -1, -1, -1), [one, other])
    alone = [pixel_classes.total(LOGITS, [target])[0] for target in (one, other)]
    assert images == 2
    assert both.item() == pytest.approx(sum(alone).item(), rel=1e-5)


def test_it_is_a_loss_of_its_own_name_and_weight():
    torch.manual_seed(0)
    net = build(small_network())
    image, target = street_target(3)
    prediction = net(image[None], layers=True)
    found = {}
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(1)
        criterion = Criterion(LossConfig(points=64, pixel_class_weight=weight), 19, net.config.width)
        found[weight] = criterion(prediction, [target], [7])
        assert ("pixel_class" in found[weight]) is (weight > 0)
    assert found[3.0]["pixel_class"].item() == pytest.approx(3 * found[1.0]["pixel_class"].item())
    assert found[3.0]["class"].item() == found[0.0]["class"].item()


def test_it_alone_teaches_the_pixel_decoder():
    """No other loss: after some steps the classifier tells the classes of the image's pixels."""
    torch.manual_seed(0)
    net = build(small_network())
    image, target = street_target(3)
    weights = dict.fromkeys(("class", "mask", "dice", "semantic", "depth", "backup"), 0.0)
    config = replace(LossConfig(points=64, pixel_class_weight=1.0), **{f"{k}_weight": v for k, v in weights.items()})
    criterion = Criterion(config, 19, net.config.width)
    optimizer = torch.optim.AdamW([*net.parameters(), *criterion.parameters()], 3e-3)
    losses = []
    for _ in range(40):
        loss = sum(criterion(net(image[None], layers=True), [target], [7]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]
