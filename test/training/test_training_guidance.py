"""Both guidance losses against a direct reading of Eqs. 3-6 in NumPy, pixel by pixel."""

import numpy as np
import pytest
import torch

from dvps_ros.training.guidance_losses import depth_to_semantic, semantic_to_depth

VOID = 255_000


def patch_pixels(y, x, height, width, patch):
    reach = patch // 2
    for v in range(max(0, y - reach), min(height, y + reach + 1)):
        for u in range(max(0, x - reach), min(width, x + reach + 1)):
            yield v, u


def numpy_semantic_to_depth(features, ids, patch, margin, least):
    losses = []
    for f, image in zip(features, ids, strict=True):
        f = f / np.linalg.norm(f, axis=0)
        for y, x in np.ndindex(image.shape):
            if image[y, x] == VOID:
                continue
            near = [p for p in patch_pixels(y, x, *image.shape, patch) if image[p] != VOID]
            distance = {p: np.linalg.norm(f[:, y, x] - f[:, p[0], p[1]]) for p in near}
            positives = [distance[p] for p in near if image[p] == image[y, x]]
            negatives = [distance[p] for p in near if image[p] != image[y, x]]
            if len(positives) >= least and len(negatives) >= least:
                losses.append(max(0.0, margin + max(positives) - min(negatives)))
    return np.mean(losses) if losses else 0.0


def numpy_depth_to_semantic(features, depth, patch, tau):
    total, anchors = 0.0, 0
    for f, d in zip(features, depth, strict=True):
        for y, x in np.ndindex(d.shape):
            if d[y, x] <= 0:
                continue
            anchors += 1
            for v, u in patch_pixels(y, x, *d.shape, patch):
                if (v, u) != (y, x) and d[v, u] > 0:
                    away = np.linalg.norm(f[:, y, x] - f[:, v, u])
                    total -= np.exp(-abs(d[y, x] - d[v, u]) / tau) * np.exp(-away)
    return total / anchors if anchors else 0.0


def numpy_similarity(features, depth, sigma_s, sigma_d):
    values = []
    for f, d in zip(features, depth, strict=True):
        for (y, x), _ in np.ndenumerate(d):
            for v, u in ((y, x + 1), (y + 1, x)):
                if v < d.shape[0] and u < d.shape[1] and d[y, x] > 0 and d[v, u] > 0:
                    s = np.exp(-sigma_s * (f[:, y, x] - f[:, v, u]) ** 2 / 2).mean()
                    values.append(abs(s - np.exp(-sigma_d * (d[y, x] - d[v, u]) ** 2 / 2)))
    return np.mean(values)


@pytest.fixture
def scene():
    """Features (2, 5, 9, 11), ids with segments, single pixels and void, depth with holes."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(2, 5, 9, 11))
    ids = np.repeat(np.repeat(rng.integers(0, 3, (2, 3, 4)), 3, 1), 3, 2)[:, :9, :11] * 1000
    ids[0, 4, 4], ids[0, 0, 0] = 13_001, 13_002
    ids[rng.random(ids.shape) < 0.1] = VOID
    depth = rng.uniform(2, 60, (2, 9, 11))
    depth[rng.random(depth.shape) < 0.3] = 0
    return features, ids, depth


@pytest.mark.parametrize("patch", [3, 5])
@pytest.mark.parametrize("least", [1, 4])
def test_semantic_to_depth(scene, patch, least):
    features, ids, _ = scene
    got = semantic_to_depth(torch.tensor(features), torch.tensor(ids), VOID, patch, 0.3, least)
    assert got.item() == pytest.approx(numpy_semantic_to_depth(features, ids, patch, 0.3, least), abs=1e-9)


def test_semantic_to_depth_separates_what_is_far_apart():
    features = torch.zeros(1, 2, 4, 6, dtype=torch.float64)
    features[:, 0, :, :3], features[:, 1, :, 3:] = 1, 1
    ids = torch.zeros(1, 4, 6, dtype=torch.int32)
    ids[:, :, 3:] = 1000
    assert semantic_to_depth(features, ids, VOID, margin=1.4).item() == 0  # d- = sqrt(2), d+ = 0
    assert semantic_to_depth(features, ids, VOID, margin=2.0).item() == pytest.approx(2 - 2**0.5)


@pytest.mark.parametrize("ids", [np.full((1, 4, 5), VOID), np.zeros((1, 4, 5), int)])
def test_without_an_anchor_it_is_zero_with_gradient(ids):
    features = torch.randn(1, 3, 4, 5, requires_grad=True)
    loss = semantic_to_depth(features, torch.tensor(ids), VOID)
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().sum() == 0


def test_constant_features_give_finite_gradients(scene):
    _, ids, depth = scene
    features = torch.ones(2, 5, 9, 11, dtype=torch.float64, requires_grad=True)
    loss = semantic_to_depth(features, torch.tensor(ids), VOID) + depth_to_semantic(features, torch.tensor(depth))
    loss.backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("patch", [3, 5])
def test_depth_to_semantic_equation(scene, patch):
    features, _, depth = scene
    got = depth_to_semantic(torch.tensor(features), torch.tensor(depth), patch, 10.0)
    assert got.item() == pytest.approx(numpy_depth_to_semantic(features, depth, patch, 10.0), abs=1e-9)


def test_depth_to_semantic_similarity(scene):
    features, _, depth = scene
    sigmas = torch.tensor(0.7), torch.tensor(0.02)
    got = depth_to_semantic(
        torch.tensor(features), torch.tensor(depth), form="similarity", sigma_semantic=sigmas[0], sigma_depth=sigmas[1]
    )
    assert got.item() == pytest.approx(numpy_similarity(features, depth, 0.7, 0.02), abs=1e-7)


@pytest.mark.parametrize("form", ["equation", "similarity"])
def test_no_depth_gives_zero_with_gradient(form):
    features = torch.randn(1, 3, 4, 5, requires_grad=True)
    loss = depth_to_semantic(features, torch.zeros(1, 4, 5), form=form)
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().sum() == 0


def test_unknown_form_is_named():
    with pytest.raises(ValueError, match="'cosine'"):
        depth_to_semantic(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2), form="cosine")


def test_a_patch_larger_than_the_map(scene):
    features, ids, depth = (a[:, ..., :2, :3] for a in scene)
    got = semantic_to_depth(torch.tensor(features), torch.tensor(ids), VOID, 7)
    assert got.item() == pytest.approx(numpy_semantic_to_depth(features, ids, 7, 0.3, 1), abs=1e-9)
    got = depth_to_semantic(torch.tensor(features), torch.tensor(depth), 7)
    assert got.item() == pytest.approx(numpy_depth_to_semantic(features, depth, 7, 10.0), abs=1e-9)


def test_gradients(scene):
    features, ids, depth = (torch.tensor(a[:1, ..., :5, :6]) for a in scene)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: semantic_to_depth(f, ids, VOID, 3), features)
    assert torch.autograd.gradcheck(lambda f: depth_to_semantic(f, depth, 3), features)
    sigma = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    form = {"form": "similarity", "sigma_depth": 0.01}
    assert torch.autograd.gradcheck(
        lambda f, s: depth_to_semantic(f, depth, sigma_semantic=s, **form), (features, sigma)
    )


@pytest.mark.parametrize("form", ["equation", "similarity"])
def test_the_layout_of_the_features_changes_nothing(scene, form):
    """The network's maps lie channels last in memory."""
    features, ids, depth = map(torch.tensor, scene)
    values, gradients = [], []
    for layout in (torch.contiguous_format, torch.channels_last):
        given = features.clone().contiguous(memory_format=layout).requires_grad_()
        loss = semantic_to_depth(given, ids, VOID) + depth_to_semantic(given, depth, form=form)
        loss.backward()
        values.append(loss.detach())
        gradients.append(given.grad)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("loss", ["semantic_to_depth", "depth_to_semantic"])
def test_memory_kept_for_the_gradient_does_not_grow_with_the_patch(loss):
    features = torch.randn(1, 16, 24, 24, requires_grad=True)
    ids, depth = torch.randint(3, (1, 24, 24)), torch.rand(1, 24, 24) + 1

    def kept(patch):
        storages = {}

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            if loss == "semantic_to_depth":
                semantic_to_depth(features, ids, VOID, patch)
            else:
                depth_to_semantic(features, depth, patch)
        return sum(size for size, _ in storages.values())

    assert kept(9) < 1.2 * kept(3)
