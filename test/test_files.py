"""Files that appear whole or not at all, with the permissions that the umask asks for."""

import os

import pytest

from dvps_ros import files


@pytest.fixture
def umask():
    """Sets the process's umask; the test's end sets it back."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_bytes(tmp_path / "a.png", b"data")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mask", "of_file", "of_folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_others_may_read_what_the_umask_lets_them(mask, of_file, of_folder, tmp_path, umask):
    umask(mask)
    files.write_bytes(tmp_path / "inside" / "a.bin", b"data")
    assert (tmp_path / "inside" / "a.bin").read_bytes() == b"data"
    assert (tmp_path / "inside" / "a.bin").stat().st_mode & 0o777 == of_file
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    files.open_to_others(private)
    assert private.stat().st_mode & 0o777 == of_folder
    assert umask(mask) == mask  # unchanged
