"""Weight names of public Mask2Former checkpoints, and their translation to and from this project's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dvps_ros.network.backbones import canonical_name, is_derived

_Rules = tuple[tuple[str, str], ...]

#: All rules are applied, one after the other. A rule that replaces the whole name by nothing drops the weight.
_DETECTRON2: _Rules = (
    # buffers of the criterion and of the guidance losses, and constants, which are not weights
    (r"^criterion\..*$", ""),
    (r"^pixel_(mean|std)$", ""),
    (r"^sem_seg_head\.predictor\.depth_guided_cov.*$", ""),
    # ResNet
    (r"^backbone\.stem\.conv1\.", "backbone.model.embedder.embedder."),
    (r"^backbone\.res2\.", "backbone.model.encoder.stages.0.layers."),
    (r"^backbone\.res3\.", "backbone.model.encoder.stages.1.layers."),
    (r"^backbone\.res4\.", "backbone.model.encoder.stages.2.layers."),
    (r"^backbone\.res5\.", "backbone.model.encoder.stages.3.layers."),
    (r"(?<=\d)\.conv1\.", ".layer.0."),
    (r"(?<=\d)\.conv2\.", ".layer.1."),
    (r"(?<=\d)\.conv3\.", ".layer.2."),
    (r"(^backbone\.model\.(?:embedder|encoder)\..*)\.norm\.", r"\1.normalization."),
    (r"(^backbone\.model\.(?:embedder|encoder)\..*(?:embedder|layer\.\d|shortcut))\.weight$", r"\1.convolution.weight"),
    # Swin
    (r"^backbone\.patch_embed\.proj\.", "backbone.model.swin.embeddings.patch_embeddings.projection."),
    (r"^backbone\.patch_embed\.norm\.", "backbone.model.swin.embeddings.norm."),
    (r"^backbone\.layers\.", "backbone.model.swin.encoder.layers."),
    (r"(blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"(blocks\.\d+)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"(blocks\.\d+)\.attn\.qkv\.", r"\1.attention.qkv."),
    (r"(blocks\.\d+)\.attn\.(relative_position_\w+)$", r"\1.attention.relative_position_bias.\2"),
    (r"^backbone\.norm0\.", "backbone.model.hidden_states_norms.stage1."),
    (r"^backbone\.norm1\.", "backbone.model.hidden_states_norms.stage2."),
    (r"^backbone\.norm2\.", "backbone.model.hidden_states_norms.stage3."),
    (r"^backbone\.norm3\.", "backbone.model.hidden_states_norms.stage4."),
    # the two pixel decoders
    (r"^sem_seg_head\.pixel_decoder\.", "semantic_decoder."),
    (r"^sem_seg_head\.depth_pixel_decoder\.", "depth_decoder."),
    (r"_decoder\.input_proj\.", "_decoder.project."),
    (r"_decoder\.transformer\.level_embed$", "_decoder.level"),
    (r"_decoder\.transformer\.encoder\.layers\.", "_decoder.encoder."),
    (r"self_attn\.sampling_offsets\.", "attention.offsets."),
    (r"self_attn\.attention_weights\.", "attention.weights."),
    (r"self_attn\.value_proj\.", "attention.value."),
    (r"self_attn\.output_proj\.", "attention.output."),
    (r"(_decoder\.encoder\.\d+)\.norm1\.", r"\1.norm."),
    (r"(_decoder\.encoder\.\d+)\.norm2\.", r"\1.feedforward.norm."),
    (r"(_decoder\.encoder\.\d+)\.linear1\.", r"\1.feedforward.expand."),
    (r"(_decoder\.encoder\.\d+)\.linear2\.", r"\1.feedforward.contract."),
    (r"_decoder\.adapter_1\.norm\.", "_decoder.lateral.1."),
    (r"_decoder\.adapter_1\.", "_decoder.lateral.0."),
    (r"_decoder\.layer_1\.norm\.", "_decoder.fuse.1."),
    (r"_decoder\.layer_1\.", "_decoder.fuse.0."),
    (r"_decoder\.mask_features\.", "_decoder.embed."),
    # the query decoder and its heads
    (r"^sem_seg_head\.predictor\.", "predictor."),
    (r"^predictor\.(query_feat|static_query)(\.weight)?$", "query_decoder.content"),
    (r"^predictor\.query_embed(\.weight)?$", "query_decoder.position"),
    (r"^predictor\.level_embed(\.weight)?$", "query_decoder.level"),
    (r"^predictor\.transformer_cross_attention_layers\.(\d+)\.", r"query_decoder.layers.\1.cross."),
    (r"^predictor\.transformer_self_attention_layers\.(\d+)\.", r"query_decoder.layers.\1.among."),
    (r"^predictor\.transformer_ffn_layers\.(\d+)\.", r"query_decoder.layers.\1.feedforward."),
    (r"^predictor\.decoder_norm\.", "segment_head.norm."),
    (r"^predictor\.class_embed\.", "segment_head.classify."),
    (r"^predictor\.mask_embed\.", "segment_head.mask."),
    # geometry
    (r"^predictor\.depth_level_embed(\.weight)?$", "geometry.level"),
    (r"^predictor\.depth_norm\.", "geometry.head.norm."),
    (r"^predictor\.depth_pred_embed\.", "geometry.head.depth."),
    (r"^predictor\.latent(\.weight)?$", "geometry.decoder.latents"),
    (r"^predictor\.latent_pos(\.weight)?$", "geometry.decoder.position"),
    (r"^predictor\.latent_(encode|process|decode)_layers\.(\d+)\.", r"geometry.decoder.layers.\2.\1."),
    (r"^predictor\.latent_ffn_layers\.(\d+)\.", r"geometry.decoder.layers.\1.feedforward."),
    (r"^predictor\.backup_feat(\.weight)?$", "geometry.backup.content"),
    (r"^predictor\.backup_embed(\.weight)?$", "geometry.backup.position"),
    (r"^predictor\.backup_cross_attention_layers\.(\d+)\.", r"geometry.backup.levels.\1.cross."),
    (r"^predictor\.backup_ffn_layers\.(\d+)\.", r"geometry.backup.levels.\1.feedforward."),
    # blocks of both decoders
    (r"\.(multihead_attn|self_attn)\.out_proj\.", ".attention.output."),
    (r"\.(multihead_attn|self_attn)\.in_proj_", ".attention.in_proj_"),
    (r"\.feedforward\.linear1\.", ".feedforward.expand."),
    (r"\.feedforward\.linear2\.", ".feedforward.contract."),
)

_TRANSFORMERS: _Rules = (
    (r"^criterion\..*$", ""),
    (r"^model\.", ""),
    (r"^pixel_level_module\.encoder\.(swin\.)?layernorm\..*$", ""),  # unused by SwinBackbone
    (r"^pixel_level_module\.encoder\.", "backbone.model."),
    # the pixel decoder
    (r"^pixel_level_module\.decoder\.", "semantic_decoder."),
    (r"^semantic_decoder\.level_embed$", "semantic_decoder.level"),
    (r"^semantic_decoder\.input_projections\.", "semantic_decoder.project."),
    (r"^semantic_decoder\.encoder\.layers\.", "semantic_decoder.encoder."),
    (r"(semantic_decoder\.encoder\.\d+)\.self_attn\.sampling_offsets\.", r"\1.attention.offsets."),
    (r"(semantic_decoder\.encoder\.\d+)\.self_attn\.attention_weights\.", r"\1.attention.weights."),
    (r"(semantic_decoder\.encoder\.\d+)\.self_attn\.(value|output)_proj\.", r"\1.attention.\2."),
    (r"(semantic_decoder\.encoder\.\d+)\.self_attn_layer_norm\.", r"\1.norm."),
    (r"^semantic_decoder\.adapter_1\.", "semantic_decoder.lateral."),
    (r"^semantic_decoder\.layer_1\.", "semantic_decoder.fuse."),
    (r"^semantic_decoder\.mask_projection\.", "semantic_decoder.embed."),
    # the query decoder and its heads
    (r"^transformer_module\.queries_features\.weight$", "query_decoder.content"),
    (r"^transformer_module\.queries_embedder\.weight$", "query_decoder.position"),
    (r"^transformer_module\.level_embed\.weight$", "query_decoder.level"),
    (r"^transformer_module\.decoder\.layers\.", "query_decoder.layers."),
    (r"^transformer_module\.decoder\.layernorm\.", "segment_head.norm."),
    (r"^transformer_module\.decoder\.mask_predictor\.mask_embedder\.(\d+)\.0\.", r"segment_head.mask.layers.\1."),
    (r"^class_predictor\.", "segment_head.classify."),
    (r"\.cross_attn\.out_proj\.", ".cross.attention.output."),
    (r"\.cross_attn\.in_proj_", ".cross.attention.in_proj_"),
    (r"\.cross_attn_layer_norm\.", ".cross.norm."),
    (r"\.self_attn\.q_proj\.", ".among.attention.query."),
    (r"\.self_attn\.k_proj\.", ".among.attention.key."),
    (r"\.self_attn\.v_proj\.", ".among.attention.value."),
    (r"\.self_attn\.out_proj\.", ".among.attention.output."),
    (r"\.self_attn_layer_norm\.", ".among.norm."),
    # feed-forward of both
    (r"(_decoder\..*)\.fc1\.", r"\1.feedforward.expand."),
    (r"(_decoder\..*)\.fc2\.", r"\1.feedforward.contract."),
    (r"(_decoder\..*)\.final_layer_norm\.", r"\1.feedforward.norm."),
)

#: From our names to those of transformers, all applied one after the other.
_TO_TRANSFORMERS: _Rules = (
    (r"^backbone\.model\.", "model.pixel_level_module.encoder."),
    # Swin, in the names of transformers 4
    (r"_module\.encoder\.swin\.", "_module.encoder."),
    (r"(blocks\.\d+)\.attention\.q_proj\.", r"\1.attention.self.query."),
    (r"(blocks\.\d+)\.attention\.k_proj\.", r"\1.attention.self.key."),
    (r"(blocks\.\d+)\.attention\.v_proj\.", r"\1.attention.self.value."),
    (r"(blocks\.\d+)\.attention\.relative_position_bias\.", r"\1.attention.self."),
    (r"(blocks\.\d+)\.attention\.o_proj\.", r"\1.attention.output.dense."),
    (r"(blocks\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(blocks\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
    # feed-forward of both decoders
    (r"\.feedforward\.expand\.", ".fc1."),
    (r"\.feedforward\.contract\.", ".fc2."),
    (r"\.feedforward\.norm\.", ".final_layer_norm."),
    # the pixel decoder
    (r"^semantic_decoder\.level$", "semantic_decoder.level_embed"),
    (r"^semantic_decoder\.project\.", "semantic_decoder.input_projections."),
    (r"^(semantic_decoder\.encoder)\.(\d+)\.attention\.offsets\.", r"\1.\2.self_attn.sampling_offsets."),
    (r"^(semantic_decoder\.encoder)\.(\d+)\.attention\.weights\.", r"\1.\2.self_attn.attention_weights."),
    (r"^(semantic_decoder\.encoder)\.(\d+)\.attention\.(value|output)\.", r"\1.\2.self_attn.\3_proj."),
    (r"^(semantic_decoder\.encoder)\.(\d+)\.norm\.", r"\1.\2.self_attn_layer_norm."),
    (r"^semantic_decoder\.encoder\.", "semantic_decoder.encoder.layers."),
    (r"^semantic_decoder\.lateral\.", "semantic_decoder.adapter_1."),
    (r"^semantic_decoder\.fuse\.", "semantic_decoder.layer_1."),
    (r"^semantic_decoder\.embed\.", "semantic_decoder.mask_projection."),
    (r"^semantic_decoder\.", "model.pixel_level_module.decoder."),
    # the query decoder and its heads
    (r"^query_decoder\.content$", "model.transformer_module.queries_features.weight"),
    (r"^query_decoder\.position$", "model.transformer_module.queries_embedder.weight"),
    (r"^query_decoder\.level$", "model.transformer_module.level_embed.weight"),
    (r"^query_decoder\.layers\.", "model.transformer_module.decoder.layers."),
    (r"\.cross\.attention\.output\.", ".cross_attn.out_proj."),
    (r"\.cross\.attention\.", ".cross_attn."),  # query, key and value are stacked later
    (r"\.cross\.norm\.", ".cross_attn_layer_norm."),
    (r"\.among\.attention\.query\.", ".self_attn.q_proj."),
    (r"\.among\.attention\.key\.", ".self_attn.k_proj."),
    (r"\.among\.attention\.value\.", ".self_attn.v_proj."),
    (r"\.among\.attention\.output\.", ".self_attn.out_proj."),
    (r"\.among\.norm\.", ".self_attn_layer_norm."),
    (r"^segment_head\.norm\.", "model.transformer_module.decoder.layernorm."),
    (
        r"^segment_head\.mask\.layers\.(\d+)\.",
        r"model.transformer_module.decoder.mask_predictor.mask_embedder.\1.0.",
    ),
    (r"^segment_head\.classify\.", "class_predictor."),
)
#: Weight of "no object" in the class loss of Mask2Former, transformers' default.
_NO_OBJECT_WEIGHT = 0.1

_BACKBONE = "backbone.model."
_DEPTH = ("depth_decoder.", "geometry.")
_OURS = ("backbone.model.", "semantic_decoder.", "depth_decoder.", "query_decoder.", "segment_head.", "geometry.")
#: Learned vectors, which some authors store with a batch dimension of one.
_VECTORS = re.compile(r"(query_decoder|geometry)(\.decoder|\.backup)?\.(content|position|level|latents)")


#: For each naming a weight name that no other naming has.
_SIGNS = {
    "detectron2": "sem_seg_head.",
    "transformers": "pixel_level_module.",
    "dvps": "semantic_decoder.",
}
_NAMINGS: dict[str, _Rules] = {"detectron2": _DETECTRON2, "transformers": _TRANSFORMERS, "dvps": ()}


@dataclass(frozen=True)
class Renamed:
    """A checkpoint translated to this project's names.

    Attributes
    ----------
    weights : for ``DvpsNet.load_state_dict``, with ``strict=False`` if it has no depth half.
    left_over : names that have no counterpart in DvpsNet.
    """

    weights: dict[str, Tensor]
    left_over: tuple[str, ...]


def naming_of(names: Iterable[str]) -> str | None:
    """The naming of these weights: ``"detectron2"``, ``"transformers"``, ``"dvps"``, or None if unknown."""
    names = tuple(names)
    return next((naming for naming, sign in _SIGNS.items() if any(sign in name for name in names)), None)


def rename(state_dict: Mapping[str, Any], naming: str) -> Renamed:
    """Translate weights from the names of ``naming`` (see ``naming_of``) to this project's names.

    ``state_dict`` maps names to tensors or NumPy arrays of any shape. Names without a counterpart are listed in the
    result; buffers that are not weights are dropped.
    """
    rules = [(re.compile(pattern), replacement) for pattern, replacement in _NAMINGS[naming]]
    weights: dict[str, Tensor] = {}
    left_over = []
    for foreign, value in state_dict.items():
        name = foreign
        for pattern, replacement in rules:
            name = pattern.sub(replacement, name)
        if not name or is_derived(name):
            continue
        if not name.startswith(_OURS):
            left_over.append(foreign)
            continue
        if name.startswith(_BACKBONE):
            name = _BACKBONE + canonical_name(name.removeprefix(_BACKBONE))
        weights.update(_split(name, torch.as_tensor(value)))
    # Frozen batch norms have no count of batches; those of this project do.
    for name in [name for name in weights if name.endswith("running_mean")]:
        weights.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return Renamed(weights, tuple(left_over))


def from_detectron2(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Translate detectron2's names (Mask2Former, and its extension by the DeepDPS authors) to this project's names.

    Parameters
    ----------
    state_dict : tensors or NumPy arrays by name, or a whole checkpoint that holds them under ``"model"``.

    Returns
    -------
    A state dict for ``DvpsNet.load_state_dict``. Plain Mask2Former lacks the depth weights, so pass ``strict=False``.

    Raises ``ValueError`` naming a weight that has no counterpart in DvpsNet.
    """
    inner = state_dict.get("model")
    return _renamed(inner if isinstance(inner, Mapping) else state_dict, "detectron2")


def from_transformers(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Translate weights of transformers' ``Mask2FormerForUniversalSegmentation`` (or ``Mask2FormerModel``).

    The result has this project's names and lacks the depth weights, so load it with ``strict=False``. Names of
    transformers 4 and 5 are supported. A stacked query, key and value projection (3C, C) becomes three of (C, C).
    Raises ``ValueError`` naming a weight that has no counterpart in DvpsNet.
    """
    return _renamed(state_dict, "transformers")


def to_transformers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the segmentation half of a ``DvpsNet`` to transformers' ``Mask2FormerForUniversalSegmentation``.

    Both transformers 4 and 5 save in these names. The three (C, C) projections of cross-attention become one of
    (3C, C). Two entries that transformers requires but does not use to predict get their initial values: the class
    weights (K+1,) of the loss, and the final norm of Swin. Depth weights are left out.
    """
    rules = [(re.compile(pattern), replacement) for pattern, replacement in _TO_TRANSFORMERS]
    result: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        if name.startswith(_DEPTH) or is_derived(name):
            continue
        if name.startswith(_BACKBONE):
            name = _BACKBONE + canonical_name(name.removeprefix(_BACKBONE))
        for pattern, replacement in rules:
            name = pattern.sub(replacement, name)
        result[name] = value
    for name in [name for name in result if ".cross_attn.query." in name]:
        parts = [result.pop(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
        result[name.replace(".query.", ".in_proj_")] = torch.cat(parts)
    classes = result["class_predictor.bias"]
    result["criterion.empty_weight"] = torch.ones_like(classes)
    result["criterion.empty_weight"][-1] = _NO_OBJECT_WEIGHT
    if (last := result.get("model.pixel_level_module.encoder.hidden_states_norms.stage4.weight")) is not None:
        result["model.pixel_level_module.encoder.swin.layernorm.weight"] = torch.ones_like(last)
        result["model.pixel_level_module.encoder.swin.layernorm.bias"] = torch.zeros_like(last)
    return result


def _renamed(state_dict: Mapping[str, Any], naming: str) -> dict[str, Tensor]:
    renamed = rename(state_dict, naming)
    if renamed.left_over:
        raise ValueError(f"{renamed.left_over[0]!r} is not a {naming} name of a Mask2Former or DeepDPS weight")
    return renamed.weights


def _split(name: str, value: Tensor) -> dict[str, Tensor]:
    """Split a stacked query, key and value; reshape learned vectors to two dimensions."""
    if _VECTORS.fullmatch(name) and value.ndim > 1:
        return {name: value.flatten(0, -2)}
    stem, stacked, kind = name.rpartition(".in_proj_")
    names = ("query", "key", "value")
    if not stacked:
        stem, stacked, kind = name.rpartition(".qkv.")
        names = ("q_proj", "k_proj", "v_proj")
    if not stacked:
        return {name: value}
    return {f"{stem}.{part}.{kind}": rows for part, rows in zip(names, value.chunk(3), strict=True)}
