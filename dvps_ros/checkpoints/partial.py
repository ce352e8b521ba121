"""Starting a network from the weights of another one, as far as they fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class TakenOver:
    """What one network got from another: names of its state, in order.

    Attributes
    ----------
    taken : now as in the other network.
    kept : as before, because the other network has none of this name and shape.
    unused : of the other network, without a place in this one.
    """

    taken: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        whole = len(self.taken) + len(self.kept)
        text = f"took over {len(self.taken)} of {whole} tensors"
        if self.kept:
            text += f"; not there or of another shape: {_by_part(self.kept)}"
        if self.unused:
            text += f"; not used: {_by_part(self.unused)}"
        return text


def take_over(net: nn.Module, weights: Mapping[str, Tensor]) -> TakenOver:
    """Copy into ``net`` each of ``weights`` (names to tensors of any shape) whose name and shape it has.

    Raises ``ValueError`` when none fits.
    """
    own = net.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise ValueError("no weight fits the configured network by name and shape")
    net.load_state_dict(fitting, strict=False)
    kept = tuple(name for name in own if name not in fitting)
    return TakenOver(tuple(fitting), kept, tuple(name for name in weights if name not in own))


def _by_part(names: Iterable[str]) -> str:
    """``backbone 260, depth_decoder 3``: how many tensors each part of the network has among ``names``."""
    return ", ".join(f"{part} {count}" for part, count in Counter(name.split(".")[0] for name in names).items())
