"""The panoptic networks of transformers that a pair may have: how each is given a picture, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, PretrainedConfig

from dvps_ros.config.network import COARSEST_STRIDE, MAP_STRIDE
from dvps_ros.errors import first_line

#: Kinds whose output is class and mask logits of queries. Those with a square input see no picture of another shape.
SEGMENTATION_KINDS = ("mask2former", "maskformer", "oneformer", "eomt", "eomt_dinov3")
_SQUARE_KINDS = ("eomt", "eomt_dinov3")
#: Files of which a tokenizer has one; without them transformers makes a tokenizer that knows no words.
_WORDS = ("tokenizer.json", "vocab.json")
#: OneFormer is told its task in words (Jain et al., CVPR 2023).
_TASK = "the task is panoptic"


class Queries(NamedTuple):
    """What a panoptic network answers: class_logits (Q, K+1), mask_logits (Q, h/4, w/4) of its (h, w) input."""

    class_logits: Tensor
    mask_logits: Tensor


class PanopticNetwork(nn.Module):
    """A panoptic network of transformers behind one form of input and output.

    Parameters
    ----------
    network : of one of ``SEGMENTATION_KINDS``.
    task : (1, T) int64 token ids of OneFormer's task; None for other kinds.
    """

    def __init__(self, network: nn.Module, task: Tensor | None = None) -> None:
        super().__init__()
        self.network = network
        self.task: Tensor | None
        self.register_buffer("task", task, persistent=False)

    def forward(self, pixels: Tensor) -> Queries:
        """The answer for one picture (1, 3, H, W), normalised; it is padded with zeros to multiples of 32."""
        height, width = pixels.shape[-2:]
        pixels = F.pad(pixels, (0, -width % COARSEST_STRIDE, 0, -height % COARSEST_STRIDE))
        more = {} if self.task is None else {"task_inputs": self.task}
        output = self.network(pixel_values=pixels, **more)
        masks = output.masks_queries_logits
        quarter = [side // MAP_STRIDE for side in pixels.shape[-2:]]
        if list(masks.shape[-2:]) != quarter:  # EoMT with patches of another size than 16
            masks = F.interpolate(masks, quarter, mode="bilinear", align_corners=False)
        return Queries(output.class_queries_logits[0], masks[0])


def square_side(settings: PretrainedConfig) -> int:
    """The side in pixels of the square that a network's input is; 0 where it takes pictures of any shape."""
    return settings.image_size if settings.model_type in _SQUARE_KINDS else 0


def task_tokens(settings: PretrainedConfig, source: Path) -> Tensor | None:
    """(1, T) int64: OneFormer's panoptic task by the tokenizer of its folder; None for other kinds.

    Raises ``ValueError`` where the folder has no usable tokenizer.
    """
    if settings.model_type != "oneformer":
        return None
    if not any((source / name).is_file() for name in _WORDS):
        raise ValueError(f"segmentation: {source} has no tokenizer ({' or '.join(_WORDS)}), which a oneformer needs")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=True)
        found = tokenizer([_TASK], padding="max_length", max_length=settings.task_seq_len, truncation=True)
    except Exception as error:  # a broken folder makes transformers raise almost anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(f"segmentation: {source} has no usable tokenizer ({reason})") from error
    return torch.tensor(found["input_ids"]) * torch.tensor(found["attention_mask"])
