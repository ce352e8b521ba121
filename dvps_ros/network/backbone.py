"""The backbone: transformers' ResNet or Swin, giving maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, PretrainedConfig, PreTrainedModel, ResNetConfig, SwinConfig

from dvps_ros.config import BackboneConfig
from dvps_ros.structures import Features

_STAGES = ["stage1", "stage2", "stage3", "stage4"]

#: transformers 5 renamed Swin's weights; these lead from version 4's names to version 5's and leave the latter alone.
_RENAMED = (
    (r"^(?=embeddings\.|encoder\.layers\.)", "swin."),
    (r"attention\.self\.query\.", "attention.q_proj."),
    (r"attention\.self\.key\.", "attention.k_proj."),
    (r"attention\.self\.value\.", "attention.v_proj."),
    (r"attention\.self\.relative_position_bias_table", "attention.relative_position_bias.relative_position_bias_table"),
    (r"attention\.output\.dense\.", "attention.o_proj."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"output\.dense\.", "mlp.fc2."),
)
#: A table that follows from the window size alone; some versions of transformers store it.
_DERIVED = "relative_position_index"


class Backbone(nn.Module):
    """A transformers backbone behind this project's vocabulary.

    Attributes: ``channels``, those of the maps at strides 4, 8, 16, 32.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.channels = tuple(model.channels)

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W), H and W multiples of 32 -> ``Features``."""
        return Features(*self.model(images.contiguous(memory_format=torch.channels_last)).feature_maps)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Weights come in the names of the version of transformers that wrote them; this one may use others.
        prefix_model = f"{prefix}model."
        own = {canonical_name(name): name for name in self.model.state_dict()}
        for key in [key for key in state_dict if key.startswith(prefix_model)]:
            name = canonical_name(key.removeprefix(prefix_model))
            state_dict[prefix_model + own.get(name, name)] = state_dict.pop(key)
        for name, value in self.model.state_dict().items():
            if is_derived(name):
                state_dict[prefix_model + name] = value
        super()._load_from_state_dict(state_dict, prefix, *args)


def canonical_name(name: str) -> str:
    """The name that transformers 5 gives to a backbone weight, whichever version ``name`` comes from."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def is_derived(name: str) -> bool:
    """True for tables that follow from the configuration and so belong into no checkpoint."""
    return name.endswith(_DERIVED)


def build_backbone(config: BackboneConfig) -> Backbone:
    """A backbone of the configured sizes, with random weights or those that ``config.pretrained`` names.

    Raises
    ------
    ValueError : when sizes do not fit together, or the pretrained weights cannot be had or do not fit.
    """
    hugging = _resnet(config) if config.kind == "resnet" else _swin(config)
    model = AutoBackbone.from_config(hugging)
    if config.pretrained:
        model = _pretrained(config.pretrained, type(model), hugging)
    if config.kind == "swin":
        # Its result is never used: each stage's map has a norm of its own. (In transformers 4 it is not there.)
        getattr(model, "swin", model).layernorm = nn.Identity()
    return Backbone(model.to(memory_format=torch.channels_last))


def _resnet(config: BackboneConfig) -> ResNetConfig:
    _four(config, "depths", "widths")
    return ResNetConfig(
        embedding_size=config.stem,
        hidden_sizes=list(config.widths),
        depths=list(config.depths),
        layer_type=config.block,
        downsample_in_bottleneck=False,
        out_features=_STAGES,
    )


def _swin(config: BackboneConfig) -> SwinConfig:
    _four(config, "depths", "heads")
    for stage, heads in enumerate(config.heads):
        if config.embedding * 2**stage % heads:
            raise ValueError(f"network.backbone.heads[{stage}] is {heads}, must divide {config.embedding * 2**stage}")
    return SwinConfig(
        embed_dim=config.embedding,
        depths=list(config.depths),
        num_heads=list(config.heads),
        window_size=config.window,
        drop_path_rate=config.drop_path,
        out_features=_STAGES,
    )


def _four(config: BackboneConfig, *keys: str) -> None:
    for key in keys:
        if len(values := getattr(config, key)) != 4:
            raise ValueError(f"network.backbone.{key} needs four stages, got {len(values)}")


def _pretrained(name: str, kind: type[PreTrainedModel], hugging: PretrainedConfig) -> nn.Module:
    # Not AutoBackbone.from_pretrained: it knows no local folders.
    try:
        model, info = kind.from_pretrained(name, config=hugging, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"network.backbone.pretrained: no usable weights at {name!r} ({reason})") from error
    # A classifier has no norms of the single stages; anything else that it lacks would silently stay random.
    if missing := sorted(key for key in info["missing_keys"] if not key.startswith("hidden_states_norms.")):
        raise ValueError(f"network.backbone.pretrained: {name!r} lacks {missing[0]} ({len(missing)} weights in all)")
    # It comes ready to predict, and Lightning leaves it so: no stochastic depth, and batch norms that never move.
    return model.train()
