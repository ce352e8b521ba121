"""The console script ``dvps``: parses the subcommand, and reports a user's mistake in one line with exit code 2."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from dvps_ros import __version__
from dvps_ros.errors import joined

SUBCOMMANDS = (
    "train",
    "evaluate",
    "predict",
    "bench",
    "convert",
    "render",
    "label",
    "ablate",
    "demo",
    "soak",
    "topics",
)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` to stderr and exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``dvps`` with all its subcommands.

    Each file dvps_ros/cli/<subcommand>.py has ``add_parser(subparsers)`` and ``run(args) -> int``. Slow imports belong
    into ``run``.
    """
    parser = OneLineParser(prog="dvps", description="Depth-aware panoptic perception: train, measure and use it.")
    parser.add_argument("--version", action="version", version=f"dvps_ros {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=OneLineParser)
    for name in SUBCOMMANDS:
        subcommand = importlib.import_module(f"dvps_ros.cli.{name}")
        subcommand.add_parser(subparsers)
        subparsers.choices[name].set_defaults(run=subcommand.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``dvps``; returns the exit code.

    It is 0 on success, 1 if a model fails on a frame, 2 after a user's mistake and 130 after Ctrl-C.
    """
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except (ValueError, OSError) as error:
        return _failed(args.command, joined(error), 2)
    except KeyboardInterrupt:
        return _failed(args.command, "interrupted", 130)
    except RuntimeError as error:
        from dvps_ros.runtime import DeviceMemoryError, NonFiniteOutputError

        if not isinstance(error, DeviceMemoryError | NonFiniteOutputError):
            raise
        return _failed(args.command, joined(error), 1)


def _failed(command: str, message: str, code: int) -> int:
    print(f"dvps {command}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
