"""Training of a model: losses, optimizer, schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class LossConfig:
    """Weights and constants of the losses (deep supervision on every layer)."""

    class_weight: float = option(2.0, "Cross-entropy of the class.", low=0.0)
    no_object_weight: float = option(0.1, "Weight of 'no object' in this cross-entropy.", low=0.0)
    mask_weight: float = option(5.0, "Binary cross-entropy of the mask.", low=0.0)
    dice_weight: float = option(5.0, "Dice of the mask.", low=0.0)
    semantic_weight: float = option(
        2.0,
        "Likelihood of pixels with a class but without a segment (labels without instances, or of several classes).",
        low=0.0,
    )
    pixel_class_weight: float = option(
        0.0,
        "Cross-entropy of a linear classifier of E_pixel at every labelled pixel; models do not keep the classifier. "
        "0: none.",
        low=0.0,
    )
    depth_weight: float = option(2.5, "Scale-invariant depth of matched segments.", low=0.0)
    backup_weight: float = option(2.5, "Scale-invariant depth of the backup map.", low=0.0)
    uncertainty_weight: float = option(
        0.5, "Laplace likelihood of ln depth, if network.uncertainty is on; 0: it is not trained.", low=0.0
    )
    uncertainty_detach_mean: bool = option(True, "This likelihood trains only the spread; false: also the depth.")
    points: int = option(12544, "Points per mask in losses and matching.", low=1)
    semantic_points: int = option(1024, "Points per image in the semantic likelihood.", low=1)
    semantic_balance: float = option(
        0.5,
        "The weight of a class in the semantic likelihood of an image is its area to the power of 1 minus this; "
        "0: every pixel counts alike, 1: every class.",
        low=0.0,
        high=1.0,
    )
    oversample: float = option(3.0, "Candidate points per kept point.", low=1.0)
    importance: float = option(0.75, "Share of points chosen by uncertainty.", low=0.0, high=1.0)
    semantic_to_depth_weight: float = option(0.0, "Guidance Eqs. 3-5; 0 switches it off (paper: 0.1).", low=0.0)
    depth_to_semantic_weight: float = option(0.0, "Guidance Eq. 6; 0 switches it off (paper: 0.1).", low=0.0)
    depth_to_semantic_form: Literal["equation", "similarity"] = option("equation", "Which form of Eq. 6.")
    semantic_to_depth_levels: tuple[int, ...] = option(
        (4,), "Strides of the depth decoder's maps in Eqs. 3-5, of 4 (E_depth), 8, 16, 32; mean of all.", low=4
    )
    depth_to_semantic_levels: tuple[int, ...] = option(
        (4,), "Strides of the semantic decoder's maps in Eq. 6, of 4 (E_pixel), 8, 16, 32; mean of all.", low=4
    )
    patch: int = option(5, "Side of the guidance patches in pixels; odd.", low=3)
    margin: float = option(0.3, "Margin alpha of Eq. 5.", low=0.0)
    min_negatives: int = option(1, "Smallest number of negatives, and of positives, of an anchor.", low=1)
    tau: float = option(10.0, "Depth scale tau of Eq. 6 in metres.", low=1e-3)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a linear warm-up and polynomial decay."""

    learning_rate: float = option(1e-4, "Peak learning rate.", low=0.0)
    backbone_factor: float = option(0.1, "Learning rate factor of the backbone.", low=0.0)
    weight_decay: float = option(0.05, "Weight decay; 0 on norms and embeddings.", low=0.0)
    warmup_steps: int = option(500, "Steps of the linear warm-up from 0.1 of the peak.", low=0)
    power: float = option(0.9, "Exponent of the polynomial decay.", low=0.0)
    clip_norm: float = option(0.01, "Full-model gradient clipping norm.", low=0.0)


@dataclass(frozen=True)
class TrainingConfig:
    """Schedule of a training run."""

    batch_size: int = option(8, "Images per step and device.", low=1)
    accumulate: int = option(1, "Steps whose gradients are added before one update.", low=1)
    max_steps: int = option(90000, "Optimiser steps.", low=1)
    precision: Literal["32", "bf16", "16"] = option("16", "Automatic mixed precision: 16 needs CUDA, bf16 any device.")
    validate_every: int = option(2000, "Steps between validations.", low=1)
    validate_batches: int = option(0, "Validation images; 0: all.", low=0)
    checkpoint_every: int = option(500, "Steps between resumable checkpoints.", low=1)
    log_every: int = option(20, "Steps between logged values.", low=1)
    ema_decay: float = option(
        0.0, "Decay of the moving average of weights that is validated and exported; 0: none.", low=0.0, high=0.9999999
    )
    images: int = option(4, "Validation images drawn into TensorBoard.", low=0)
    seed: int = option(1, "Seed of weights, sampling and augmentation.", low=0)
    check_memory: bool = option(True, "Run a step with synthetic images first, to find out at once if memory suffices.")
