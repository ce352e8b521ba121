"""Runs dvps commands one after another, as a process of torchrun: ``torchrun .. distributed_commands.py FILE``.

FILE is a YAML list of pairs: the floating point type of weights that are made, and the command's arguments. Exit code:
that of the first command that failed.
"""

import sys
from pathlib import Path

import torch
import yaml

from dvps_ros.cli.main import main


def run_all(commands):
    """Run them in this process; the exit code of the first that fails, else 0."""
    before = torch.get_default_dtype()
    try:
        for dtype, arguments in commands:
            torch.set_default_dtype(getattr(torch, dtype))
            if code := main(arguments):
                return code
    finally:
        torch.set_default_dtype(before)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(run_all(yaml.safe_load(Path(sys.argv[1]).read_text())))
