"""How far the simulated street's look strays from its own: each option 0 leaves the default look as it is."""

from __future__ import annotations

from dataclasses import dataclass

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class LookConfig:
    """Domain randomisation of the rendered street (Tobin et al., IROS 2017; Tremblay et al., CVPRW 2018)."""

    any_surface: float = option(
        0.0, "Probability that a surface gets any colors and patterns instead of its own.", low=0.0, high=1.0
    )
    any_light: float = option(
        0.0, "Share of streets in any light and air (glare, dusk, night, fog), exposed anyhow.", low=0.0, high=1.0
    )
    wear: float = option(
        0.0, "Most dirt, grain and dappled shade on surfaces, as a share of their brightness.", low=0.0, high=1.0
    )
    scenery: float = option(
        0.0,
        "Probability of each more: ragged and bare trees, road paint, manholes and patches, railings, fuller parking.",
        low=0.0,
        high=1.0,
    )
    hood: float = option(
        0.0, "Share of streets in a traffic lane on which the car's own hood is seen; it is void.", low=0.0, high=1.0
    )
