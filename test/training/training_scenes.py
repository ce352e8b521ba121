"""Tiny labelled scenes and networks for the training tests."""

import torch

from dvps_ros.config import BackboneConfig, NetworkConfig
from dvps_ros.labels import VOID
from dvps_ros.structures import Target


def small_network(**changes) -> NetworkConfig:
    """The smallest network with every part."""
    sizes = {"width": 32, "heads": 4, "points": 2, "encoder_layers": 1, "encoder_feedforward": 32}
    sizes |= {"queries": 8, "decoder_layers": 3, "feedforward": 32}
    backbone = BackboneConfig(depths=(1, 1, 1, 1), stem=16, widths=(16, 16, 32, 32), block="basic")
    return NetworkConfig(backbone=backbone, **(sizes | changes))


def street_target(seed: int = 0, height: int = 64, width: int = 96, **changes) -> tuple[torch.Tensor, Target]:
    """An image (3, H, W) uint8 of sky, road and two cars, with its target: a void strip, no depth in the sky."""
    generator = torch.Generator().manual_seed(seed)
    horizon = height // 3 + int(torch.randint(8, (), generator=generator))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    panoptic = torch.where(rows < horizon, 10_000, 0)  # sky above road
    depth = torch.where(rows < horizon, 0.0, 5.0 + 40.0 * (height - rows) / height)
    for instance, distance in ((1, 12.0), (2, 20.0)):
        left = int(torch.randint(width // 2 - 16, (), generator=generator)) + (instance - 1) * (width // 2)
        car = (rows >= horizon - 4) & (rows < horizon + 12) & (columns >= left) & (columns < left + 16)
        panoptic = torch.where(car, 13_000 + instance, panoptic)
        depth = torch.where(car, distance, depth)
    panoptic[:, :4] = VOID
    image = panoptic_image(panoptic) + torch.randint(20, (3, height, width), generator=generator).to(torch.uint8)
    return image, make_target(panoptic.int(), depth, **changes)


def panoptic_image(panoptic: torch.Tensor) -> torch.Tensor:
    """A picture in which every segment has its own color."""
    return torch.stack([(panoptic * factor) % 211 for factor in (7, 31, 101)]).to(torch.uint8)


def make_target(panoptic: torch.Tensor, depth: torch.Tensor, **changes) -> Target:
    """A target from its label maps."""
    ids = [int(value) for value in panoptic.unique() if value != VOID]
    masks = torch.stack([panoptic == value for value in ids]) if ids else torch.zeros(0, *panoptic.shape).bool()
    return Target(
        classes=torch.tensor([value // 1000 for value in ids], dtype=torch.long),
        masks=masks,
        panoptic=panoptic,
        depth=depth.float(),
        labelled=panoptic != VOID,
        **changes,
    )
