"""dvps_ros.demo.tally: hand-made runs."""

import numpy as np
import pytest

from dvps_ros.demo.tally import Tally, thing_ids
from dvps_ros.labels import CITYSCAPES, VOID

ROAD, CAR_1, CAR_2 = 0, 13001, 13002


def panoptic() -> np.ndarray:
    values = np.full((40, 60), ROAD, np.int32)
    values[:10, :10], values[20:30, 20:30], values[:5, 50:] = CAR_1, CAR_2, VOID
    return values


def rows(table: str) -> dict[str, str]:
    return {row[:20].strip(): row[20:].strip() for row in table.split("\n")}


def run(seconds: int = 10, camera: int = 10, answers: int = 2, age: float = 0.25) -> Tally:
    tally = Tally(CITYSCAPES, 80.0)
    for frame in range(seconds * camera + 1):
        tally.image(frame / camera)
    for frame in range(seconds * answers + 1):
        tally.answer(panoptic(), frame / answers, age)
        tally.score(panoptic(), np.full((40, 60), 11.0), panoptic(), np.full((40, 60), 10.0))
    return tally


def test_a_perfect_run():
    table = rows(run().table({}))
    assert table["camera"].startswith("10.0 Hz   101 frames of 60x40")
    assert table["answers"].startswith("2.0 Hz   21 frames")
    assert table["age of an answer"].startswith("250 ms   p50; p99 250 ms")
    assert table["PQ"].startswith("100.0   things 100.0, stuff 100.0; over 2 of 19 classes")
    assert table["depth absRel"].startswith("0.100   RMSE 1.00 m, delta<1.25 1.000")
    assert table["objects per frame"].startswith("2.0   2 track ids, 2 of them in several frames")


def test_the_table_tells_how_well_objects_keep_their_names():
    """A car changes its number once, and once the street changes, where the same numbers are other objects."""
    tally, swapped = Tally(CITYSCAPES, 80.0), panoptic()
    swapped[swapped == CAR_1] = 13009
    depth = np.full((40, 60), 10.0)
    for seen, street in ((panoptic(), "a"), (panoptic(), "a"), (swapped, "a"), (swapped, "a"), (swapped, "b")):
        tally.score(seen, depth, panoptic(), depth, street)
    row = rows(tally.table({}))["STQ"]
    # of the four objects, three are found whole and one in two halves: (3 + 0.5) / 4
    assert row.startswith(
        "93.5   association 87.5, segmentation 100.0; 1 id switches and 0 fragments in 10 found of 10"
    )


def test_the_line_tells_the_last_seconds():
    tally = run()
    line = tally.line(10.0, now=10.0)
    assert "camera 10.2 Hz" in line  # 51 frames at both ends of five seconds
    assert "age  250 ms |  2 objects | PQ 100.0 | absRel 0.100" in line
    tally.answer(panoptic(), 60.0, 2.0)
    assert "answers  0.2 Hz | age 2000 ms" in tally.line(60.0, now=60.0)


def test_before_anything_came_in():
    tally = Tally(CITYSCAPES, 80.0)
    assert "age    - |  0 objects | PQ - | absRel -" in tally.line(0.0, 5.0)
    table = rows(tally.table({}))
    assert (table["age of an answer"], table["PQ"].split()[0], table["depth absRel"].split()[0]) == ("-", "-", "-")


def test_beyond_range_counts_as_the_range():
    tally = Tally(CITYSCAPES, 80.0)
    depth = np.array([[np.inf, np.nan, 20.0, 5.0]])
    tally.score(np.zeros((1, 4), np.int32), depth, np.zeros((1, 4), np.int32), np.array([[40.0, 40.0, 20.0, 0.0]]))
    assert "absRel 0.500" in tally.line(0.0, 0.0)  # (|80 - 40| / 40 + 0) / 2; unknown and unlabelled ones left out


def test_the_truths_sky_and_blind_pixels_are_no_labels():
    tally = Tally(CITYSCAPES, 80.0)
    truth = np.array([[np.inf, np.nan, 20.0]])  # REP 117, 118
    tally.score(np.zeros((1, 3), np.int32), np.array([[70.0, 5.0, 22.0]]), np.zeros((1, 3), np.int32), truth)
    assert "absRel 0.100" in tally.line(0.0, 0.0)


def test_the_nodes_own_figures():
    diagnostics = {
        "latency network p50 (ms)": "101.4",
        "latency network p99 (ms)": "150.0",
        "latency merge p50 (ms)": "50.2",
        "latency merge p99 (ms)": "60.2",
        "latency pack p50 (ms)": "0.2",
        "latency age p50 (ms)": "300.2",
        "latency total p50 (ms)": "201.4",
        "latency total p99 (ms)": "250.0",
        "dropped: replaced": "30",
        "dropped: too old": "2",
    }
    table = rows(run().table(diagnostics))
    assert table["one frame's work"] == "201 ms   p50; p99 250 ms; network 101, merge 50"
    assert table["answers"].endswith("21 frames; dropped: 30 for a newer one, 2 too old")


@pytest.mark.parametrize(("value", "expected"), [(VOID, []), (ROAD, []), (CAR_1, [CAR_1]), (19000, [])])
def test_only_things_are_objects(value, expected):
    assert thing_ids(np.full((2, 2), value), CITYSCAPES) == expected
