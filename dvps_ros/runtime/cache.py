"""The user's cache of ONNX programs: each is made once for a network and a size, appears complete, and is checked.

A program is ``$XDG_CACHE_HOME/dvps_ros/programs/NETWORK/HxW.onnx``. ``HxW.json`` beside it holds its SHA-256 and the
run times that were checked with it. NETWORK is a hash of weights, configuration, the network's code and package
versions.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import torch

import dvps_ros.network
from dvps_ros.checkpoints import file_hash
from dvps_ros.errors import first_line
from dvps_ros.files import open_to_others, write_bytes
from dvps_ros.network import DvpsNet
from dvps_ros.runtime.agreement import Agreement
from dvps_ros.runtime.tracing import FlatNetwork, quiet, write_onnx

_LOG = logging.getLogger("dvps_ros")


def user_folder() -> Path:
    """The folder of this user's programs (XDG Base Directory Specification: a relative XDG_CACHE_HOME is ignored)."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = configured if configured.is_absolute() else Path(os.path.expanduser("~"), ".cache")
    return cache / "dvps_ros" / "programs"


class ProgramCache:
    """The ONNX programs of one network.

    Parameters
    ----------
    net : in float32.
    folder : the folder of programs; None: ``user_folder()``.
    """

    def __init__(self, net: DvpsNet, folder: Path | None = None) -> None:
        self._net = FlatNetwork(net).eval()
        self._folder = (folder or user_folder()) / network_key(net)

    def recent(self) -> tuple[int, int] | None:
        """(H, W) of the program that was used last; None: there is none."""
        used = sorted((path.stat().st_mtime, path.stem) for path in self._folder.glob("*x*.json"))
        height, _, width = used[-1][1].partition("x") if used else ("", "", "")
        return (int(height), int(width)) if height.isdecimal() and width.isdecimal() else None

    def program(self, size: tuple[int, int]) -> Path:
        """The program for images of ``size`` (H, W); it is made if it is missing or damaged.

        A lock is held meanwhile, so that two nodes that start together make one program. Raises ``ValueError`` in one
        line if the folder cannot be written or the network cannot be exported.
        """
        path = self._path(size)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_suffix(".lock")):
                if not self._is_whole(path):
                    self._make(size, path)
                os.utime(path.with_suffix(".json"))
        except OSError as error:
            raise ValueError(
                f"programs cannot be kept in {self._folder} ({error.strerror}): name another folder in XDG_CACHE_HOME"
            ) from error
        return path

    def is_checked(self, size: tuple[int, int], run_time: str) -> bool:
        """Whether ``run_time`` (name, version, precision) passed the check on this machine (see ``note``)."""
        return _machine(run_time) in _read(self._path(size)).get("checked", {})

    def note(self, size: tuple[int, int], run_time: str, agreement: Agreement) -> None:
        """Record that ``run_time`` was checked on this machine, with its agreement.

        Where the record cannot be written, the next start checks again.
        """
        path = self._path(size)
        try:
            with _locked(path.with_suffix(".lock")):
                record = _read(path)
                record.setdefault("checked", {})[_machine(run_time)] = str(agreement)
                _write(path, record)
        except OSError as error:
            _LOG.warning(f"{path.with_suffix('.json')} cannot be written: {error.strerror}")

    def _path(self, size: tuple[int, int]) -> Path:
        return self._folder / f"{size[0]}x{size[1]}.onnx"

    def _is_whole(self, path: Path) -> bool:
        return path.is_file() and file_hash(path) == _read(path).get("sha256")

    def _make(self, size: tuple[int, int], path: Path) -> None:
        device = next(self._net.parameters()).device
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as draft:
            new = Path(draft, path.name)
            # The caller may be in inference mode and autocast; neither may be traced.
            with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False), quiet():
                try:
                    write_onnx(self._net, torch.zeros(1, 3, *size, device=device), new, optimize=False)
                except OSError:
                    raise
                except Exception as error:  # the exporter raises many types
                    raise ValueError(f"the network cannot be exported to ONNX: {first_line(error)}") from error
            open_to_others(new)
            digest = file_hash(new)
            os.replace(new, path)
        _write(path, {"sha256": digest})


def network_key(net: DvpsNet) -> str:
    """A hash (32 hexadecimal digits) of everything that a program depends on besides its size."""
    digest = hashlib.sha256(json.dumps(asdict(net.config), sort_keys=True).encode())
    for package in ("torch", "onnx", "onnxscript"):
        version = importlib.metadata.version(package) if importlib.util.find_spec(package) else "none"
        digest.update(f"{package} {version};".encode())
    for source in sorted(Path(dvps_ros.network.__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _machine(run_time: str) -> str:
    return f"{run_time} on {_processors()}"


@lru_cache(maxsize=1)
def _processors() -> str:
    """The kinds of this machine's processor and GPUs: results of a run time hold for them alone."""
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        rows = []
    names = [
        row.partition(":")[2].strip() for row in rows if row.lower().startswith(("model name", "cpu part", "flags"))
    ]
    kind = hashlib.sha256("\n".join(sorted(set(names))).encode()).hexdigest()[:16]
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return " + ".join((f"{platform.machine()} {kind}", *gpus))


def _read(path: Path) -> dict:
    """The record of a program; empty if it is missing or unreadable."""
    try:
        record = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write(path: Path, record: dict) -> None:
    write_bytes(path.with_suffix(".json"), json.dumps(record, indent=1).encode())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; the system releases it whenever the process ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
