"""What every backbone is to the rest of the network: maps at strides 4, 8, 16 and 32 of normalised images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dvps_ros.structures import Features

#: Mean and deviation of R, G and B, in thousandths of the 0..255 scale.
Pixels: TypeAlias = tuple[Sequence[int], Sequence[int]]
#: Thousandths of ImageNet's RGB mean and deviation on the 0..255 scale.
IMAGENET = ((123675, 116280, 103530), (58395, 57120, 57375))
#: A table that follows from the window size alone; some versions of transformers store it.
_DERIVED = "relative_position_index"


class Backbone(nn.Module):
    """A model behind this project's vocabulary; its weights are named ``model.*``.

    Parameters
    ----------
    model : gives the four maps; subclasses say how.
    channels : those of the maps at strides 4, 8, 16, 32.
    freeze_norms : batch norms keep their statistics in training.
    parts : of the model, from the stem to the stage of stride 32, for ``freeze``; none: it cannot freeze.

    Attributes
    ----------
    pixels : RGB mean and deviation of the images that its weights expect; ``build_backbone`` sets those of its kind or
        configuration. Whole numbers, so that casting the network to half precision leaves them exact.
    """

    def __init__(
        self,
        model: nn.Module,
        channels: Sequence[int],
        freeze_norms: bool = False,
        parts: Sequence[Sequence[nn.Module]] = (),
    ):
        super().__init__()
        self.model = model
        self.channels = tuple(channels)
        self.pixels: Pixels = IMAGENET
        self.freeze_norms = freeze_norms
        self._parts = [list(part) for part in parts]
        self._frozen: list[nn.Module] = []

    def freeze(self, count: int) -> None:
        """Training leaves the weights and statistics of the first ``count`` parts (0..5) as they are.

        Raises ``ValueError`` if this kind of backbone cannot.
        """
        if count > len(self._parts):
            raise ValueError(f"network.backbone.freeze is {count}: this kind of backbone cannot freeze parts")
        self._frozen = [module for part in self._parts[:count] for module in part]
        for number, part in enumerate(self._parts):
            for module in part:
                module.requires_grad_(number >= count)
        self.train(self.training)  # at once: Lightning trains a module in the mode it has

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W), H and W multiples of 32 -> ``Features``."""
        return Features(*self._maps(images.contiguous(memory_format=torch.channels_last)))

    def _maps(self, images: Tensor) -> Sequence[Tensor]:
        return self.model(images)

    def train(self, mode: bool = True) -> Backbone:
        """Training or evaluation mode; frozen parts and frozen batch norms stay in the latter."""
        super().train(mode)
        for module in self._frozen:
            module.eval()  # no stochastic depth either
        if self.freeze_norms:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def stored_name(self, name: str) -> str:
        """The name that a model folder gives to the weight ``name`` (``model.*``)."""
        return name

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Weights come in the names of the version of transformers that wrote them; this one may use others.
        own = {self.stored_name(f"model.{name}"): f"model.{name}" for name in self.model.state_dict()}
        for key in [key for key in state_dict if key.startswith(f"{prefix}model.")]:
            name = self.stored_name(key.removeprefix(prefix))
            state_dict[prefix + own.get(name, name)] = state_dict.pop(key)
        for name, value in self.model.state_dict().items():
            if is_derived(name):
                state_dict[f"{prefix}model.{name}"] = value
        super()._load_from_state_dict(state_dict, prefix, *args)


def is_derived(name: str) -> bool:
    """True for tables that follow from the configuration and so belong into no checkpoint."""
    return name.endswith(_DERIVED)
