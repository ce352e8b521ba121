"""Domain randomization of the simulated street; 0 for an option keeps the default look."""

from __future__ import annotations

from dataclasses import dataclass

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class LookConfig:
    """Domain randomization of the rendered street (Tobin et al., IROS 2017; Tremblay et al., CVPRW 2018)."""

    any_surface: float = option(0.0, "Probability of random colors and patterns on a surface.", low=0.0, high=1.0)
    any_light: float = option(
        0.0, "Share of streets with random light (glare, dusk, night, fog) and exposure.", low=0.0, high=1.0
    )
    wear: float = option(
        0.0, "Largest amount of dirt, grain and dappled shade, as a share of brightness.", low=0.0, high=1.0
    )
    scenery: float = option(
        0.0,
        "Probability of each extra: irregular and bare trees, road paint, manholes and patches, railings, more parked "
        "cars.",
        low=0.0,
        high=1.0,
    )
    hood: float = option(
        0.0,
        "Share of streets in a traffic lane on which the car's own hood is visible; its label is void.",
        low=0.0,
        high=1.0,
    )
