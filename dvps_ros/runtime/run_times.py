"""The run times that can run a network in place of PyTorch: whether each is available, and how it opens a program."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

RunTime = Literal["auto", "torch", "compile", "cudagraph", "openvino", "onnxruntime", "tensorrt"]
RUN_TIMES = ("auto", "torch", "compile", "cudagraph", "openvino", "onnxruntime", "tensorrt")
#: Run times of ONNX programs -> the modules that they need, which are packages of the same names.
_NEEDS = {
    "openvino": ("openvino", "onnx", "onnxscript"),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript"),
    "tensorrt": ("onnxruntime", "onnx", "onnxscript"),
}

#: Maps images (1, 3, H, W) float32, contiguous, to the tensors of ``tracing.outputs``.
Program = Callable[[Tensor], Sequence[Tensor]]


def choose_run_time(name: str, device: torch.device, precision: str) -> str:
    """The run time of a name; ``"auto"`` is a CUDA graph on CUDA, OpenVINO in 32 bit on a CPU if it is installed,
    else torch.

    ``precision`` is ``"32"``, ``"16"`` or ``"bf16"``. Raises ``ValueError`` in one line if the run time is unknown, not
    installed, or does not support this device or precision.
    """
    if name not in RUN_TIMES:
        raise ValueError(f"runtime is {name!r}, must be one of {', '.join(RUN_TIMES)}")
    if name == "auto":
        if device.type == "cuda":
            return "cudagraph"
        return "openvino" if device.type == "cpu" and precision == "32" and not _missing("openvino") else "torch"
    if name == "cudagraph" and device.type != "cuda":
        raise ValueError(f"runtime cudagraph runs on CUDA, device {device} is not possible")
    if name == "compile" and device.type == "cpu":
        check_compiler("runtime compile")
    if name in _NEEDS:
        if missing := _missing(name):
            raise ValueError(f"runtime {name} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
        _CHECKS[name](device, precision)
    return name


def check_compiler(user: str) -> None:
    """Raise ``ValueError`` that names ``user`` if there is no C++ compiler."""
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise ValueError(f"{user} needs a C++ compiler: install g++, or name one in the variable CXX")


def version(name: str) -> str:
    """The version of the library of a run time of ONNX programs."""
    return importlib.import_module("openvino" if name == "openvino" else "onnxruntime").__version__


def _missing(name: str) -> list[str]:
    return [module for module in _NEEDS[name] if importlib.util.find_spec(module) is None]


def _check_openvino(device: torch.device, precision: str) -> None:
    if device.type != "cpu":
        raise ValueError(f"runtime openvino runs on the CPU, device {device} is not possible")
    if precision == "32":
        return
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if {"bf16": "BF16", "16": "FP16"}[precision] not in able:
        raise ValueError(f"this CPU has no arithmetic of precision {precision}: runtime openvino works in 32 bit here")


def _check_onnxruntime(device: torch.device, precision: str) -> None:
    if precision != "32":
        raise ValueError(f"runtime onnxruntime works in 32 bit, precision {precision} is not possible")
    _check_provider("onnxruntime", "CPUExecutionProvider" if device.type == "cpu" else "CUDAExecutionProvider")


def _check_tensorrt(device: torch.device, precision: str) -> None:
    if device.type != "cuda":
        raise ValueError(f"runtime tensorrt runs on CUDA, device {device} is not possible")
    if precision == "bf16":
        raise ValueError("runtime tensorrt works in 16 or 32 bit, precision bf16 is not possible")
    _check_provider("tensorrt", "TensorrtExecutionProvider")


def _check_provider(name: str, provider: str) -> None:
    import onnxruntime

    if provider not in (there := onnxruntime.get_available_providers()):
        raise ValueError(f"runtime {name} needs the {provider} of onnxruntime-gpu; there are {', '.join(there)}")


_CHECKS = {"openvino": _check_openvino, "onnxruntime": _check_onnxruntime, "tensorrt": _check_tensorrt}


def open_openvino(path: Path, device: torch.device, precision: str, names: Sequence[str]) -> Program:
    """An ONNX program in OpenVINO, on as many threads as torch has."""
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {
        # By default OpenVINO computes in half precision if the processor can.
        "INFERENCE_PRECISION_HINT": {"32": "f32", "16": "f16", "bf16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # a robot has other work for its cores
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()

    def run(images: Tensor) -> list[Tensor]:
        outputs = request.infer({"images": images.numpy()}, share_inputs=True)
        return [torch.from_numpy(outputs[name]) for name in names]

    return run


def open_onnxruntime(path: Path, device: torch.device, precision: str, names: Sequence[str]) -> Program:
    """An ONNX program in ONNX Runtime, on the CPU or CUDA; tensors stay on their device."""
    return _session(path, device, ["CPUExecutionProvider" if device.type == "cpu" else "CUDAExecutionProvider"], names)


def open_tensorrt(path: Path, device: torch.device, precision: str, names: Sequence[str]) -> Program:
    """An ONNX program in TensorRT through ONNX Runtime; its engine is cached beside the program."""
    settings = {
        "trt_fp16_enable": precision == "16",
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(path.parent),
    }
    return _session(path, device, [("TensorrtExecutionProvider", settings), "CUDAExecutionProvider"], names)


#: An optimisation of ONNX Runtime (1.32) that fails on EfficientNet-Lite0's uneven padding ("Argument mismatch when
#: removing edge"), so that the program cannot be opened.
_PAD_FUSION = "Pad_Fusion"


def _session(path: Path, device: torch.device, providers: list[Any], names: Sequence[str]) -> Program:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only: its warnings are about its own optimisations
    session = onnxruntime.InferenceSession(str(path), options, providers=providers, disabled_optimizers=[_PAD_FUSION])
    shapes = {output.name: output.shape for output in session.get_outputs()}
    where = (device.type, device.index or 0)

    def run(images: Tensor) -> list[Tensor]:
        outputs = [torch.empty(shapes[name], device=device) for name in names]
        binding = session.io_binding()
        binding.bind_input("images", *where, np.float32, tuple(images.shape), images.data_ptr())
        for name, tensor in zip(names, outputs, strict=True):
            binding.bind_output(name, *where, np.float32, tuple(tensor.shape), tensor.data_ptr())
        if device.type == "cuda":  # the session has a stream of its own
            torch.cuda.current_stream(device).synchronize()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return outputs

    return run


#: By run time, the function that opens an ONNX program: (path, device, precision, names of the outputs).
OPEN = {"openvino": open_openvino, "onnxruntime": open_onnxruntime, "tensorrt": open_tensorrt}
