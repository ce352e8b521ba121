"""The metric depth networks of transformers that a pair may have: sizes of their input, metres of their output."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F
from transformers import PretrainedConfig

#: ZoeDepth's inputs are multiples of this; Depth Anything's of its patch.
_ZOE_MULTIPLE = 32
#: Depth Pro's inverse depth is kept within these bounds, as transformers does: 0.1 mm to 10 km.
_INVERSE = 1e-4, 1e4


def depth_grid(settings: PretrainedConfig, side: int = 0) -> tuple[int, int]:
    """The side in pixels that a depth network's input has (0: as trained), and what both sides are multiples of."""
    if settings.model_type == "depth_pro":
        trained = round(settings.patch_size / min(settings.scaled_images_ratios))
        return side or trained, trained
    multiple = settings.patch_size if settings.model_type == "depth_anything" else _ZOE_MULTIPLE
    return side or settings.backbone_config.image_size, multiple


def depth_input_size(
    settings: PretrainedConfig, image_size: tuple[float, float], side: int, multiple: int
) -> tuple[int, int]:
    """(H, W) at which a depth network sees an image that would have ``image_size`` (H, W) with square pixels.

    One side becomes ``side``, that of the two which changes the image less, as transformers' DPT preprocessor has it;
    both are rounded to multiples, which such networks are trained with. Depth Pro sees every image as a square.
    """
    if settings.model_type == "depth_pro":
        square = max(1, round(side / multiple)) * multiple
        return square, square
    scale = min((side / length for length in image_size), key=lambda factor: abs(1 - factor))
    height, width = (max(1, round(length * scale / multiple)) * multiple for length in image_size)
    return height, width


def metres(
    settings: PretrainedConfig,
    depth: Tensor,
    size: tuple[int, int],
    focal_widths: float | None = None,
    field_of_view: Tensor | None = None,
    canonical_focal: float = 0.0,
) -> Tensor:
    """(H, W) float32 metres of a depth network's output, resized to ``size`` (H, W).

    Parameters
    ----------
    settings : of the network.
    depth : (h, w) metres; of Depth Pro inverse depth, for a focal length of one width of the picture (Bochkovskii et
        al., ICLR 2025, section 3).
    focal_widths : fx of the camera in widths of its image; None where the camera is not calibrated.
    field_of_view : (1,) degrees across the picture, as Depth Pro estimates it: it counts where ``focal_widths`` is not
        known. Without either, depth is that of a focal length of one width.
    canonical_focal : focal length in pixels of the network's input that its metres are meant for; 0: for any.
    """
    width = depth.shape[-1]
    depth = F.interpolate(depth[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
    if settings.model_type == "depth_pro":
        widths = focal_widths or _widths(field_of_view)
        return 1 / (depth / widths).clamp(*_INVERSE)
    if canonical_focal and focal_widths:
        depth = depth * (focal_widths * width / canonical_focal)
    return depth.clamp(min=0)


def _widths(field_of_view: Tensor | None) -> float:
    """Focal length in widths of a picture that is ``field_of_view`` (1,) degrees wide; 1 where that is not known."""
    return 1.0 if field_of_view is None else 0.5 / math.tan(math.radians(float(field_of_view)) / 2)
