"""Streams whose pictures can be read but are odd: said once, after enough of them, and only then."""

import numpy as np

from dvps_ros.camera.pixel_formats import Pixels
from dvps_ros.camera.stream_watch import FRAMES, StreamWatch


def wide(highest, encoding="mono16"):
    values = np.zeros((4, 6), np.uint16)
    values[1, 2] = highest
    return Pixels(values, encoding)


def said(watch, pixels, count, bits=0):
    return [line for _ in range(count) for line in watch.add(pixels, bits)]


def test_bits_that_are_never_used_are_told_once():
    watch = StreamWatch()
    assert said(watch, wide(3900), FRAMES - 1) == []
    [line] = said(watch, wide(100), 3 * FRAMES)
    assert "30 pictures of 16-bit values reach 3900 at most of 65535" in line
    assert line.endswith("if the camera gives 12 bits, set bits to 12")
    assert watch.end() == []


def test_the_bits_that_a_camera_is_likely_to_have():
    for highest, bits in ((900, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16383, 14)):
        [line] = said(StreamWatch(), wide(highest, "bayer_rggb16"), FRAMES)
        assert line.endswith(f"set bits to {bits}")


def test_nothing_is_said_of_pictures_that_use_their_bits():
    assert said(StreamWatch(), wide(16384), FRAMES) == []
    assert said(StreamWatch(), wide(4095), FRAMES, bits=12) == []
    assert said(StreamWatch(), Pixels(np.zeros((4, 6), np.uint8), "mono8"), 2 * FRAMES) == []
    one_bright = StreamWatch()
    assert said(one_bright, wide(60000), 1) + said(one_bright, wide(100), FRAMES) == []


def test_bits_that_are_too_few_are_told():
    [line] = said(StreamWatch(), wide(60000), FRAMES, bits=12)
    assert line == "30 pictures of 16-bit values reach 60000 at most, with bits 12: what exceeds 4095 is cut off"


def test_other_bits_start_anew():
    watch = StreamWatch()
    assert len(said(watch, wide(4000), FRAMES)) == 1
    assert said(watch, wide(4000), FRAMES, bits=12) == []
    assert len(said(watch, wide(4000), FRAMES, bits=10)) == 1


def test_a_short_stream_is_judged_at_its_end():
    watch = StreamWatch()
    assert said(watch, wide(4000), 3) == []
    assert "3 pictures of 16-bit values reach 4000" in watch.end()[0]
    assert StreamWatch().end() == []


def test_twelve_bits_narrowed_to_eight():
    values = np.full((4, 6), 16, np.uint8)  # 4095 * 255 / 65535 = 15.9
    [line] = said(StreamWatch(), Pixels(values, "mono8", narrowed=True), FRAMES)
    assert line.endswith("set bits to 12")


def test_lost_colors_are_told_once():
    watch = StreamWatch()
    gray = Pixels(np.zeros((4, 6), np.uint8), "mono8", colorless="no colors")
    assert said(watch, gray, 50) == ["no colors"]
