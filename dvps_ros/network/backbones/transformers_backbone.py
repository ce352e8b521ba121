"""ResNet and Swin, as transformers has them, in configured sizes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn
from transformers import AutoBackbone, ResNetConfig, SwinConfig

from dvps_ros.config import BackboneConfig
from dvps_ros.network.backbones.base import Backbone

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


class TransformersBackbone(Backbone):
    """A ResNet or Swin of transformers, its weights named alike whichever version of transformers wrote them."""

    def _maps(self, images: Tensor) -> Sequence[Tensor]:
        return self.model(images).feature_maps

    def stored_name(self, name: str) -> str:
        """``model.`` and the name in transformers 5."""
        return f"model.{canonical_name(name.removeprefix('model.'))}"


def canonical_name(name: str) -> str:
    """The name that transformers 5 gives to a backbone weight, whichever version ``name`` comes from."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def build_resnet(config: BackboneConfig) -> TransformersBackbone:
    """A ResNet with random weights; ``ValueError`` naming a size that does not fit."""
    _four(config, "depths", "widths")
    sizes = ResNetConfig(
        embedding_size=config.stem,
        hidden_sizes=list(config.widths),
        depths=list(config.depths),
        layer_type=config.block,
        downsample_in_bottleneck=False,
        out_features=_STAGES,  # type: ignore[call-arg]  # the base class takes it by **kwargs
    )
    model = AutoBackbone.from_config(sizes)
    parts = [[model.embedder], *([stage] for stage in model.encoder.stages)]
    return TransformersBackbone(model, model.channels, config.freeze_norms, parts)


def build_swin(config: BackboneConfig) -> TransformersBackbone:
    """A Swin with random weights; ``ValueError`` naming a size that does not fit."""
    _four(config, "depths", "heads")
    for stage, heads in enumerate(config.heads):
        if config.embedding * 2**stage % heads:
            raise ValueError(f"network.backbone.heads[{stage}] is {heads}, must divide {config.embedding * 2**stage}")
    sizes = SwinConfig(
        embed_dim=config.embedding,
        depths=list(config.depths),
        num_heads=list(config.heads),
        window_size=config.window,
        drop_path_rate=config.drop_path,
        out_features=_STAGES,  # type: ignore[call-arg]  # the base class takes it by **kwargs
    )
    model = AutoBackbone.from_config(sizes)
    # Its result is never used: each stage's map has a norm of its own. (In transformers 4 it is not there.)
    swin = getattr(model, "swin", model)
    swin.layernorm = nn.Identity()
    # Without the norms of the stages' maps: classifiers, whose weights are published, lack them.
    parts = [[swin.embeddings], *([layer] for layer in swin.encoder.layers)]
    return TransformersBackbone(model, model.channels, parts=parts)


def _four(config: BackboneConfig, *keys: str) -> None:
    for key in keys:
        if len(values := getattr(config, key)) != 4:
            raise ValueError(f"network.backbone.{key} needs four stages, got {len(values)}")
