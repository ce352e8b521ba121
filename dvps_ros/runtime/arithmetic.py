"""The device and the precision of a network."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "32", "16", "bf16"]
DTYPES = {"32": torch.float32, "16": torch.float16, "bf16": torch.bfloat16}


def choose_device(device: str | torch.device) -> torch.device:
    """The torch device of a name; ``"auto"`` is CUDA if available. Raises ``ValueError`` for an unavailable device."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} is not available: torch sees {torch.cuda.device_count()} CUDA devices")
    return chosen


def choose_precision(precision: Precision, device: torch.device) -> str:
    """``"32"``, ``"16"`` or ``"bf16"`` for a device; ``ValueError`` for an unknown name."""
    if precision != "auto" and precision not in DTYPES:
        raise ValueError(f"precision is {precision!r}, must be one of auto, {', '.join(DTYPES)}")
    if precision == "auto":
        return "16" if device.type == "cuda" else "32"
    return precision
