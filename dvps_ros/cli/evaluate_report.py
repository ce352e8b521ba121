"""Report of ``dvps evaluate``: measures from counts, as text and as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvps_ros.metrics import DepthAwareVideoPanopticQuality, MeanIou, TrackingQuality

GROUPS = ("all", "thing", "stuff")


def summarize(quality: DepthAwareVideoPanopticQuality, classes: MeanIou) -> dict[str, Any]:
    """PQ, SQ and RQ, PQ by class, DPQ and DVPQ as far as counted, and mIoU.

    ``not_segmented`` lists the classes that occur in the labels without segments.
    """
    plain = quality.quality(1, None).compute()
    values, means, semantic = quality.compute(), quality.means(), classes.compute()
    limits = [limit for limit in quality.thresholds if limit is not None]
    nothing = dict.fromkeys(GROUPS, math.nan)
    tubes = [k for k in quality.frames if k > 1 and quality.windows[k]]

    def row(k: int, limit: float | None) -> dict[str, float]:
        name = f"k{k}/{'none' if limit is None else f'{limit:g}'}"
        return {group: values[name][group] for group in GROUPS}

    summary: dict[str, Any] = {
        "PQ": {group: plain[group] for group in GROUPS},
        "per_class": plain["per_class"],
        "absent": plain["absent"],
        "not_segmented": _not_segmented(plain["absent"], classes, semantic["absent"]),
        "mIoU": semantic,
        "DPQ": {**{f"{limit:g}": row(1, limit) for limit in limits}, "mean": means.get("DPQ", nothing)},
    }
    if tubes:
        summary["DVPQ"] = {
            **{f"k{k}/{limit:g}": row(k, limit) for k in tubes for limit in limits},
            "mean": means.get("DVPQ", nothing),
        }
        summary["VPQ"] = {f"k{k}": row(k, None) for k in tubes}
    return summary


def tracked(tracking: TrackingQuality, longest: int) -> dict[str, Any]:
    """``STQ`` with its parts and switches; empty if no sequence has more than one frame (``longest``)."""
    return {"STQ": tracking.compute()} if longest > 1 else {}


def _not_segmented(absent: list[str], classes: MeanIou, without_pixels: list[str]) -> list[str]:
    table = classes.table
    rows = [row for name, row in zip(table.names, table.sets, strict=True) if name not in without_pixels]
    return [name for name in absent if any(table.labels.index(name) in row for row in rows)]


def table(report: dict[str, Any]) -> str:
    """The measures as text for a terminal."""
    lines = [
        f"{report['model']} on {report['data']} ({report['split']}): {report['frames']} frames, "
        f"{report['sequences']} sequences, {report['seconds_per_frame']:.2f} s per frame on {report['device']}"
        + (f", {report['processes']} processes" if report["processes"] > 1 else ""),
        "",
        f"{'':12}{'all':>8}{'thing':>8}{'stuff':>8}",
    ]
    for measure_name in ("PQ", "SQ", "RQ"):
        lines.append(_row(measure_name, [report["PQ"][group][measure_name] for group in GROUPS]))
    named = [(f"DPQ {key}", row) for key, row in report["DPQ"].items()]
    named += [(f"VPQ {key}", row) for key, row in report.get("VPQ", {}).items()]
    named += [(f"DVPQ {key}", row) for key, row in report.get("DVPQ", {}).items()]
    lines += [_row(name, [row[group] for group in GROUPS]) for name, row in named if row]
    if stq := report.get("STQ"):
        lines.append(
            f"STQ {stq['STQ']:.1f} (association AQ {stq['AQ']:.1f}, segmentation SQ {stq['SQ']:.1f}); "
            f"{stq['switches']} id switches and {stq['fragments']} fragments; {stq['covered']} of {stq['seen']} true "
            "things of all frames were found"
        )
    lines += ["", f"{'class':16}{'PQ':>8}{'SQ':>8}{'RQ':>8}{'TP':>8}{'FP':>8}{'FN':>8}"]
    for name, row in report["per_class"].items():
        cells = "".join(f"{_number(row[key])}" for key in ("PQ", "SQ", "RQ"))
        lines.append(f"{name:16}{cells}" + "".join(f"{row[key]:8d}" for key in ("TP", "FP", "FN")))
    if report["not_segmented"]:
        lines.append(f"no PQ, because the labels have no segments: {', '.join(report['not_segmented'])}")
    if absent := [name for name in report["absent"] if name not in report["not_segmented"]]:
        lines.append(f"not in the means, because neither labelled nor predicted: {', '.join(absent)}")
    if report["mIoU"]["per_value"]:
        lines += ["", *_semantic(report["mIoU"])]
    depth = report["depth"]
    lines += ["", f"depth over {depth['pixels']} labelled pixels"]
    lines += ["  ".join(f"{name} {depth[name]:.3f}" for name in depth if name not in ("pixels", "invalid"))]
    if depth["invalid"]:
        lines.append(f"not in these errors, because not finite: {depth['invalid']} pixels")
    return "\n".join(lines)


def _semantic(measures: dict[str, Any]) -> list[str]:
    values = measures["per_value"]
    return [
        f"{'class':16}{'IoU':>8}",
        *(f"{name:16}{_number(iou)}" for name, iou in values.items()),
        f"{'mIoU':16}{_number(measures['mIoU'])}  over the {len(values)} classes in the labels",
    ]


def _row(name: str, values: list[float]) -> str:
    return f"{name:12}" + "".join(_number(value) for value in values)


def _number(value: float) -> str:
    return f"{'-':>8}" if math.isnan(value) else f"{value:8.1f}"


def without_nan(value: Any) -> Any:
    """``value`` with None for NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def write_report(report: dict[str, Any], path: Path | None) -> None:
    """Write the report as JSON, in which NaN is null; None: nothing is written."""
    if path is not None:
        from dvps_ros.files import write_bytes

        write_bytes(path, (json.dumps(without_nan(report), indent=2) + "\n").encode())
