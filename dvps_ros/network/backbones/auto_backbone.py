"""Any backbone of transformers: its four maps where it has them, else a pyramid of its last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoBackbone, AutoConfig

from dvps_ros.config import BackboneConfig
from dvps_ros.errors import first_line
from dvps_ros.network.backbones.base import Backbone

_KEY = "network.backbone.settings"
_STRIDES = (4, 8, 16, 32)
#: Stride of the map that a pyramid is made of, and the channels of its levels (Li et al., ECCV 2022, section 3).
_PYRAMID_STRIDE, _PYRAMID_CHANNELS = 16, 256
#: Side of the square that tells the strides: a multiple of 32 that shows maps of four strides.
_TRIAL = 128
#: A backbone of another package.
_FOREIGN = ("timm_backbone",)


def build_auto(config: BackboneConfig) -> Backbone:
    """The backbone that ``config.settings`` describes, with random weights.

    Its maps at strides 4, 8, 16 and 32 are used where it has all four. A backbone whose maps all have one stride (a
    plain vision transformer) gets a simple feature pyramid.
    Raises ``ValueError`` in one line where transformers has no such backbone, or its maps have other strides.
    """
    patch = _patch(config.settings)
    stages = _stages(config.settings, patch)
    if all(stride in stages for stride in _STRIDES):
        names, channels = zip(*(stages[stride] for stride in _STRIDES), strict=True)
        return _Pyramidal(_model(config.settings, names), channels, config.freeze_norms)
    if patch and set(stages) == {_PYRAMID_STRIDE}:
        name, width = stages[_PYRAMID_STRIDE]
        return _Plain(_model(config.settings, [name]), width, patch, config.freeze_norms)
    found = ", ".join(str(stride) for stride in sorted(stages))
    kind = config.settings.get("model_type")
    raise ValueError(f"{_KEY}: maps of {kind} have the strides {found}; 4, 8, 16 and 32 are needed, or one alone")


class _Pyramidal(Backbone):
    """A backbone with maps of four strides."""

    def _maps(self, images: Tensor) -> Sequence[Tensor]:
        return self.model(images).feature_maps


class _Plain(Backbone):
    """A vision transformer and a simple feature pyramid of its last map.

    The images are resized so that each patch is 16 pixels of them, whatever the patch size.
    """

    def __init__(self, model: nn.Module, channels: int, patch: int, freeze_norms: bool) -> None:
        super().__init__(model, [_PYRAMID_CHANNELS] * 4, freeze_norms)
        self.patch = patch
        half, quarter = channels // 2, channels // 4
        finer: list[list[nn.Module]] = [
            [_double(channels, half), _LayerNorm(half), nn.GELU(), _double(half, quarter)],
            [_double(channels, half)],
            [],
            [nn.MaxPool2d(2)],
        ]
        self.pyramid = nn.ModuleList(
            nn.Sequential(*steps, *_level(width))
            for steps, width in zip(finer, (quarter, half, channels, channels), strict=True)
        )

    def _maps(self, images: Tensor) -> Sequence[Tensor]:
        [last] = self.model(_patched(images, self.patch)).feature_maps
        return [level(last) for level in self.pyramid]


class _LayerNorm(nn.LayerNorm):
    """Over the channels of (B, C, H, W)."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _double(channels: int, out: int) -> nn.Module:
    return nn.ConvTranspose2d(channels, out, 2, stride=2)


def _level(channels: int) -> list[nn.Module]:
    out = _PYRAMID_CHANNELS
    return [
        nn.Conv2d(channels, out, 1, bias=False),
        _LayerNorm(out),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        _LayerNorm(out),
    ]


def _patched(images: Tensor, patch: int) -> Tensor:
    """Images (B, 3, H, W), H and W multiples of 32, resized so that a patch covers 16 x 16 pixels of them."""
    if patch == _PYRAMID_STRIDE:
        return images
    size = [side // _PYRAMID_STRIDE * patch for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=patch < _PYRAMID_STRIDE)


def _patch(settings: Mapping[str, Any]) -> int:
    """The side of the patches of a plain vision transformer; 0 for others, which have stages of several layers."""
    whole = _settings(settings)
    side = getattr(whole, "patch_size", None)
    return side if isinstance(side, int) and getattr(whole, "depths", None) is None else 0


def _settings(settings: Mapping[str, Any], **more: Any) -> Any:
    given = dict(settings)
    kind = given.pop("model_type", "")
    if not kind:
        raise ValueError(f"{_KEY} has no model_type: train with network.backbone.pretrained, which names the weights")
    if kind in _FOREIGN:
        raise ValueError(f"{_KEY}: model_type {kind} needs another package and is not supported")
    try:
        return AutoConfig.for_model(kind, **given, **more)
    except Exception as error:  # a strange setting makes transformers raise almost anything
        raise ValueError(f"{_KEY}: transformers takes no such settings of {kind!r} ({first_line(error)})") from error


def _model(settings: Mapping[str, Any], stages: Sequence[str]) -> nn.Module:
    """The model whose feature maps are those of ``stages``, which it names."""
    try:
        return AutoBackbone.from_config(_settings(settings, out_features=list(stages)))
    except (ImportError, KeyError, ValueError) as error:
        kind = settings.get("model_type")
        raise ValueError(f"{_KEY}: {kind} is no backbone of transformers ({first_line(error)})") from error


def _stages(settings: Mapping[str, Any], patch: int) -> dict[int, tuple[str, int]]:
    """By stride the last stage whose map has it, and that map's channels; nothing is computed or allocated for it.

    The channels are counted: what some models of transformers say of theirs is wrong.
    """
    names = list(getattr(_settings(settings), "stage_names", None) or ())
    if not names:
        raise ValueError(f"{_KEY}: {settings.get('model_type')} is no backbone of transformers: it names no stages")
    with torch.device("meta"):
        model = _model(settings, names).eval()
        images = torch.zeros(1, 3, _TRIAL, _TRIAL)
    try:
        maps = model(_patched(images, patch) if patch else images).feature_maps
    except Exception as error:
        raise ValueError(f"{_KEY}: {settings.get('model_type')} gives no maps ({first_line(error)})") from error
    return {_TRIAL // one.shape[-1]: (name, one.shape[1]) for name, one in zip(names, maps, strict=True)}
