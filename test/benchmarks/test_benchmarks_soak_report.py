"""What a soak's report judges, on runs made by hand. The run itself: test/nodes."""

import copy
import json

import cv2
import pytest

from dvps_ros.benchmarks.soak import report
from dvps_ros.benchmarks.soak_report import judge, picture, table

PHASES = ("warm-up", "full", "overload", "full again")
MIB = 2**20


def steady(seconds=120):
    """A minute of warm-up is left out; two frames a second are answered, ten sent in the middle third."""
    samples, sent = [], 0
    for second in range(seconds):
        phase = PHASES[min(4 * second // seconds, 3)]
        sent += 10 if phase == "overload" else 2
        answers = 2 * second + 2
        samples.append(
            {
                "seconds": float(second),
                "phase": phase,
                "sent": sent,
                "answers": answers,
                "age": 0.9,
                "resident": 800 * MIB + second % 7 * MIB,
                "shared": 230 * MIB,
                "threads": 25,
                "files": 19,
                "frames in": sent,
                "frames out": answers,
                "dropped": {"replaced": sent - answers},
            }
        )
    figures = {"seconds": 30.0, "sent": 2.0, "answered": 2.0, "age p50": 0.9, "age p99": 1.2}
    phases = {name: {**figures, "node's cores": 1.8, "others' cores": 0.1} for name in PHASES}
    answers = 2 * seconds
    end = {
        "sent": sent,
        "answers": answers,
        "readings": {"points": answers},
        "unaccounted": 0,
        "lost before the node": 0,
        "frames in": sent,
        "frames out": answers,
        "dropped": {"replaced": sent - answers},
    }
    return {"trouble": "", "phases": phases, "end": end, "facts": {}, "cores": 2, "samples": samples}


def failed(run, log=("all is well",)):
    return [verdict.name for verdict in judge(run, log) if not verdict.good]


def test_a_steady_run_is_good():
    assert failed(steady()) == []
    text = table(steady(), judge(steady(), []))
    assert "FAIL" not in text
    assert "overload" in text


def test_a_frame_whose_camera_info_was_replaced_in_transport_is_dropped_by_the_rule():
    run = copy.deepcopy(steady())
    run["end"]["dropped"]["no camera_info"] = 1
    assert failed(run) == []


def leak(run):
    for sample in run["samples"]:
        sample["resident"] += int(sample["seconds"] * 0.3 * MIB)  # 27 MiB in a minute and a half


def threads(run):
    run["samples"][-1]["threads"] += 1


def files(run):
    run["samples"][-1]["files"] += 3


def slower(run):
    run["phases"]["full again"]["age p50"] *= 1.3


def queue(run):
    run["phases"]["overload"]["age p50"] *= 2


def lost(run):
    run["end"]["unaccounted"] = 1


def other_cause(run):
    run["end"]["dropped"]["error"] = 1


def many_halves(run):
    run["end"]["dropped"]["no camera_info"] = run["end"]["sent"] // 50


def unanswered(run):
    run["end"]["answers"] -= 10


def unread(run):
    run["end"]["readings"]["overlay"] = 0


def broke_off(run):
    run["trouble"] = "no answer for 120 s"


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (leak, ["memory, first and last", "memory, straight line"]),
        (threads, ["threads"]),
        (files, ["files"]),
        (slower, ["latency does not grow"]),
        (queue, ["no queue, under overload, too"]),
        (lost, ["every frame accounted for"]),
        (other_cause, ["drops by the rule alone"]),
        (many_halves, ["drops by the rule alone"]),
        (unanswered, ["every answer arrives"]),
        (unread, ["every reader is served"]),
        (broke_off, ["ran to its end"]),
    ],
)
def test_each_fault_is_found(fault, names):
    run = copy.deepcopy(steady())
    fault(run)
    assert failed(run) == names
    assert table(run, judge(run, [])).count("FAIL") == len(names)


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "[ERROR] [1.0] [perception]: frame lost: no"])
def test_an_error_in_the_log_is_found(line):
    assert failed(steady(), ["fine", line]) == ["log without errors"]


def test_what_other_processes_take_is_not_the_nodes_latency():
    run = steady()
    run["phases"]["full again"].update({"age p50": 1.7, "answered": 1.1, "others' cores": 1.05})
    assert failed(run) == []


def test_the_report_is_written_and_decides_the_exit_code(tmp_path, capsys):
    (tmp_path / "samples.json").write_text(json.dumps(steady()))
    (tmp_path / "node.txt").write_text("all is well\n")
    assert report(tmp_path, [tmp_path / "node.txt"]) == 0
    assert "cores" in capsys.readouterr().out
    kept = json.loads((tmp_path / "soak.json").read_text())
    assert {"date", "machine", "verdicts", "samples", "phases", "end"} <= set(kept)
    assert cv2.imread(str(tmp_path / "soak.png")).shape[1] > 900
    (tmp_path / "node.txt").write_text("Traceback (most recent call last):\n")
    assert report(tmp_path, [tmp_path / "node.txt"]) == 1


def test_a_run_that_broke_off_early_is_judged_and_drawn(tmp_path):
    run = {**steady(), "samples": steady()["samples"][:3], "phases": {}, "trouble": "ended"}
    assert "ran to its end" in failed(run)
    assert "FAIL" in table(run, judge(run, []))
    picture(run, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 1000
