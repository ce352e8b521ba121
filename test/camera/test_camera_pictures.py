"""Picture files: upright, whole, and of any depth."""

import cv2
import numpy as np
import pytest
from oriented_jpeg import oriented_jpeg

from dvps_ros.camera.pictures import read_picture, read_pixels


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_files_are_turned_upright(orientation, corner, tmp_path):
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :16] = (250, 20, 20)  # where the sensor's first pixels are
    (tmp_path / "a.jpg").write_bytes(oriented_jpeg(picture, orientation))
    rgb = read_picture(tmp_path / "a.jpg")
    assert rgb.shape == ((48, 32, 3) if orientation in (6, 8) else (32, 48, 3))
    rows, columns = (slice(2, 8) if at == 0 else slice(-8, -2) for at in corner)
    assert np.abs(rgb[rows, columns].astype(int) - (250, 20, 20)).max() < 30
    assert rgb.astype(int).sum() < 1.3 * 16 * 16 * 290


def test_files_of_twelve_bits(tmp_path):
    values = np.full((4, 6), 2048, np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    assert read_pixels(tmp_path / "a.png").wide
    assert np.array_equal(read_picture(tmp_path / "a.png"), np.full((4, 6, 3), 8))
    assert np.array_equal(read_picture(tmp_path / "a.png", 12), np.full((4, 6, 3), 128))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm"])
def test_every_kind_of_file(suffix, tmp_path):
    rgb = np.full((16, 24, 3), (200, 60, 20), np.uint8)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), rgb[..., ::-1])
    assert np.abs(read_picture(tmp_path / f"a{suffix}").astype(int) - rgb).max() <= 8


def test_broken_files_are_named(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for suffix in (".png", ".jpg"):
        data = cv2.imencode(suffix, noise)[1].tobytes()
        for length in (len(data) - 1, len(data) // 2, 30):
            (tmp_path / f"a{suffix}").write_bytes(data[:length])
            with pytest.raises(ValueError, match=rf"a\{suffix}: truncated"):
                read_picture(tmp_path / f"a{suffix}")
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "empty.png").touch()
    cv2.imwrite(str(tmp_path / "float.tiff"), np.zeros((4, 4, 3), np.float32))
    for name, words in (
        ("text.png", "not a readable"),
        ("empty.png", "not a readable"),
        ("float.tiff", "type float32"),
    ):
        with pytest.raises(ValueError, match=rf"{name}: .*{words}") as error:
            read_picture(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.png")
