from dataclasses import replace

import pytest
import torch
from torch import nn

from dvps_ros.checkpoints import file_hash, from_detectron2, load, load_model_config, model_hash, save
from dvps_ros.config import BackboneConfig, Config, NetworkConfig
from dvps_ros.network import build

SMALL = NetworkConfig(
    backbone=BackboneConfig(depths=(1, 2, 1, 1), stem=16, widths=(16, 32, 32, 64)),
    classes=3,
    width=32,
    heads=4,
    encoder_layers=1,
    encoder_feedforward=24,
    queries=5,
    decoder_layers=4,
    feedforward=40,
)
SWIN = replace(
    SMALL, backbone=BackboneConfig(kind="swin", depths=(1, 2, 1, 1), embedding=8, heads=(1, 2, 2, 4), window=3)
)


@pytest.fixture
def net():
    torch.manual_seed(3)
    return build(SMALL).eval()


IMAGES = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


# --- our own folders ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, SWIN])
def test_a_saved_model_predicts_the_same(tmp_path, config):
    net = build(config).eval()
    save(net, tmp_path / "deep" / "model", replace(Config(), labels="semkitti"))
    again = load(tmp_path / "deep" / "model")
    assert not again.training
    assert again.config == config
    assert load_model_config(tmp_path / "deep" / "model").labels == "semkitti"
    with torch.no_grad():
        before, after = net(IMAGES), again(IMAGES)
    assert torch.equal(before.class_logits, after.class_logits)
    assert torch.equal(before.mask_logits, after.mask_logits)
    assert torch.equal(before.depth, after.depth)
    assert torch.equal(before.backup_depth, after.backup_depth)


def test_saving_twice_gives_the_same_bytes_and_leaves_no_rest(net, tmp_path):
    for name in ("a", "b"):
        save(net, tmp_path / name)
    assert model_hash(tmp_path / "a") == model_hash(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "config.yaml",
        "model.safetensors",
        "model.sha256",
    ]


def test_half_precision_is_half_the_size_and_nearly_the_same(net, tmp_path):
    save(net, tmp_path / "whole")
    save(net, tmp_path / "half", half=True)
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.65 * whole
    again = load(tmp_path / "half")
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, net.state_dict()[name], atol=1e-6, rtol=1e-3)
        assert value.dtype == net.state_dict()[name].dtype


def test_a_loaded_model_needs_no_pretrained_weights(net, tmp_path):
    net.config = replace(SMALL, backbone=replace(SMALL.backbone, pretrained="/weights/of/long/ago"))
    save(net, tmp_path)
    assert load(tmp_path).config == net.config


def test_exchanged_weights_are_refused(net, tmp_path):
    save(net, tmp_path / "a")
    save(build(SMALL), tmp_path / "b")
    (tmp_path / "b" / "model.safetensors").replace(tmp_path / "a" / "model.safetensors")
    with pytest.raises(ValueError, match="is damaged or was replaced: its SHA-256") as caught:
        load(tmp_path / "a")
    assert "\n" not in str(caught.value)


def record(folder, *names):
    """Record the hashes of files as sha256sum would."""
    lines = [f"{file_hash(folder / name)}  {name}\n" for name in names or ("model.safetensors", "config.yaml")]
    (folder / "model.sha256").write_text("".join(lines))


def test_an_edited_configuration_is_refused_until_it_is_recorded(net, tmp_path):
    save(net, tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("max_depth: 80.0", "max_depth: 90.0"))
    with pytest.raises(
        ValueError, match=r"config\.yaml is damaged or was replaced.*sha256sum model\.safetensors"
    ) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    record(tmp_path)
    assert load(tmp_path).config.max_depth == 90.0


def test_a_record_of_the_weights_alone_still_counts(net, tmp_path):
    save(net, tmp_path)
    record(tmp_path, "model.safetensors")
    load(tmp_path)
    with (tmp_path / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="is damaged or was replaced"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "model.safetensors\n", f"{'0' * 64}  config.yaml\n", "0" * 64])
def test_a_record_that_says_nothing_of_the_weights_is_refused(net, tmp_path, text):
    save(net, tmp_path)
    (tmp_path / "model.sha256").write_text(text)
    with pytest.raises(ValueError, match=r"model\.sha256 has no SHA-256 of model\.safetensors"):
        load(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.999])
@pytest.mark.parametrize("hashed", [True, False])
def test_half_downloaded_weights_are_one_clear_line(net, tmp_path, kept, hashed):
    save(net, tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    if not hashed:
        record(tmp_path)
    with pytest.raises(ValueError, match=r"model\.safetensors is (damaged|not a complete)") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(net, tmp_path):
    save(net, tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("decoder_layers: 4", "decoder_layers: 5"))
    record(tmp_path)
    with pytest.raises(ValueError, match=r"does not fit config.yaml: it lacks .* missing, 0 left over"):
        load(tmp_path)
    (tmp_path / "config.yaml").write_text(text.replace("feedforward: 40", "feedforward: 48"))
    record(tmp_path)
    with pytest.raises(ValueError, match=r"does not fit config.yaml: size mismatch") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(net, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model folder .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no config\.yaml"):
        load(tmp_path)
    save(net, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        load(tmp_path)


def test_weights_that_are_not_finite_are_not_saved(net, tmp_path):
    with torch.no_grad():
        net.segment_head.classify.weight[0, 0] = 1e6
    save(net, tmp_path / "whole")
    with pytest.raises(ValueError, match=r"segment_head\.classify\.weight is not finite in half precision"):
        save(net, tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()


# --- detectron2's names -------------------------------------------------------------------------------------------


def detectron2_state(config: NetworkConfig, content: str = "query_feat") -> dict[str, torch.Tensor]:
    """A made-up checkpoint with every name of a DeepDPS one, of random numbers, written down name by name."""
    c, generator = config, torch.Generator().manual_seed(11)
    state: dict[str, torch.Tensor] = {}

    def add(name, *shape):
        state[name] = torch.rand(shape, generator=generator)

    def linear(name, rows, columns):
        add(f"{name}.weight", rows, columns)
        add(f"{name}.bias", rows)

    def norm(name, size):
        add(f"{name}.weight", size)
        add(f"{name}.bias", size)

    def conv(name, rows, columns, size, bias):
        add(f"{name}.weight", rows, columns, size, size)
        if bias:
            add(f"{name}.bias", rows)

    def frozen_norm(name, size):
        norm(name, size)
        add(f"{name}.running_mean", size)
        add(f"{name}.running_var", size)

    def attention(name, inner):
        add(f"{name}.{inner}.in_proj_weight", 3 * c.width, c.width)
        add(f"{name}.{inner}.in_proj_bias", 3 * c.width)
        linear(f"{name}.{inner}.out_proj", c.width, c.width)
        norm(f"{name}.norm", c.width)

    def feedforward(name):
        linear(f"{name}.linear1", c.feedforward, c.width)
        linear(f"{name}.linear2", c.width, c.feedforward)
        norm(f"{name}.norm", c.width)

    b = c.backbone
    if b.kind == "resnet":
        channels = b.widths
        conv("backbone.stem.conv1", b.stem, 3, 7, bias=False)
        frozen_norm("backbone.stem.conv1.norm", b.stem)
        before = b.stem
        for stage, (depth, width) in enumerate(zip(b.depths, b.widths, strict=True)):
            for block in range(depth):
                name, inner = f"backbone.res{stage + 2}.{block}", width // 4
                if block == 0 and (stage or before != width):
                    conv(f"{name}.shortcut", width, before, 1, bias=False)
                    frozen_norm(f"{name}.shortcut.norm", width)
                for i, (rows, columns, size) in enumerate(
                    [(inner, before, 1), (inner, inner, 3), (width, inner, 1)], start=1
                ):
                    conv(f"{name}.conv{i}", rows, columns, size, bias=False)
                    frozen_norm(f"{name}.conv{i}.norm", rows)
                before = width
    else:
        channels = tuple(b.embedding * 2**i for i in range(4))
        conv("backbone.patch_embed.proj", b.embedding, 3, 4, bias=True)
        norm("backbone.patch_embed.norm", b.embedding)
        for stage, (depth, width, heads) in enumerate(zip(b.depths, channels, b.heads, strict=True)):
            for block in range(depth):
                name = f"backbone.layers.{stage}.blocks.{block}"
                norm(f"{name}.norm1", width)
                add(f"{name}.attn.relative_position_bias_table", (2 * b.window - 1) ** 2, heads)
                add(f"{name}.attn.relative_position_index", b.window**2, b.window**2)
                linear(f"{name}.attn.qkv", 3 * width, width)
                linear(f"{name}.attn.proj", width, width)
                norm(f"{name}.norm2", width)
                linear(f"{name}.mlp.fc1", 4 * width, width)
                linear(f"{name}.mlp.fc2", width, 4 * width)
            if stage < 3:
                add(f"backbone.layers.{stage}.downsample.reduction.weight", 2 * width, 4 * width)
                norm(f"backbone.layers.{stage}.downsample.norm", 4 * width)
            norm(f"backbone.norm{stage}", width)

    for decoder in ("pixel_decoder", "depth_pixel_decoder"):
        name = f"sem_seg_head.{decoder}"
        for level, width in enumerate(reversed(channels[1:])):
            conv(f"{name}.input_proj.{level}.0", c.width, width, 1, bias=True)
            norm(f"{name}.input_proj.{level}.1", c.width)
        add(f"{name}.transformer.level_embed", 3, c.width)
        for i in range(c.encoder_layers):
            layer = f"{name}.transformer.encoder.layers.{i}"
            linear(f"{layer}.self_attn.sampling_offsets", c.heads * 3 * c.points * 2, c.width)
            linear(f"{layer}.self_attn.attention_weights", c.heads * 3 * c.points, c.width)
            linear(f"{layer}.self_attn.value_proj", c.width, c.width)
            linear(f"{layer}.self_attn.output_proj", c.width, c.width)
            norm(f"{layer}.norm1", c.width)
            linear(f"{layer}.linear1", c.encoder_feedforward, c.width)
            linear(f"{layer}.linear2", c.width, c.encoder_feedforward)
            norm(f"{layer}.norm2", c.width)
        conv(f"{name}.adapter_1", c.width, channels[0], 1, bias=False)
        norm(f"{name}.adapter_1.norm", c.width)
        conv(f"{name}.layer_1", c.width, c.width, 3, bias=False)
        norm(f"{name}.layer_1.norm", c.width)
        conv(f"{name}.mask_features", c.width, c.width, 1, bias=True)

    name = "sem_seg_head.predictor"
    for i in range(c.decoder_layers):
        attention(f"{name}.transformer_cross_attention_layers.{i}", "multihead_attn")
        attention(f"{name}.transformer_self_attention_layers.{i}", "self_attn")
        feedforward(f"{name}.transformer_ffn_layers.{i}")
        attention(f"{name}.latent_encode_layers.{i}", "multihead_attn")
        attention(f"{name}.latent_process_layers.{i}", "self_attn")
        attention(f"{name}.latent_decode_layers.{i}", "multihead_attn")
        feedforward(f"{name}.latent_ffn_layers.{i}")
    norm(f"{name}.decoder_norm", c.width)
    add(f"{name}.{content}.weight", c.queries, c.width)
    add(f"{name}.query_embed.weight", c.queries, c.width)
    add(f"{name}.level_embed.weight", 3, c.width)
    linear(f"{name}.class_embed", c.classes + 1, c.width)
    add(f"{name}.depth_level_embed.weight", 3, c.width)
    norm(f"{name}.depth_norm", c.width)
    for i in range(3):
        linear(f"{name}.mask_embed.layers.{i}", c.width, c.width)
        linear(f"{name}.depth_pred_embed.layers.{i}", c.width, c.width)
        attention(f"{name}.backup_cross_attention_layers.{i}", "multihead_attn")
        feedforward(f"{name}.backup_ffn_layers.{i}")
    add(f"{name}.latent", c.queries, 1, c.width)
    add(f"{name}.latent_pos", c.queries, 1, c.width)
    add(f"{name}.backup_feat.weight", 1, c.width)
    add(f"{name}.backup_embed.weight", 1, c.width)
    add(f"{name}.depth_guided_cov", 2)
    add("criterion.empty_weight", c.classes + 1)
    return state


@pytest.mark.parametrize("config", [SMALL, SWIN], ids=["resnet", "swin"])
@pytest.mark.parametrize("content", ["query_feat", "static_query"])
def test_every_detectron2_name_finds_its_place(config, content):
    net = build(config)
    state = detectron2_state(config, content)
    net.load_state_dict(from_detectron2(state))  # strict: nothing missing, nothing left over
    # every number arrived, and each of them once
    dropped = ("criterion.", "sem_seg_head.predictor.depth_guided_cov")
    weights = [v for k, v in state.items() if not k.startswith(dropped) and not k.endswith("relative_position_index")]
    expected = torch.cat([value.flatten() for value in weights]).sort().values
    loaded = torch.cat([v.flatten() for v in net.state_dict().values() if v.is_floating_point()]).sort().values
    assert torch.equal(expected, loaded)
    queries = state[f"sem_seg_head.predictor.{content}.weight"]
    assert torch.equal(net.query_decoder.content, queries)


def test_detectron2_attention_means_the_same():
    net, state = build(SMALL).eval(), detectron2_state(SMALL)
    net.load_state_dict(from_detectron2(state))
    theirs = nn.MultiheadAttention(32, 4, batch_first=True)
    prefix = "sem_seg_head.predictor.latent_decode_layers.2.multihead_attn."
    theirs.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    expected, _ = theirs(query, key, value)
    ours = net.geometry.decoder.layers[2].decode.attention
    torch.testing.assert_close(ours(query, key, value), expected, atol=1e-4, rtol=1e-4)


def test_detectron2_blocks_arrive_at_their_places():
    net, state = build(SMALL), detectron2_state(SMALL)
    net.load_state_dict(from_detectron2({"model": {name: value.numpy() for name, value in state.items()}}))
    head, stages = "sem_seg_head.", net.backbone.model.encoder.stages
    for name, parameter in {
        "backbone.res3.1.conv2.weight": stages[1].layers[1].layer[1].convolution.weight,
        "backbone.res5.0.shortcut.norm.running_var": stages[3].layers[0].shortcut.normalization.running_var,
        head + "depth_pixel_decoder.input_proj.2.1.bias": net.depth_decoder.project[2][1].bias,
        head + "pixel_decoder.transformer.encoder.layers.0.linear2.weight": net.semantic_decoder.encoder[
            0
        ].feedforward.contract.weight,
        head + "predictor.latent_process_layers.3.norm.weight": net.geometry.decoder.layers[3].process.norm.weight,
        head + "predictor.backup_ffn_layers.1.linear1.bias": net.geometry.backup.levels[1].feedforward.expand.bias,
        head + "predictor.depth_pred_embed.layers.2.bias": net.geometry.head.depth.layers[2].bias,
        head + "predictor.level_embed.weight": net.query_decoder.level,
        head + "predictor.depth_level_embed.weight": net.geometry.level,
    }.items():
        assert torch.equal(parameter, state[name]), name


def test_plain_mask2former_lacks_only_depth():
    state = {
        name: value
        for name, value in detectron2_state(SMALL).items()
        if not any(word in name for word in ("depth", "latent", "backup"))
    }
    missing, unexpected = build(SMALL).load_state_dict(from_detectron2(state), strict=False)
    assert not unexpected
    assert missing
    assert all(name.startswith(("depth_decoder.", "geometry.")) for name in missing)


def test_a_foreign_name_without_a_place_is_named():
    with pytest.raises(ValueError, match=r"'sem_seg_head\.predictor\.surprise' is not a detectron2 name"):
        from_detectron2({"sem_seg_head.predictor.surprise": torch.zeros(1)})
