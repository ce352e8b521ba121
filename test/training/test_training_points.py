"""Points: drawn where labels are, sampled as the logits would be."""

import pytest
import torch

from dvps_ros.training.points import at_stride, draw, sample_features, sample_masks, uncertain


def test_points_lie_in_labelled_pixels_and_cover_them():
    torch.manual_seed(0)
    labelled = torch.zeros(7, 9, dtype=torch.bool)
    labelled[2, 3:6] = labelled[6, 8] = True
    points = draw(labelled, 400, seed=0)
    counts = torch.zeros(7, 9)
    columns, rows = points.long().unbind(1)
    counts.index_put_((rows, columns), torch.ones(400), accumulate=True)
    assert ((counts > 0) == labelled).all()
    assert counts[labelled].min() > 60  # 100 expected in each
    inside = points - points.floor()
    assert inside.mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_seed_stands_for_its_points():
    labelled = torch.rand(20, 30) > 0.5
    first = draw(labelled, 50, seed=2**62)
    torch.rand(7)  # other random numbers in between change nothing
    assert torch.equal(draw(labelled, 50, seed=2**62), first)
    assert not torch.equal(draw(labelled, 50, seed=1), first)


def test_no_labelled_pixel_is_said():
    with pytest.raises(ValueError, match="labelled"):
        draw(torch.zeros(2, 2, dtype=torch.bool), 3, seed=0)


def test_a_linear_map_is_sampled_exactly():
    """Cell i of a stride-4 map has its center at 4 i + 2 of the image."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    features = torch.stack((4 * columns + 2, 4 * rows + 2))
    points = torch.rand(50, 2) * torch.tensor([44.0, 28.0]) + 2
    torch.testing.assert_close(sample_features(features, points), points.T, atol=1e-4, rtol=0)


def test_sampling_features_samples_the_logits():
    torch.manual_seed(0)
    features, embedding, points = torch.randn(5, 8, 12), torch.randn(3, 5), torch.rand(40, 2) * 32
    logits = torch.einsum("qc,chw->qhw", embedding, features)
    torch.testing.assert_close(embedding @ sample_features(features, points), sample_features(logits, points))


def test_masks_give_the_pixel_under_the_point():
    masks = torch.zeros(2, 4, 5, dtype=torch.bool)
    masks[0, 1, 3] = masks[1, 0, 0] = True
    points = torch.tensor([[3.0, 1.0], [3.999, 1.999], [4.0, 1.0], [0.5, 0.5]])
    assert sample_masks(masks, points).tolist() == [[True, True, False, False], [False, False, False, True]]


def test_the_uncertain_are_nearest_to_zero():
    logits = torch.tensor([[5.0, -0.1, 3.0, 0.2, -9.0]])
    assert set(uncertain(logits, 2)[0].tolist()) == {1, 3}


def test_labels_at_stride_take_the_middle_and_fill_the_padding():
    labels = torch.arange(6 * 9).view(6, 9)
    expected = torch.tensor([[20, 24, -1], [-1, -1, -1]])
    assert (at_stride(labels, (2, 3), -1) == expected).all()
    assert (at_stride(labels, (1, 2), -1, stride=8) == torch.tensor([[40, -1]])).all()
