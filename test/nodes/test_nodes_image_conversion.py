"""cv_bridge is tried in a child process before it is trusted, and is given only what it converts rightly."""

import array
import importlib.util
import sys

import numpy as np
import pytest
from sensor_msgs.msg import Image

from dvps_ros.camera.pixel_formats import FORMATS
from dvps_ros.nodes.image_conversion import ImageBridge, select_bridge
from dvps_ros.nodes.messages import image_to_rgb

SIZE = (6, 8)
LIMIT = 1 << 20
NARROW = [name for name, layout in FORMATS.items() if layout.bytes == 1]

#: A cv_bridge that does what the real one does with rows and byte orders, for two encodings.
WORKING = """
import numpy as np

class CvBridge:
    def imgmsg_to_cv2(self, message, wanted):
        assert wanted == "rgb8"
        order = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0)}[message.encoding]
        width = int(message.step / 3)
        pixels = np.ndarray((message.height, width, 3), np.uint8, buffer=message.data)[:, : message.width]
        if message.is_bigendian:
            raise AttributeError("newbyteorder was removed from the ndarray class")
        return np.ascontiguousarray(pixels[..., order])
"""
#: What broken ones do when they are imported, and the words for it.
BROKEN = {
    "crash": (
        "import ctypes; ctypes.string_at(0)",
        ["crashes, SIGSEGV: built for another NumPy than", "pip install 'numpy<2'"],
    ),
    "refused": (
        "raise ImportError('numpy.core.multiarray failed to import')",
        ["does not load: ImportError: numpy.core.multiarray failed to import; built", "pip install 'numpy<2'"],
    ),
    "swapped": (
        WORKING.replace("(0, 1, 2)", "(1, 2, 0)").replace("(2, 1, 0)", "(0, 2, 1)"),
        ["converts nothing correctly, rgb8: wrong values)"],
    ),
}


def message(encoding, padding=0, big=False, seed=0):
    """A picture of noise, each row followed by ``padding`` bytes of rubbish."""
    layout = FORMATS[encoding]
    kind = np.dtype(f"{'>' if big else '<'}u{layout.bytes}")
    values = np.random.default_rng(seed).integers(0, 256, (*SIZE, layout.channels)).astype(kind)
    rows = np.concatenate([values.view(np.uint8).reshape(SIZE[0], -1), np.full((SIZE[0], padding), 0xA5, np.uint8)], 1)
    result = Image(height=SIZE[0], width=SIZE[1], encoding=encoding, step=rows.shape[1], is_bigendian=int(big))
    result.data = array.array("B", rows.tobytes())
    return result


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package cv_bridge of a given text before all others, and chooses anew."""
    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # restored in the end, whatever is imported meanwhile
    monkeypatch.delitem(sys.modules, "cv_bridge")

    def choose(text):
        (tmp_path / "cv_bridge.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        return select_bridge.__wrapped__()

    return choose


def test_one_that_works_is_used_for_what_it_converts_rightly(install):
    bridge, description = install(WORKING)
    assert description == "image conversion: cv_bridge for rgb8, bgr8"
    for encoding in FORMATS:
        for padding in range(4):
            for big in (False, True):
                sent = message(encoding, padding, big)
                assert bridge.takes(sent) == (encoding in ("rgb8", "bgr8") and not padding and not big)
                assert np.array_equal(image_to_rgb(sent, bridge, LIMIT), image_to_rgb(sent, None, LIMIT))


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_one_costs_a_line_that_says_how_to_mend_it(install, how):
    text, words = BROKEN[how]
    bridge, description = install(text)
    assert bridge is None
    assert description.startswith("image conversion: built in (cv_bridge ")
    assert all(part in description for part in words), description
    assert "\n" not in description


def test_without_cv_bridge_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert select_bridge.__wrapped__() == (None, "image conversion: built in (cv_bridge is not installed)")


def test_what_a_bridge_raises_is_one_line():
    class Failing:
        def imgmsg_to_cv2(self, message, wanted):
            raise RuntimeError("[bgr8] is not a color format.\nBut OpenCV wants one.")

    with pytest.raises(ValueError, match=r"^rgb8 image cannot be decoded: [^\n]*$"):
        image_to_rgb(message("rgb8"), ImageBridge(Failing(), frozenset(NARROW)), LIMIT)


@pytest.mark.skipif(importlib.util.find_spec("cv_bridge") is None, reason="cv_bridge is not installed")
def test_the_installed_cv_bridge_and_our_own_way_give_the_same_picture():
    bridge, description = select_bridge()
    if bridge is None:  # it crashes with the NumPy that is installed, and is not used
        pytest.skip(description)
    for encoding in FORMATS:
        for padding, big in ((0, False), (1, False), (0, True)):
            sent = message(encoding, padding, big)
            ours = image_to_rgb(sent, None, LIMIT).astype(int)
            assert np.abs(image_to_rgb(sent, bridge, LIMIT) - ours).max() <= 1, encoding
