"""Input of a soak test, resources of a process from /proc, and rates of the phases."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dvps_ros.config import SoakConfig, StreetConfig
from dvps_ros.nodes.messages import info_of
from dvps_ros.nodes.packing import Buffer, image_message
from dvps_ros.simulation import Street, StreetCamera


def process_figures(pid: int) -> dict[str, int]:
    """Resident and shared bytes, threads, open files and processor ticks of a process; zeros if it does not exist."""
    try:
        folder = Path("/proc") / str(pid)
        pages = (folder / "statm").read_text().split()
        # split after the name, which may contain blanks: in proc(5) state is field 3, utime and stime are 14 and 15
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        page = os.sysconf("SC_PAGE_SIZE")
        return {
            "resident": int(pages[1]) * page,
            "shared": int(pages[2]) * page,
            "threads": len(list((folder / "task").iterdir())),
            "files": len(list((folder / "fd").iterdir())),
            "ticks": int(fields[11]) + int(fields[12]),
        }
    except OSError:
        return dict.fromkeys(("resident", "shared", "threads", "files", "ticks"), 0)


def machine_ticks() -> int:
    """Processor ticks used by all processes of this machine, and by other virtual machines on its processor."""
    # the first line of proc(5)'s stat: user nice system idle iowait irq softirq steal
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split(None, 9)[1:9])
    return user + nice + system + irq + softirq + steal


def frames(settings: SoakConfig) -> list[tuple[Image, CameraInfo]]:
    """Images of a drive along a street, half a second apart, as messages with their camera_info."""
    result = []
    with StreetCamera(Street(settings.seed, StreetConfig())) as camera:
        info = info_of(camera.intrinsics)
        for number in range(settings.frames):
            frame = camera.render(number / 2 % camera.street.duration)
            header = Header(frame_id="soak_camera_optical_frame")
            result.append((image_message(header, frame.rgb, "rgb8", Buffer()), info))
            info.header.frame_id = header.frame_id
    return result


def phases_of(samples: Sequence[Mapping[str, Any]], ages: Sequence[float]) -> dict[str, dict[str, float]]:
    """Frames sent and answered per second, and ages in seconds, by phase; ``ages`` are the ages of all answers."""
    result = {}
    for phase in dict.fromkeys(sample["phase"] for sample in samples):
        part = [sample for sample in samples if sample["phase"] == phase]
        start, stop = part[0], part[-1]
        span = max(stop["seconds"] - start["seconds"], 1e-9)
        own = list(ages[start["answers"] : stop["answers"]])
        ticks = {key: stop[key] - start[key] for key in ("ticks", "busy")}
        per_second = span * os.sysconf("SC_CLK_TCK")
        result[phase] = {
            "seconds": span,
            "node's cores": ticks["ticks"] / per_second,
            "others' cores": (ticks["busy"] - ticks["ticks"]) / per_second,
            "sent": (stop["sent"] - start["sent"]) / span,
            "answered": (stop["answers"] - start["answers"]) / span,
            "age p50": float(np.median(own)) if own else float("nan"),
            "age p99": float(np.percentile(own, 99)) if own else float("nan"),
        }
    return result
