"""Recordings as sources: raw and compressed images with their camera_info, decoded as in the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dvps_ros.camera.calibration import is_rectified
from dvps_ros.camera.compressed import compressed_pixels
from dvps_ros.camera.pictures import MAX_PIXELS
from dvps_ros.camera.pixel_formats import raw_pixels, to_rgb
from dvps_ros.camera.stream_watch import StreamWatch
from dvps_ros.datasets.bags import Bag, open_bag
from dvps_ros.datasets.recording_cameras import Cameras
from dvps_ros.datasets.recording_times import Times, read_times
from dvps_ros.datasets.recording_topics import COMPRESSED, choose_topics, info_topic
from dvps_ros.datasets.streams import Given, Pace, Runs, Source, SourceFrame
from dvps_ros.structures import CameraFrame


def open_recording(path: Path, given: Given) -> list[Source]:
    """A source for each topic that ``given`` names, or for the only image topic (see ``choose_topics``).

    Raises ``ValueError`` naming the recording and its fault: truncated, a topic is missing, no topic or several topics
    remain, or camera_info is missing.
    """
    with open_bag(path) as bag:
        topics = choose_topics(bag, given)
        stem = path.name if path.is_dir() else path.stem
        sources: list[Source] = []
        for topic in topics:
            name = stem if len(topics) == 1 else f"{stem}_{topic.strip('/').replace('/', '_')}"
            infos = "" if given.camera is not None else info_topic(bag, topic, given)
            if not infos:
                given.check_camera(f"recording {path} has no camera_info for {topic}")
            sources.append(Recording(path, name, topic, infos, given))
        return sources


class Recording(Source):
    """The images of one topic, with their cameras from the camera_info topic ``infos`` (empty: none)."""

    def __init__(self, path: Path, name: str, topic: str, infos: str, given: Given) -> None:
        super().__init__(path, name)
        self.topic, self._infos, self._given = topic, infos, given
        self._times: Times | None = None

    def frames(self, every: float, max_gap: float) -> Iterator[SourceFrame]:
        """See ``Source``; times are those of ``read_times``.

        Raises ``ValueError`` naming the recording, topic and time of a damaged image or an unusable camera_info.
        """
        runs, pace, watch, given = Runs(self.name), Pace(every, max_gap), StreamWatch(), self._given
        with open_bag(self.path) as bag:
            times = self._read_times(bag)
            rectified = given.rectified or is_rectified(self.topic)
            cameras = Cameras(bag, self._infos, times.by_header, rectified, given.need_camera)
            self.remarks = [*times.remarks, *cameras.remarks]
            read = compressed_pixels if bag.types[self.topic] == COMPRESSED else raw_pixels
            for stamp, recorded, data in self._kept(bag, times):
                gap = pace.gap(stamp) if times.timed else None
                if times.timed and not pace.keep(stamp):
                    continue
                message = bag.message(self.topic, data)
                try:
                    pixels = read(message, MAX_PIXELS)
                    image = to_rgb(pixels, given.bits)
                    camera = given.intrinsics(*image.shape[:2]) or cameras.at(stamp, recorded, *image.shape[:2])
                except ValueError as error:
                    at = f"{stamp / 1e9 - pace.start:.1f} s after the start"
                    raise ValueError(f"recording {self.path}, {self.topic}, {at}: {error}") from error
                self.remarks += watch.add(pixels, given.bits)
                yield runs.add(CameraFrame(image, camera, stamp, message.header.frame_id), gap)
        self.remarks += [*watch.end(), *cameras.image_remarks()]
        if runs.count < times.kept.sum():
            self.remarks.append(f"{runs.count} of {times.kept.sum()} pictures are used, one every {every:g} s")

    def _read_times(self, bag: Bag) -> Times:
        """The times of all messages, from a first pass over the recording that decodes no image."""
        if self._times is None:
            rows = bag.serialized(self.topic)
            self._times = read_times((bag.stamp(data), recorded, data) for recorded, data in rows)
            self.timed = self._times.timed
        return self._times

    def _kept(self, bag: Bag, times: Times) -> Iterator[tuple[int, int, bytes]]:
        """Stamp (ns), time of recording (ns) and bytes of each message that ``times`` keeps."""
        for number, (recorded, data) in enumerate(bag.serialized(self.topic)):
            if number == len(times.stamps):
                raise ValueError(f"recording {self.path} changed while it was read")
            if times.kept[number]:
                yield int(times.stamps[number]), recorded, data
