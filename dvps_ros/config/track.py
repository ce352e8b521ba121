"""How things keep their number from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

from dvps_ros.config.fields import option


@dataclass(frozen=True)
class TrackConfig:
    """The tracker: times in seconds, distances in metres (of the network's own where the camera is unknown)."""

    keep: float = option(1.0, "Seconds for which a thing that is not seen is expected where it should be.", low=0.0)
    reidentify: float = option(
        3.0, "Seconds for which a thing that is not seen may be found again elsewhere; at least keep counts.", low=0.0
    )
    max_gap: float = option(
        3.0, "A frame that comes this many seconds after the one before, or earlier than it, starts anew.", low=0.0
    )
    period: float = option(0.1, "Seconds between frames without stamps.", low=0.001)
    min_hits: int = option(
        2, "Frames in which a thing is seen before its track is confirmed, and published as an object.", low=1
    )
    min_overlap: float = option(
        0.15, "Intersection over union with its predicted place from which a thing is the same.", low=0.0, high=1.0
    )
    min_proximity: float = option(
        0.1, "Closeness in space, 0..1, from which a thing is the same without overlap.", low=0.0, high=1.0
    )
    min_similarity: float = option(
        0.5, "Cosine of two queries' embeddings below which things are not the same.", low=-1.0, high=1.0
    )
    depth_noise: float = option(0.03, "Deviation of a thing's depth from frame to frame, as a share of it.", low=0.0)
    acceleration: float = option(2.0, "Deviation of a thing's acceleration, m/s².", low=0.0)
    ego_motion: bool = option(True, "The camera's own motion is estimated from the picture.")
    max_speed: float = option(70.0, "A camera that moves faster than this, in m/s, is none.", low=0.0)
    max_turn: float = option(180.0, "A camera that turns faster than this, in degrees per second, is none.", low=0.0)
