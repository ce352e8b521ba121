"""Safe reading of pickled checkpoints: arrays, numbers, text and containers only; no code from a file is run.

A pickle names functions and classes, and ``pickle.load`` calls them. Here every name leads to a replacement in this
file, or to an error. NumPy's own unpickling is replaced, too: it takes an array's flags from the file, and can be made
to use raw bytes as object addresses.
"""

from __future__ import annotations

import pickle
import re
import tarfile
import warnings
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dvps_ros.errors import first_line

#: Allowed types of arrays: booleans, integers, floating point numbers.
_NUMBERS = re.compile(r"[<>=|]?[biuf][1248]")


class UnsafePickleError(ValueError):
    """A pickle asks for an object other than arrays, numbers, text and containers; none of its code was run."""


def read(path: str | Path) -> Any:
    """The content of a .pkl, .pth, .pt or .bin file: containers, numbers, text, NumPy arrays and torch tensors.

    Files of ``torch.save`` are read by ``torch.load(weights_only=True)``, all others by an unpickler that supports
    arrays and containers only. Arrays are unwrapped in mappings, three levels deep.

    Raises
    ------
    UnsafePickleError : a ``ValueError`` naming the object that the pickle asks for.
    FileNotFoundError : naming a missing file.
    ValueError : the file is truncated or not a pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file {path}")
    if tarfile.is_tarfile(path):  # the format before torch 0.1.10, where torch up to 2.5 ignored weights_only
        raise UnsafePickleError(f"{path} is a tar archive of an early torch.save, which cannot be read safely")
    with path.open("rb") as file:
        head = file.read(16)
    try:
        # By content, not by suffix: public checkpoints use both suffixes for both formats.
        return _read_torch(path) if head[:2] == b"PK" or _TORCH_MAGIC in head else _read_plain(path)
    except UnsafePickleError:
        raise
    # A damaged pickle can raise almost any exception.
    except Exception as error:
        raise ValueError(f"{path} is truncated or not a checkpoint ({_line(error)})") from error


#: The pickled number at the beginning of a file of ``torch.save`` before version 1.6.
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")


def _read_plain(path: Path) -> Any:
    with path.open("rb") as file:
        return _unwrapped(_Unpickler(file, path).load())


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old files cause a warning about TypedStorage
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if name is None:
            raise
        raise UnsafePickleError(_refusal(path, name.group(1))) from error


def _refusal(path: Path, name: str) -> str:
    return f"{path} is refused: it asks for {name}, but only arrays, tensors and containers are allowed"


def _line(error: Exception) -> str:
    return first_line(error).split(". ")[0].rstrip(".")


class _Dtype:
    """Replaces ``numpy.dtype``: called with the type's code; its state gives the byte order."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise ValueError(f"array of type {str(code)[:20]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order not in ("<", ">", "=", "|"):
            raise ValueError(f"byte order {str(order)[:20]!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Replaces an array that the pickle has created, until its state gives the numbers."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray | None = None):
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, fortran, data = state
        self.value = _numbers(data, dtype, shape, "F" if fortran else "C")


class _Dict(dict):
    """Replaces ``collections.OrderedDict``; attributes such as a state dict's ``_metadata`` are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Maker:
    """A function that a pickle may call. It has no attributes, so a pickle cannot change it."""

    __slots__ = ("_name",)

    def __init__(self, name: str):
        self._name = name

    def __call__(self, *arguments: Any) -> Any:
        return getattr(self, self._name)(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a function with a state")

    @staticmethod
    def empty(*_: Any) -> _Array:
        """``numpy.core.multiarray._reconstruct``: an array whose state follows later."""
        return _Array()

    @staticmethod
    def frombuffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
        """``numpy.core.numeric._frombuffer``, of protocol 5."""
        return _Array(_numbers(data, dtype, shape, order))

    @staticmethod
    def scalar(dtype: Any, data: Any) -> Any:
        """``numpy.core.multiarray.scalar``."""
        return _numbers(data, dtype, (), "C")[()].item()

    @staticmethod
    def nothing(*_: Any) -> bytes:
        """``bytes``: protocols 0 to 2 write empty bytes by it."""
        return b""

    @staticmethod
    def encode(text: str, encoding: str) -> bytes:
        """``_codecs.encode``: protocols 0 to 2 write bytes by it."""
        if encoding != "latin1":
            raise ValueError(f"encoding {encoding!r}")
        return text.encode("latin1")


def _numbers(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or order not in ("C", "F"):
        raise ValueError("array without type or order")
    if isinstance(data, str):  # bytes of Python 2
        data = data.encode("latin1")
    shape = tuple(shape)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("array of negative size")
    flat = np.frombuffer(data, dtype.dtype) if data else np.empty(0, dtype.dtype)
    if flat.size != prod(shape):
        raise ValueError(f"array of {flat.size} numbers, not {prod(shape)}")
    return flat.astype(dtype.dtype.newbyteorder("=")).reshape(shape, order=order)


_NUMPY = {
    ("numpy", "ndarray"): object,  # only an argument of _reconstruct
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{core}.{module}", name): _Maker(stand_in)
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", "empty"),
            ("multiarray", "scalar", "scalar"),
            ("numeric", "_frombuffer", "frombuffer"),
        )
    },
}
_CONTAINERS = {
    ("collections", "OrderedDict"): _Dict,
    ("_codecs", "encode"): _Maker("encode"),
    ("__builtin__", "bytes"): _Maker("nothing"),
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (set, frozenset, dict, list, tuple)
    },
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, path: Path):
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        found = {**_NUMPY, **_CONTAINERS}.get((module, name))
        if found is None:
            raise UnsafePickleError(_refusal(self._path, f"{module}.{name}"))
        return found


def _unwrapped(value: Any, depth: int = 3) -> Any:
    """``value`` with arrays instead of their replacements, in mappings down to ``depth``."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("array without content")
        return value.value
    if isinstance(value, Mapping) and depth:
        return {key: _unwrapped(item, depth - 1) for key, item in value.items()}
    return value
