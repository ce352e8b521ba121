"""Pickles are read for their arrays; nothing that they ask for is run."""

import builtins
import io
import os
import pickle
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from dvps_ros.checkpoints.pickles import UnsafePickleError, read

ARRAYS = {
    "matrix": np.arange(6, dtype="f4").reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3).astype("f2")),
    "big endian": np.arange(3, dtype=">i4"),
    "number": np.array(3.5),
    "empty": np.zeros((0, 3), "f4"),
    "flags": np.array([True, False]),
    "bytes": np.arange(200, dtype="u1"),
    "strided": np.arange(12)[::3],
}


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_arrive(tmp_path, protocol):
    content = {
        "model": OrderedDict(ARRAYS),
        "author": "somebody",
        "iteration": np.int64(7),
        "rate": np.float32(0.5),
        "rest": [1, (2.5, None), {"a"}, frozenset({2}), True, b"raw", b""],
    }
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(content, protocol))
    found = read(tmp_path / "c.pkl")
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found["model"][name], array, strict=False)
        assert found["model"][name].dtype == array.dtype.newbyteorder("=")
        torch.as_tensor(found["model"][name]).clone()  # torch takes it as it is
    assert {key: found[key] for key in ("author", "iteration", "rate", "rest")} == {
        key: content[key] for key in ("author", "iteration", "rate", "rest")
    }


def test_arrays_of_python_2_arrive(tmp_path):
    # What numpy of Python 2 wrote with protocol 2: text opcodes hold the bytes.
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01bt\x52"
        b"(I1\n(I2\ntcnumpy\ndtype\n(U\x02f4I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntbI00\nU\x08"
        + np.array([1.5, -2.0], "<f4").tobytes()
        + b"tb"
    )
    (tmp_path / "c.pkl").write_bytes(b"\x80\x02}U\x01w" + array + b"s.")
    np.testing.assert_array_equal(read(tmp_path / "c.pkl")["w"], np.array([1.5, -2.0], "f4"))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["c.pth", "c.pkl"])
def test_files_of_torch_arrive_whatever_their_ending(tmp_path, old, name):
    weight = torch.arange(6.0).reshape(2, 3)
    torch.save({"model": {"w": weight}}, tmp_path / name, _use_new_zipfile_serialization=not old)
    assert torch.equal(read(tmp_path / name)["model"]["w"], weight)


@pytest.mark.parametrize("name", ["e.pkl", "e.pth"])
@pytest.mark.parametrize("writer", ["pickle", "torch", "old torch"])
@pytest.mark.parametrize("call", ["system", "eval", "touch", "getattr"])
def test_code_is_refused_and_does_not_run(tmp_path, name, writer, call):
    trace, path = tmp_path / "ran", tmp_path / name
    evil = {
        "system": Calls(os.system, f"touch {trace}"),
        "eval": Calls(builtins.eval, f"open({str(trace)!r}, 'w')"),
        "touch": Calls(Path.touch, trace),
        "getattr": Calls(getattr, "", "join"),
    }[call]
    content = {"model": {"w": evil}}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(UnsafePickleError, match="is refused: it asks for") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


def test_the_trap_works():
    """Read carelessly, the pickles above do run."""
    ran = []
    builtins._dvps_trap = ran.append
    try:
        pickle.loads(pickle.dumps(Calls(eval, "__import__('builtins')._dvps_trap(1)")))
    finally:
        del builtins._dvps_trap
    assert ran == [1]


def test_objects_of_numpy_are_refused(tmp_path):
    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"w": np.array([{}, None], object)}))
    with pytest.raises(ValueError, match="array of type 'O8'"):
        read(tmp_path / "c.pkl")
    # A type whose state says that its bytes were no objects would have NumPy take them for addresses.
    addresses = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(X\x02\x00\x00\x00O8I0\nI1\ntR(I3\nX\x01\x00\x00\x00|NNNI-1\nI-1\nI0\ntbI00\nC\x08AAAAAAAAtb."
    )
    (tmp_path / "c.pkl").write_bytes(b"\x80\x03" + addresses)
    with pytest.raises(ValueError, match="array of type 'O8'"):
        read(tmp_path / "c.pkl")


@pytest.mark.parametrize(
    "body",
    [
        b"cnumpy.core.multiarray\n_reconstruct\n}X\x01\x00\x00\x00aI1\nsb.",  # a state for a function
        b"cnumpy\ndtype\n}X\x01\x00\x00\x00aI1\nsb.",  # ... for a class
        b"ccollections\nOrderedDict\nN}X\x01\x00\x00\x00aI1\ns\x86b.",  # attributes of a class
        b"cnumpy.core.numeric\n_frombuffer\n(C\x04aaaacnumpy\ndtype\n(X\x02\x00\x00\x00f4tR(I2\ntX\x01\x00\x00\x00CtR.",
        b"cnumpy.core.numeric\n_frombuffer\n(C\x04aaaacnumpy\ndtype\n(X\x02\x00\x00\x00f4tR(I-1\ntX\x01\x00\x00\x00CtR.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
    ],
)
def test_abuse_of_what_is_admitted_is_refused(tmp_path, body):
    (tmp_path / "c.pkl").write_bytes(b"\x80\x03" + body)
    with pytest.raises(ValueError, match="is truncated or not a checkpoint"):
        read(tmp_path / "c.pkl")
    test_arrays_and_containers_arrive(tmp_path, 5)  # nothing stayed changed
    test_arrays_and_containers_arrive(tmp_path, 2)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
@pytest.mark.parametrize("kept", [0, 1, 30, 0.5, 0.99])
def test_a_cut_off_file_is_one_line(tmp_path, writer, kept):
    path, buffer = tmp_path / "c.pkl", io.BytesIO()
    (pickle.dump if writer == "pickle" else torch.save)(
        {"w": ARRAYS["bytes"] if writer == "pickle" else torch.ones(99)}, buffer
    )
    content = buffer.getvalue()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match=r"c\.pkl is truncated or not a checkpoint") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, UnsafePickleError)


def test_an_early_tar_of_torch_is_refused(tmp_path):
    with tarfile.open(tmp_path / "c.pth", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(UnsafePickleError, match="is a tar archive"):
        read(tmp_path / "c.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file .*nowhere\.pkl"):
        read(tmp_path / "nowhere.pkl")
