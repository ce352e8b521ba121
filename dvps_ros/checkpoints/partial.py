"""Initialization of a network with the fitting weights of another network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class TakenOver:
    """Result of copying weights between networks: names in the order of the state.

    Attributes
    ----------
    taken : copied from the other network.
    kept : unchanged, because the other network has no weight of this name and shape.
    unused : names of the other network that have no counterpart in this one.
    """

    taken: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        whole = len(self.taken) + len(self.kept)
        text = f"copied {len(self.taken)} of {whole} tensors"
        if self.kept:
            text += f"; missing or of another shape: {_by_part(self.kept)}"
        if self.unused:
            text += f"; not used: {_by_part(self.unused)}"
        return text


def take_over(net: nn.Module, weights: Mapping[str, Tensor]) -> TakenOver:
    """Copy those of ``weights`` (tensors of any shape by name) to ``net`` whose name and shape it has.

    Raises ``ValueError`` if none fits.
    """
    own = net.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ValueError("no weight fits the configured network by name and shape")
    net.load_state_dict(fitting, strict=False)
    kept = tuple(name for name in own if name not in fitting)
    return TakenOver(tuple(fitting), kept, tuple(name for name in weights if name not in own))


def _by_part(names: Iterable[str]) -> str:
    """Number of ``names`` in each part of the network, e.g. ``backbone 260, depth_decoder 3``."""
    return ", ".join(f"{part} {count}" for part, count in Counter(name.split(".")[0] for name in names).items())
