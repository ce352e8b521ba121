"""dvps soak: its user's mistakes. What it judges: test/benchmarks; the run itself: test/nodes."""

import pytest

from dvps_ros.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "words"), [(("--seconds", "1"), "from 5 up"), (("--overload", "x"), "from 1 up")]
)
def test_a_bad_number_is_one_line(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["soak", *arguments])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_a_missing_model_is_one_line(tmp_path, capsys):
    assert main(["soak", "--model", "models/none", "--folder", str(tmp_path)]) == 2
    assert "models/none" in capsys.readouterr().err
