"""dvps_ros.resources: shipped files are found from anywhere."""

import pytest

from dvps_ros import resources


def test_a_path_that_exists_wins(tmp_path, monkeypatch):
    (tmp_path / "setup.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert resources.find("setup.py").resolve() == tmp_path / "setup.py"
    assert resources.find(tmp_path / "setup.py") == tmp_path / "setup.py"


def test_shipped_files_are_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resources.find("models").is_dir()


@pytest.mark.parametrize("layout", ["local/lib/python3.12/dist-packages", "lib/python3.12/site-packages"])
def test_share_folder_of_a_workspace(tmp_path, monkeypatch, layout):
    module = tmp_path / layout / "dvps_ros" / "resources.py"
    wanted = tmp_path / "share" / "dvps_ros" / "models" / "only_here"
    wanted.mkdir(parents=True)
    monkeypatch.setattr(resources, "__file__", str(module))
    assert resources.find("models/only_here") == wanted


def test_missing_is_named():
    with pytest.raises(FileNotFoundError, match="models/no_such_model"):
        resources.find("models/no_such_model")
