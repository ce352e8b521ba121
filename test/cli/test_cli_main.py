"""The dvps command: help, bad arguments, and a user's mistakes in one line."""

import subprocess
import sys

import pytest

from dvps_ros.cli import main as cli
from dvps_ros.cli.main import SUBCOMMANDS, main
from dvps_ros.runtime import DeviceMemoryError, NonFiniteOutputError


def exit_code(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_every_subcommand_has_complete_help(command, capsys):
    assert exit_code(command, "--help") == 0
    text = capsys.readouterr().out
    assert f"usage: dvps {command}" in text


def test_help_lists_the_subcommands(capsys):
    assert exit_code("--help") == 0
    text = capsys.readouterr().out
    assert all(f"\n    {command} " in text for command in SUBCOMMANDS)


@pytest.mark.parametrize("arguments", [(), ("fly",), ("evaluate",), ("evaluate", "--limit", "x"), ("--fast",)])
def test_a_bad_argument_is_one_line_and_exit_2(arguments, capsys):
    assert exit_code(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("dvps")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("a key\nis wrong"), 2, "dvps evaluate: a key is wrong\n"),
        (FileNotFoundError("no data set folder x"), 2, "dvps evaluate: no data set folder x\n"),
        (PermissionError(13, "Permission denied", "x"), 2, "dvps evaluate: [Errno 13] Permission denied: 'x'\n"),
        (NonFiniteOutputError("the output is not finite"), 1, "dvps evaluate: the output is not finite\n"),
        (DeviceMemoryError("out of memory"), 1, "dvps evaluate: out of memory\n"),
        (KeyboardInterrupt(), 130, "dvps evaluate: interrupted\n"),
    ],
)
def test_a_failure_is_one_line(error, code, line, monkeypatch, capsys):
    def fail(args):
        raise error

    parser = cli.build_parser()
    namespace = parser.parse_args(["evaluate", "--model", "m", "--data", "d"])
    namespace.run = fail
    monkeypatch.setattr(cli, "build_parser", lambda: type("P", (), {"parse_args": lambda self, argv: namespace})())
    assert main([]) == code
    assert capsys.readouterr().err == line


def test_an_error_of_the_program_stays_a_traceback(monkeypatch):
    namespace = cli.build_parser().parse_args(["evaluate", "--model", "m", "--data", "d"])
    namespace.run = lambda args: 1 / 0
    monkeypatch.setattr(cli, "build_parser", lambda: type("P", (), {"parse_args": lambda self, argv: namespace})())
    with pytest.raises(ZeroDivisionError):
        main([])


def test_the_parser_loads_nothing_heavy():
    code = (
        "import sys, dvps_ros.cli.main as m; m.build_parser(); "
        "print(*{'torch', 'lightning', 'cv2', 'mujoco', 'rclpy', 'transformers'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
