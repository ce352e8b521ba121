"""Nothing that a running node reads is ever run: by what its source may call, and by watching it with hostile input.

Exported programs (runtime/exported.py) are the exception, and say so: a program is code, which the node loads only
where its parameter allow_programs says so.
"""

import ast
import hashlib
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from node_logs import NodeProcess
from pair_models import save_depth, save_segmentation
from test_layering import imported_modules, modules

from dvps_ros import checkpoints
from dvps_ros.config import (
    BackboneConfig,
    Config,
    InputConfig,
    MergeConfig,
    NetworkConfig,
    PerceptionConfig,
    describe,
)
from dvps_ros.network import build

TEST = Path(__file__).resolve().parent
#: Modules that turn bytes into objects by running what the bytes say, or that start programs.
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "subprocess"}
#: Calls that run text or files; a call is written as its last two names, or its only one.
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "hub.load", "jit.load"),
    *("torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "code.interact"),
}
#: What may, and why: the restricted unpickler of ``dvps convert``, reached by no node (the second test watches);
#: exported programs.
EXEMPT = {"dvps_ros.checkpoints.pickles", "dvps_ros.runtime.exported"}
#: What else one module may do: cv_bridge is tried in a child process, by a command that holds nothing that was read.
ALLOWED = {"dvps_ros.nodes.image_conversion": ["imports subprocess"]}


def run_time_modules():
    """Every module of the package that the nodes import, directly or not, anywhere in its source."""
    known, found = modules(), set()
    waiting = [module for module in known if module.startswith("dvps_ros.nodes.")]
    while waiting:
        module = waiting.pop()
        if module in found or module not in known:
            continue
        found.add(module)
        for name in imported_modules(ast.parse(known[module].read_text()), module.rpartition(".")[0]):
            parts = name.split(".")
            for length in range(1, len(parts) + 1):
                part = ".".join(parts[:length])
                waiting += [part, f"{part}.__init__"]
    return sorted(found)


def name_of(call):
    """The name under which a call is forbidden: ``load`` of ``torch.load`` is ``torch.load``."""
    parts = ast.unparse(call.func).split(".")
    return ".".join(parts[-2:])


def dangers(source, package):
    """What in a module's source could run what it reads."""
    tree = ast.parse(source)
    found = [f"imports {name}" for name in imported_modules(tree, package) if name.split(".")[0] in FORBIDDEN_MODULES]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name_of(call) in FORBIDDEN_CALLS:
            found.append(f"calls {name_of(call)}")
        for keyword, harmless in (("shell", "False"), ("allow_pickle", "False"), ("trust_remote_code", "False")):
            if keywords.get(keyword, harmless) != harmless:
                found.append(f"passes {keyword}={keywords[keyword]}")
    return found


def test_the_nodes_import_what_runs_a_model():
    found = run_time_modules()
    assert {"dvps_ros.nodes.perception_node", "dvps_ros.runtime.pair", "dvps_ros.checkpoints.folder"} <= set(found)
    assert {"dvps_ros.config.node", "dvps_ros.scene.merge", "dvps_ros.camera.compressed"} <= set(found)
    assert not [module for module in found if module.startswith(("dvps_ros.cli", "dvps_ros.training"))]


@pytest.mark.parametrize("module", sorted(set(run_time_modules()) - EXEMPT))
def test_no_module_of_the_run_time_runs_what_it_reads(module):
    assert dangers(modules()[module].read_text(), module.rpartition(".")[0]) == ALLOWED.get(module, [])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import torch\ntorch.load(path)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "np.load(path, allow_pickle=True)",
        "model.from_pretrained(name, trust_remote_code=given)",
        "eval(text)",
        "import subprocess",
        "os.system(command)",
    ],
)
def test_the_rule_catches(source):
    assert dangers(source, "dvps_ros.nodes")


def test_the_rule_lets_pass():
    source = "network.eval()\nyaml.safe_load(text)\nload_file(path)\nnp.load(path)\nre.compile('a')\nbag.load(x)"
    assert dangers(source, "dvps_ros.nodes") == []


# --- watched ---------------------------------------------------------------------------------------------------------

WATCHED = """
import importlib.util, json, sys
from pathlib import Path
sys.path[:0] = [{test!r}, {nodes!r}]
import rclpy, torch, transformers
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from node_helpers import Camera, spinning, wait_for
from sensor_msgs.msg import Image
from dvps_ros.nodes.perception_node import PerceptionNode
import dvps_ros.runtime.pair  # what it imports may do what it likes; what it reads may not
for name in ("openvino", "onnxruntime", "onnxscript"):
    if importlib.util.find_spec(name):
        importlib.import_module(name)

torch.set_num_threads(1)
EVENTS = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "marshal.load")
seen, given = [], json.loads(sys.argv[1])
sys.addaudithook(lambda event, arguments: seen.append((event, str(arguments))) if event in EVENTS else None)
import pickle
pickle.loads(pickle.dumps(Path()))
assert seen, "the hook sees nothing"
seen.clear()
rclpy.init(args=["--ros-args", "--disable-external-lib-logs"])

def node_of(settings):
    values = {{"device": "cpu", **settings}}
    return PerceptionNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])

for settings in given["good"]:
    node, camera = node_of(settings), Camera()
    camera.collect(Image, "/perception/depth")
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS, settings
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    with spinning(node), spinning(camera.node):
        def answered():
            camera.send()
            return camera.received["/perception/depth"]
        wait_for(answered, 60)
for settings in given["hostile"]:
    node = node_of(settings)
    refused = node.trigger_configure() == TransitionCallbackReturn.FAILURE
    node.destroy_node()
    print("refused" if refused else f"taken: {{settings}}")
print("seen:", seen)
rclpy.shutdown()
"""


@pytest.fixture
def tiny_model(tmp_path):
    """A folder with a tiny network of random weights."""
    backbone = BackboneConfig(block="basic", depths=(1, 1, 1, 1), stem=16, widths=(16, 32, 32, 32))
    network = NetworkConfig(
        backbone=backbone, width=32, heads=4, encoder_layers=1, queries=8, decoder_layers=2, feedforward=32
    )
    merge = MergeConfig(score_threshold=0.0, mask_threshold=0.0, overlap_threshold=0.0)
    config = replace(Config(), network=network, merge=merge, input=InputConfig(32 * 64))
    torch.manual_seed(0)
    checkpoints.save(build(network), tmp_path / "model", config)
    return tmp_path / "model"


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def hostile_values(folder, mark):
    """Texts that a shell, Python, YAML or a careless path would run or follow, and folders with code in them."""
    texts = [
        *(f"$(touch {mark})", f"`touch {mark}`", f"; touch {mark}", f"| touch {mark}", f"{mark}\nexec", "\x1b]0;x\x07"),
        *(f"__import__('os').system('touch {mark}')", f"!!python/object/apply:os.system ['touch {mark}']"),
        *("/", "/etc/passwd", "../../../../../../etc", "file:///etc/passwd", "%s%n", "~root", "\\\\host\\share", "."),
    ]
    bomb = pickle.dumps(Bomb(mark))
    weights = folder / "pickled"  # weights that are a pickle, under the name of safetensors
    tagged = folder / "tagged"  # a configuration that asks YAML for an object
    remote = folder / "remote"  # a transformers folder with code of its own
    pretrained = folder / "pretrained"  # weights that are a pickle, as transformers used to save them
    for path in (weights, tagged, remote, pretrained):
        path.mkdir()
    for path in (weights, tagged):
        (path / "model.safetensors").write_bytes(bomb)
        (path / "config.yaml").write_text("{}")
        (path / "model.sha256").write_text(f"{hashlib.sha256(bomb).hexdigest()}  model.safetensors\n")
    (tagged / "config.yaml").write_text(f"labels: !!python/object/apply:os.system ['touch {mark}']\n")
    settings = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    (remote / "config.json").write_text(json.dumps(settings))
    (remote / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    save_segmentation(pretrained)
    (pretrained / "model.safetensors").unlink()
    (pretrained / "pytorch_model.bin").write_bytes(bomb)
    return [*texts, *map(str, (weights, tagged, remote, pretrained))]


@pytest.mark.slow
def test_no_parameter_and_no_file_is_run_by_the_node(tmp_path, tiny_model):
    save_segmentation(tmp_path / "segmentation")
    save_depth(tmp_path / "depth")
    pair = {"model": "pair", "segmentation": str(tmp_path / "segmentation"), "depth": str(tmp_path / "depth")}
    mark = tmp_path / "mark"
    (tmp_path / "hostile").mkdir()
    texts = [row["path"] for row in describe(PerceptionConfig) if row["type"] is str]
    frames = {
        "base_frame",
        "fixed_frame",
        "view_frame",
        "target_frame",
    }  # names that are compared with others and sent, and open nothing
    texts = [text for text in texts if text not in frames]
    assert texts == ["model", "segmentation", "depth", "device"], "a new text parameter belongs into this test"
    values = hostile_values(tmp_path / "hostile", mark)
    hostile = [
        {**(pair if name in ("segmentation", "depth") else {"model": str(tiny_model)}), name: value}
        for name in texts
        for value in values
    ]
    given = {"good": [{"model": str(tiny_model)}, pair], "hostile": hostile}
    code = WATCHED.format(test=str(TEST), nodes=str(TEST / "nodes"))
    process = NodeProcess([sys.executable, "-c", code, json.dumps(given)])
    try:
        assert process.wait(300) == 0, process.output
    finally:
        process.kill()
        process.wait()
    assert process.output.count("refused\n") == len(hostile), process.output
    assert "seen: []" in process.output
    assert not mark.exists()
