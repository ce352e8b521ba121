"""Run times in PyTorch's place: the network's scene at any size, programs made once, and what is refused."""

import importlib.util
import json
import os
import threading

import pytest
import torch
from test_runtime_export import CAMERA, CONFIG, PICTURE, network, same_scene

from dvps_ros import checkpoints, resources
from dvps_ros.labels import CITYSCAPES
from dvps_ros.network import build
from dvps_ros.runtime import Perceiver, cache, load_perceiver, run_times
from dvps_ros.runtime.agreement import FULL, HALF, Agreement
from dvps_ros.runtime.cache import ProgramCache
from dvps_ros.runtime.programs import ProgramNetwork
from dvps_ros.runtime.tracing import FlatNetwork, outputs

SLOW = pytest.mark.skipif("DVPS_SLOW_TESTS" not in os.environ, reason="compiles for a minute; set DVPS_SLOW_TESTS=1")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dvps_ros" / "programs"


@pytest.fixture
def made(monkeypatch):
    """Programs are made of bytes, one after another; the list of their sizes."""
    sizes = []

    def write(net, images, path, optimize):
        sizes.append(tuple(images.shape[-2:]))
        path.write_bytes(f"program {len(sizes)}".encode())

    monkeypatch.setattr(cache, "write_onnx", write)
    return sizes


@pytest.fixture
def other(monkeypatch, made):
    """A run time named "openvino" that runs ``other.net``: a network, or an error to raise; counts what it opens."""

    class Other:
        net, opened = None, 0

        def open(self, path, device, precision, names):
            assert path.read_bytes().startswith(b"program")
            assert tuple(names) == outputs(False)
            self.opened += 1
            if isinstance(self.net, Exception):
                raise self.net
            return FlatNetwork(self.net)

    fake = Other()
    monkeypatch.setitem(run_times.OPEN, "openvino", fake.open)
    monkeypatch.setattr(run_times, "version", lambda name: "1.0")
    return fake


def perceive_with(net):
    """A perceiver whose network runs in the run time of ``other``."""
    perceiver = Perceiver(net, CONFIG, "cpu")
    perceiver.network = ProgramNetwork(net, "openvino", "32", CITYSCAPES)
    return perceiver


# --- in the network's place ------------------------------------------------------------------------------------------


def test_each_run_time_gives_the_scene_of_the_network(tmp_path, home):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    names = [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name) is not None]
    if not names:
        pytest.skip("neither openvino nor onnxruntime is installed")
    checkpoints.save(network(), tmp_path / "model", CONFIG)
    live = load_perceiver(tmp_path / "model", "cpu", runtime="torch")
    for name in names:
        program = Perceiver.load(tmp_path / "model", "cpu", runtime=name)
        program.warm_up()
        assert (live.runtime, program.runtime) == ("torch", name)
        same_scene(live, program)
    (path,) = home.glob("*/64x96.onnx")  # one for all, found by whoever comes later
    assert [key.split()[0] for key in json.loads(path.with_suffix(".json").read_text())["checked"]] == names


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_each_run_time_opens_the_network_that_ships(name):
    """Its check against the network is part of opening it, with trained weights on a picture of the usual size."""
    for package in ("onnx", "onnxscript", name):
        pytest.importorskip(package)
    program = Perceiver.load(resources.find("models/street"), "cpu", runtime=name)
    program.warm_up()
    assert program.runtime == name


@SLOW
@pytest.mark.slow
def test_compile_gives_the_scene_of_the_network():
    net = network()
    same_scene(Perceiver(net, CONFIG, "cpu"), Perceiver(net, CONFIG, "cpu", runtime="compile"))


def test_images_between_multiples_of_32_share_a_program(other, made):
    other.net = net = network()
    program = ProgramNetwork(net, "openvino", "32", CITYSCAPES)
    for size in ((64, 96), (33, 70), (64, 65)):
        images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
        with torch.inference_mode():
            ours, theirs = net(images), program(images)
        torch.testing.assert_close(theirs.mask_logits, ours.mask_logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(theirs.depth, ours.depth, rtol=1e-4, atol=1e-4)
        assert theirs.max_depth == ours.max_depth
    assert made == [(64, 96)]
    assert other.opened == 1


def test_programs_of_few_sizes_stay_open(other, made):
    other.net = net = network()
    program = ProgramNetwork(net, "openvino", "32", CITYSCAPES)
    sizes = [(64, 32 * n) for n in range(1, 6)]
    with torch.inference_mode():
        for size in [*sizes, sizes[-1], sizes[0]]:
            program(torch.zeros(1, 3, *size))
    assert made == sizes
    assert other.opened == 6  # the first one again


def test_warm_up_takes_the_size_that_ran_last(other, made):
    other.net = net = network()
    perceive_with(net).step(PICTURE[:, :80], None)  # square: 78x78
    assert made == [(96, 96)]
    started = perceive_with(net)
    started.warm_up()
    assert made == [(96, 96)]
    assert started.canvas is None
    same_scene(Perceiver(net, CONFIG, "cpu"), started)
    assert made == [(96, 96), (64, 96)]


# --- refused ---------------------------------------------------------------------------------------------------------


def test_a_program_that_disagrees_is_refused(other):
    other.net, net = network(), network()
    torch.nn.init.normal_(other.net.segment_head.mask.layers[2].weight, std=1.0)
    for _ in range(2):
        with pytest.raises(ValueError, match="runtime openvino does not give the network's scene: same ids on") as said:
            perceive_with(net).step(PICTURE, CAMERA)
        assert "\n" not in str(said.value)


def test_auto_goes_on_in_torch_and_says_so_once(other, caplog):
    other.net, net = RuntimeError("no such operation\nat 0x1"), network()
    perceiver = perceive_with(net)
    with pytest.raises(ValueError, match=r"runtime openvino cannot open .*64x96.onnx: no such operation$"):
        perceiver.step(PICTURE, CAMERA)
    perceiver.network = ProgramNetwork(net, "openvino", "32", CITYSCAPES, optional=True)
    same_scene(Perceiver(net, CONFIG, "cpu"), perceiver)
    perceiver.step(PICTURE, CAMERA)
    assert [
        record.message.endswith("no such operation: the network runs in torch instead") for record in caplog.records
    ]
    assert len(caplog.records) == 1


def test_a_network_that_cannot_be_exported_is_named(other, monkeypatch):
    def fails(*_, **__):
        raise TypeError("unsupported\nby far")

    monkeypatch.setattr(cache, "write_onnx", fails)
    with pytest.raises(ValueError, match=r"^the network cannot be exported to ONNX: unsupported$"):
        perceive_with(network()).step(PICTURE)


@pytest.mark.parametrize(
    ("name", "device", "precision", "message"),
    [
        ("tensorflow", "cpu", "32", "runtime is 'tensorflow', must be one of auto, torch, compile"),
        ("openvino", "cuda", "32", "runtime openvino runs on the CPU, device cuda is not possible"),
        ("tensorrt", "cpu", "32", "runtime tensorrt runs on CUDA, device cpu is not possible"),
        ("tensorrt", "cuda", "bf16", "runtime tensorrt works in 16 or 32 bit"),
        ("onnxruntime", "cpu", "16", "runtime onnxruntime works in 32 bit, precision 16 is not possible"),
    ],
)
def test_what_a_run_time_cannot_do_is_said(name, device, precision, message, monkeypatch):
    monkeypatch.setattr(run_times, "_missing", lambda name: [])
    with pytest.raises(ValueError, match=message):
        run_times.choose_run_time(name, torch.device(device), precision)


def test_a_run_time_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(run_times.importlib.util, "find_spec", lambda name: None if name == "openvino" else "there")
    with pytest.raises(ValueError, match=r"runtime openvino needs openvino: pip install openvino"):
        Perceiver(network(), CONFIG, "cpu", runtime="openvino")
    assert Perceiver(network(), CONFIG, "cpu", runtime="auto").runtime == "torch"
    monkeypatch.setattr(run_times.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"runtime compile needs a C\+\+ compiler"):
        Perceiver(network(), CONFIG, "cpu", runtime="compile")


def test_auto_is_openvino_on_a_cpu_in_32_bit_and_a_graph_on_cuda(monkeypatch):
    monkeypatch.setattr(run_times, "_missing", lambda name: [])
    chosen = [run_times.choose_run_time("auto", torch.device(d), p) for d, p in (("cpu", "32"), ("cpu", "bf16"))]
    assert chosen == ["openvino", "torch"]
    assert run_times.choose_run_time("auto", torch.device("cuda"), "32") == "cudagraph"


def test_half_precision_has_a_tolerance_of_its_own():
    assert Agreement(0.995, 0.991, 3, HALF).good
    assert not Agreement(0.995, 0.991, 3, FULL).good
    assert (FULL.share, FULL.depth, HALF.share, HALF.depth) == (0.999, 1e-3, 0.99, 2e-2)


def test_exported_programs_bring_their_own(tmp_path):
    (tmp_path / "program.yaml").write_text("form: torch-export\n")
    with pytest.raises(ValueError, match="is an exported program: runtime openvino is not possible, leave it auto"):
        load_perceiver(tmp_path, runtime="openvino")


# --- the cache -------------------------------------------------------------------------------------------------------


def test_a_program_is_made_once_and_whole(made, home):
    net = network()
    path = ProgramCache(net).program((64, 96))
    assert path.parent.parent == home
    assert path.read_bytes() == b"program 1"
    assert ProgramCache(network()).program((64, 96)) == path  # equal weights
    assert made == [(64, 96)]
    path.write_bytes(b"prog")  # half of it
    assert ProgramCache(net).program((64, 96)).read_bytes() == b"program 2"
    path.with_suffix(".json").write_text("{")
    assert ProgramCache(net).program((64, 96)).read_bytes() == b"program 3"
    assert sorted(p.name for p in path.parent.iterdir()) == ["64x96.json", "64x96.lock", "64x96.onnx"]


def test_a_check_holds_for_its_run_time_and_its_program(made):
    programs = ProgramCache(network())
    path = programs.program((64, 96))
    programs.note((64, 96), "openvino 1.0, precision 32", Agreement(1.0, 1.0, 3))
    assert programs.is_checked((64, 96), "openvino 1.0, precision 32")
    assert not programs.is_checked((64, 96), "openvino 1.1, precision 32")
    assert not programs.is_checked((96, 96), "openvino 1.0, precision 32")
    path.unlink()
    programs.program((64, 96))
    assert not programs.is_checked((64, 96), "openvino 1.0, precision 32")


def test_another_network_or_version_has_another_program(monkeypatch):
    net = network()
    keys = {cache.network_key(net), cache.network_key(build(CONFIG.network))}
    with torch.no_grad():
        next(net.parameters()).mul_(1.0001)
    keys.add(cache.network_key(net))
    monkeypatch.setattr(cache.importlib.metadata, "version", lambda name: "9.9")
    keys.add(cache.network_key(net))
    assert len(keys) == 4
    assert cache.network_key(net) in keys


def test_two_that_start_at_once_make_one_program(made, monkeypatch):
    """The second comes while the first is at work, and waits."""
    begun, go, write, paths = threading.Event(), threading.Event(), cache.write_onnx, []

    def slow(*given, **named):
        begun.set()
        assert go.wait(30)
        write(*given, **named)

    monkeypatch.setattr(cache, "write_onnx", slow)
    net = network()
    threads = [threading.Thread(target=lambda: paths.append(ProgramCache(net).program((64, 96)))) for _ in range(2)]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert made == [(64, 96)]
    assert [path.read_bytes() for path in paths] == [b"program 1"] * 2


def test_a_failure_leaves_nothing_behind(monkeypatch, home):
    def half(net, images, path, optimize):
        path.write_bytes(b"half")
        raise RuntimeError("interrupted")

    monkeypatch.setattr(cache, "write_onnx", half)
    with pytest.raises(ValueError, match="interrupted"):
        ProgramCache(network()).program((64, 96))
    assert [path.name for path in home.glob("*/*")] == ["64x96.lock"]
    assert ProgramCache(network()).recent() is None


def test_a_folder_that_cannot_be_written_is_named(made, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        ValueError, match=r"programs cannot be kept in .*file/dvps_ros.*name another folder in XDG_CACHE_HOME"
    ):
        ProgramCache(network()).program((64, 96))


def test_the_folder_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache.user_folder() == tmp_path / ".cache" / "dvps_ros" / "programs"


def test_a_check_that_cannot_be_recorded_is_done_again(made, monkeypatch, caplog):
    programs = ProgramCache(network())
    programs.program((64, 96))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_bytes", full)
    programs.note((64, 96), "openvino 1.0, precision 32", Agreement(1.0, 1.0, 3))
    assert "No space left on device" in caplog.text
    assert not programs.is_checked((64, 96), "openvino 1.0, precision 32")


def test_a_check_on_another_processor_does_not_count(made, monkeypatch):
    programs = ProgramCache(network())
    programs.program((64, 96))
    programs.note((64, 96), "openvino 1.0, precision 32", Agreement(1.0, 1.0, 3))
    monkeypatch.setattr(cache, "_processors", lambda: "another")
    assert not programs.is_checked((64, 96), "openvino 1.0, precision 32")
