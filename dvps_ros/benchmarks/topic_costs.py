"""Cost of each topic: bytes of a message, and processor time to build and to serialise it, as a table."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from dvps_ros import resources
from dvps_ros.config import PerceptionConfig, StreetConfig
from dvps_ros.errors import joined
from dvps_ros.nodes.frame import Frame
from dvps_ros.nodes.messages import info_of
from dvps_ros.nodes.outputs import pack, topics
from dvps_ros.nodes.packing import Buffer
from dvps_ros.runtime import Perceiver
from dvps_ros.simulation import Street, StreetCamera

#: Who needs a topic.
ADVICE = {
    "panoptic": "labels and objects in one image; `semantic` and `instance` hold the same in fewer bytes",
    "semantic": "what each pixel is: the cheapest labels",
    "instance": "which object each pixel belongs to",
    "confidence": "weighting labels, choosing pictures to label",
    "depth": "metres, for readers that compute points themselves",
    "depth/camera_info": "always beside `depth`",
    "camera_info": "the same, where RViz looks for it",
    "points": "mapping; the most expensive, see the two rows below",
    "obstacles": "a costmap: this instead of `points`",
    "ground": "a costmap beside `obstacles`: what clears it",
    "instances": "tracking and grasping: things only",
    "markers": "RViz; objects as boxes where vision_msgs is missing",
    "detections": "objects as boxes",
    "objects": "objects as a planner has them: pose, velocity, covariance",
    "overlay": "people, not robots",
}
#: Settings that make a topic smaller, as rows of their own: topic, parameters, advice.
VARIANTS = (
    ("points", {"points_stride": 2}, "most maps need no more than a quarter of the points"),
    ("points", {"points_stride": 4}, "previews over wireless links"),
    ("depth", {"depth_encoding": "16UC1"}, "half the bytes, in millimetres, up to 65 m"),
)
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Cost:
    """Cost of one message: its serialised bytes, and processor seconds to build and to serialise it."""

    size: float
    build: float
    serialize: float

    @property
    def total(self) -> float:
        """Processor seconds in total."""
        return self.build + self.serialize


def street_frames(perceiver: Perceiver, width: int, height: int, count: int) -> list[Frame]:
    """Results of ``perceiver`` on ``count`` rendered images of a street, as the node would publish them."""
    frames = []
    with StreetCamera(Street(1, StreetConfig(width=width, height=height))) as camera:
        for number in range(count):
            picture = camera.render(2.0 + 3.0 * number).rgb
            scene = perceiver.step(picture, camera.intrinsics)
            info, header = info_of(camera.intrinsics), Header(frame_id="camera_optical_frame")
            frame = Frame(header, picture, scene, camera.intrinsics, info, perceiver.labels, PerceptionConfig())
            frames.append(frame)
    return frames


def measure(frames: Sequence[Frame], wanted: Sequence[str], repeats: int) -> Cost:
    """Mean bytes and median processor time of the messages of all ``wanted`` topics of one frame."""
    buffers = {name: Buffer() for name in wanted}
    sizes, builds, serializations = [], [], []
    for frame in frames:
        for _ in range(repeats):
            fresh = replace(frame)  # without cached results of an earlier call
            start = time.process_time()
            messages = pack(fresh, wanted, buffers)
            built = time.process_time()
            size = sum(len(serialize_message(message)) for message in messages.values())
            serializations.append(time.process_time() - built)
            builds.append(built - start)
            sizes.append(size)
    return Cost(statistics.mean(sizes), statistics.median(builds), statistics.median(serializations))


def costs(frames: Sequence[Frame], repeats: int) -> dict[str, Cost]:
    """The costs of each single topic, of ``VARIANTS``, and of all topics together, by the name of the table's row."""
    result = {}
    for name in topics():
        result[f"`~/{name}`"] = measure(frames, [name], repeats)
        for topic, settings, _ in VARIANTS:
            if topic == name:
                varied = [replace(frame, config=replace(frame.config, **settings)) for frame in frames]
                result[_variant(settings)] = measure(varied, [name], repeats)
    result["all of them"] = measure(frames, list(topics()), repeats)
    return result


def markdown(columns: Mapping[str, Mapping[str, Cost]], rate: float) -> str:
    """A Markdown table of ``costs`` (columns: one group of four for each picture size)."""
    advice = {f"`~/{name}`": text for name, text in ADVICE.items()}
    advice.update({_variant(settings): text for _, settings, text in VARIANTS})
    heads = [f"{size}: MB | MB/s at {rate:g} Hz | ms | ms/MB" for size in columns]
    lines = [f"| topic | {' | '.join(heads)} | turn it on for |", "|---|" + "---:|" * 4 * len(columns) + "---|"]
    for row in next(iter(columns.values())):
        cells = [_cells(column[row], rate) for column in columns.values()]
        lines.append(f"| {row} | {' | '.join(cells)} | {advice.get(row, '')} |")
    return "\n".join(lines)


def _cells(cost: Cost, rate: float) -> str:
    megabytes, milliseconds = cost.size / _MEGABYTE, 1000 * cost.total
    per_megabyte = f"{milliseconds / megabytes:.1f}" if megabytes >= 0.1 else "-"
    return f"{_figure(megabytes)} | {_figure(rate * megabytes)} | {milliseconds:.1f} | {per_megabyte}"


def _figure(value: float) -> str:
    """``value`` with about three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _variant(settings: Mapping[str, object]) -> str:
    return "… with " + ", ".join(f"`{name}: {value}`" for name, value in settings.items())


def _sizes(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    for text in texts:
        parts = text.lower().split("x")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) >= 32 for part in parts):
            raise ValueError(f"size {text!r} must be WIDTHxHEIGHT with both at least 32, e.g. 1024x512")
        yield int(parts[0]), int(parts[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 2 with one line for a wrong model or size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="models/street")
    parser.add_argument("--sizes", nargs="+", default=["1024x512", "2048x1024"])
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)  # with one thread, its processor time does not depend on the load of the machine
    try:
        sizes = list(_sizes(args.sizes))
        perceiver = Perceiver.load(resources.find(args.model))
        columns = {
            f"{width} x {height}": costs(street_frames(perceiver, width, height, args.frames), args.repeats)
            for width, height in sizes
        }
    except (ValueError, OSError) as error:
        print(f"dvps topics: {joined(error)}", file=sys.stderr)
        return 2
    print(markdown(columns, args.rate))
    return 0


if __name__ == "__main__":
    sys.exit(main())
