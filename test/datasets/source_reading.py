"""Reading sources in tests."""

from dvps_ros.datasets.sources import open_sources
from dvps_ros.datasets.streams import Given

FREE = Given(need_camera=False)
PLAIN = Given()


def frames(path, given=PLAIN, every=0.0, max_gap=2.0):
    (source,) = open_sources([path], given)
    return list(source.frames(every, max_gap))


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)
