"""Test files whose modules are missing are left out and named, instead of failing to be collected."""

import subprocess
import sys
from pathlib import Path

import requirements
from requirements import lacking

HERE = Path(__file__).resolve().parent


def test_what_is_missing_is_found_through_helpers(tmp_path, monkeypatch):
    (tmp_path / "helper.py").write_text("from not_there.part import thing\n")
    (tmp_path / "test_it.py").write_text("import os\nimport helper, nor_this\n\ndef test(): import only_inside\n")
    monkeypatch.setitem(requirements.HELPERS, "helper", tmp_path / "helper.py")
    assert lacking(tmp_path / "test_it.py") == {"not_there", "nor_this"}


def test_nothing_is_missing_here():
    assert {name for path in HERE.rglob("test_*.py") for name in lacking(path)} == set()


def test_a_file_that_lacks_something_is_named_and_the_others_run(tmp_path):
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (tmp_path / "test_lacks.py").write_text("import not_there\n")
    (tmp_path / "test_runs.py").write_text("def test_it():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path)]
    options = ["-o", f"pythonpath={HERE}", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "test_lacks.py was left out: not_there is not installed" in done.stdout
