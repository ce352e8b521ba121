"""What splits and thins a stream of pictures."""

import numpy as np

from dvps_ros.datasets.streams import Pace


def test_pace_keeps_the_beat_despite_jitter_and_notices_gaps():
    rng = np.random.default_rng(0)
    stamps = (np.arange(600) * 0.1 + rng.uniform(-0.01, 0.01, 600) + 5) * 1e9
    pace = Pace(0.5, 2.0)
    kept = [stamp for stamp in stamps.astype(int).tolist() if pace.keep(stamp)]
    assert 115 <= len(kept) <= 121
    last = int(stamps[-1])
    assert pace.gap(last + 3 * 10**9).startswith("no picture for 3.0 s")
    assert "jumps back" in pace.gap(last - 10**9)
    assert pace.keep(last - 10**9)
