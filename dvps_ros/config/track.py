"""Tracking of things across frames."""

from __future__ import annotations

from dataclasses import dataclass

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class TrackConfig:
    """The tracker: times in seconds, distances in metres, or relative if the camera is unknown."""

    keep: float = option(1.0, "Seconds for which a lost thing is expected at its predicted place.", low=0.0)
    reidentify: float = option(
        3.0, "Seconds for which a lost thing may be found again elsewhere; values below keep act as keep.", low=0.0
    )
    max_gap: float = option(
        3.0, "Seconds between two frames after which tracking starts again, as it does if time goes back.", low=0.0
    )
    period: float = option(0.1, "Seconds between frames without stamps.", low=0.001)
    min_hits: int = option(
        2, "Number of frames with a thing after which its track is confirmed and published as an object.", low=1
    )
    min_overlap: float = option(
        0.15, "Smallest intersection over union of a thing and a track's prediction for a match.", low=0.0, high=1.0
    )
    min_proximity: float = option(
        0.1, "Smallest proximity in space, 0..1, for a match without overlap.", low=0.0, high=1.0
    )
    min_similarity: float = option(
        0.5, "Cosine of the queries' embeddings up to which a match has its lowest score.", low=-1.0, high=1.0
    )
    depth_noise: float = option(
        0.03, "Standard deviation of a thing's depth between frames, as a share of it.", low=0.0
    )
    acceleration: float = option(2.0, "Standard deviation of a thing's acceleration, m/s².", low=0.0)
    ego_motion: bool = option(True, "Estimate the camera's motion from the image.")
    max_speed: float = option(70.0, "Largest plausible speed of the camera, m/s.", low=0.0)
    max_turn: float = option(180.0, "Largest plausible turn rate of the camera, degrees per second.", low=0.0)
