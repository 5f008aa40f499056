"""YAMNet layer by layer, its weights from every source, and what is built on it."""

from __future__ import annotations

import importlib.util
import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from corpora import SUBJECT, make_corpus
from hypothesis import given
from hypothesis import strategies as st

from avser import checkpoint, embeddings, features, inputs, media
from avser.bundles import read_bundle
from avser.config import AudioInput, load_config
from avser.labels import LABEL_SETS
from avser.models import build_model
from avser.models.yamnet import SILENCE, ConvNorm, PatchLstm, YamNet, YamnetLstm, load_yamnet, patches
from avser.training import data
from avser.types import ConfigError, ModelError
from avser.yamnet_import import CLASS_MAP, CLASSIFIER, CONVOLUTIONS, import_yamnet, keras_place

CONFIGS = Path(__file__).parent.parent / "configs" / "papers"
CONFIG = load_config(CONFIGS / "yamnet_lstm.yaml")
INPUT = CONFIG.audio
RATE = INPUT.rate
WINDOW, HOP = 15_600, 7_680
"""Samples of a patch with the last frame's end, and from one patch to the next."""


@torch.no_grad()
def spread(network: YamNet, seed: int = 0) -> YamNet:
    """The network with batch norms that do something, and keep what flows through at one size."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 1, 96, 64, generator=draw)
    for layer in network.eval().body.layers:
        layer.norm.bias.copy_(0.1 * torch.randn(layer.norm.bias.shape, generator=draw))
        size = layer.convolve(x).square().mean((0, 2, 3))
        layer.norm.running_var.copy_(size)
        layer.norm.running_mean.copy_(0.1 * size.sqrt() * torch.randn(size.shape, generator=draw))
        x = layer(x)
    return network


@pytest.fixture(scope="module")
def network() -> YamNet:
    torch.manual_seed(0)
    return spread(YamNet())


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> Path:
    """The network as `avser import-yamnet` writes it."""
    folder = tmp_path_factory.mktemp("weights")
    return import_yamnet(write_archive(network, folder / "yamnet.npz"), folder / "yamnet.safetensors")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).normal(size=round(seconds * RATE)).astype(np.float32)


def cut(samples: np.ndarray, params: AudioInput = INPUT) -> torch.Tensor:
    """Patches of one sound, (P, 1, 96, 64)."""
    return patches(*features.log_mel_batch(torch.from_numpy(samples)[None], torch.tensor([len(samples)]), params))[
        0
    ]


# Layers


def test_weights_and_multiplications_are_those_that_its_authors_give():
    network, counts = YamNet().eval(), []

    def count(layer: torch.nn.Module, given: tuple[torch.Tensor], made: torch.Tensor) -> None:
        weight = layer.conv.weight if isinstance(layer, ConvNorm) else layer.weight
        counts.append(made[0].numel() * weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, ConvNorm | torch.nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        embeddings, scores = network(torch.zeros(2, 1, 96, 64))
    assert embeddings.shape == (2, 1024)
    assert scores.shape == (2, 521)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert sum(counts) / 1e6 == pytest.approx(69.2, abs=0.1)
    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(3.75, abs=0.05)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(5, 6), (7, 8), (6, 4), (1, 2)])
def test_padding_is_that_of_tensorflow(height, width, stride, groups):
    """Its documentation: as many outputs as the stride leaves; what is missing goes around, the odd one behind."""
    torch.manual_seed(0)
    layer = ConvNorm(groups, groups, 3, stride, groups).eval()
    kernel, x = layer.conv.weight[0, 0].detach().numpy(), np.random.default_rng(0).random((height, width))
    rows, columns = -(-height // stride), -(-width // stride)
    top = max((rows - 1) * stride + 3 - height, 0) // 2
    left = max((columns - 1) * stride + 3 - width, 0) // 2
    expected = np.zeros((rows, columns))
    for row, column, i, j in np.ndindex(rows, columns, 3, 3):
        y, z = row * stride + i - top, column * stride + j - left
        if 0 <= y < height and 0 <= z < width:
            expected[row, column] += kernel[i, j] * x[y, z]
    with torch.inference_mode():
        made = layer(torch.from_numpy(x).float().expand(1, groups, -1, -1))[0, 0]
    np.testing.assert_allclose(made, np.maximum(expected, 0) / math.sqrt(1 + 1e-4), atol=1e-6)


# Patches


@given(st.integers(1, 5 * RATE))
def test_number_of_patches(size):
    """One of 0.975 s, and as many more half-way on as the sound needs."""
    mel = torch.zeros(1, 1, 64, size // 160 + 32)
    found, there = patches(mel, features.frames_of(torch.tensor([size]), INPUT))
    assert len(found) == there.sum() == 1 + math.ceil(max(0, size - WINDOW) / HOP)


def test_patches_overlap_by_half_and_end_in_silence():
    mel = torch.arange(150.0).repeat(1, 1, 64, 1)
    found, there = patches(mel)
    assert (found.shape, there.tolist()) == ((3, 1, 96, 64), [[True, True, True]])
    for number, patch in enumerate(found[:2]):
        torch.testing.assert_close(patch[0, :, 5], torch.arange(96.0) + 48 * number)
    torch.testing.assert_close(found[2, 0, :54, 0], torch.arange(96.0, 150.0))
    assert (found[2, 0, 54:] == SILENCE).all()


def test_a_sound_has_the_same_patches_in_any_batch():
    sounds = [noise(seconds, seed) for seed, seconds in enumerate((2.7, 0.3, 1.2))]
    samples = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(sound) for sound in sounds], batch_first=True)
    found, there = patches(*features.log_mel_batch(samples, torch.tensor([len(s) for s in sounds]), INPUT))
    for sound, mine in zip(sounds, found.split(there.sum(1).tolist()), strict=True):
        # as where the sound is filled up with silence to whole patches
        whole = np.pad(sound, (0, max(0, WINDOW - len(sound)) + max(0, -(len(sound) - WINDOW) % HOP)))
        torch.testing.assert_close(mine, cut(sound), rtol=0, atol=1e-4)
        torch.testing.assert_close(mine, cut(whole)[: len(mine)], rtol=0, atol=1e-4)


# Weights from every source


def write_archive(
    network: YamNet, path: Path, changes: dict[str, np.ndarray] | None = None, whole: bool = False
) -> Path:
    """The layers as in a TensorFlow Lite file: norms folded, kernels as they are or in `whole` numbers."""
    layers: dict[str, np.ndarray] = {}
    for place in range(CONVOLUTIONS + 1):
        if place == CLASSIFIER:
            kind, kernel, bias = "fc", network.classifier.weight, network.classifier.bias
        else:
            layer = network.body.layers[place]
            scale = (layer.norm.running_var + layer.norm.eps).rsqrt()
            kernel = layer.conv.weight * scale[:, None, None, None]
            bias = layer.norm.bias - layer.norm.running_mean * scale
            kind = "dw" if place % 2 else "conv"
            kernel = kernel.permute((1, 2, 3, 0) if place % 2 else (0, 2, 3, 1))
        name, values = f"{place + 1:02d}_{kind}", kernel.detach().numpy()
        layers[f"{name}_b"] = bias.detach().numpy()
        if not whole:
            layers[f"{name}_w"] = values
        else:
            axis = 3 if kind == "dw" else 0
            rest = tuple(i for i in range(values.ndim) if i != axis)
            scales = np.abs(values).max(rest, keepdims=True) / 127
            layers |= {f"{name}_q": np.round(values / scales).astype(np.int8), f"{name}_ax": np.int32(axis)}
            layers[f"{name}_s"] = scales.ravel()
    np.savez(path, **{**layers, **(changes or {})})
    return path


def keras_arrays(network: YamNet) -> dict[tuple[int, str], np.ndarray]:
    """By place in Keras's order of layers that have weights, and attribute; in TensorFlow's layouts."""
    arrays: dict[tuple[int, str], np.ndarray] = {}
    for place, layer in enumerate(network.body.layers):
        kernel = layer.conv.weight.detach().numpy()
        if place % 2:
            arrays[2 * place, "depthwise_kernel"] = kernel.transpose(2, 3, 0, 1)
        else:
            arrays[2 * place, "kernel"] = kernel.transpose(2, 3, 1, 0)
        norm = {"beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        arrays |= {(2 * place + 1, key): getattr(layer.norm, ours).detach().numpy() for key, ours in norm.items()}
    arrays[2 * CLASSIFIER, "kernel"] = network.classifier.weight.detach().numpy().T
    arrays[2 * CLASSIFIER, "bias"] = network.classifier.bias.detach().numpy()
    return arrays


def keras_names(place: int) -> str:
    """Name of the layer that is the `place`th one with weights in Google's YAMNet."""
    if place == 2 * CLASSIFIER:
        return "dense"
    convolution = place // 2
    number = 1 + (convolution + 1) // 2
    kind = "conv" if not convolution else "depthwise_conv" if convolution % 2 else "pointwise_conv"
    return f"layer{number}/{kind}" + ("/bn" if place % 2 else "")


def varint(value: int) -> bytes:
    head = b""
    while value > 0x7F:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def table_block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A block of a LevelDB table; keys tell how they differ from the one before."""
    block, before = b"", b""
    for key, value in entries:
        shared = next((i for i, pair in enumerate(zip(key, before, strict=False)) if pair[0] != pair[1]), 0)
        block += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return block + struct.pack("<II", 0, 1)


def write_bundle(folder: Path, variables: dict[str, np.ndarray]) -> Path:
    """A SavedModel's variables as TensorFlow's `tensor_bundle.proto` and LevelDB's table format describe them."""
    folder.joinpath("variables").mkdir(parents=True)
    records: list[tuple[bytes, bytes]] = [(b"", b"\x08\x01\x1a\x02\x08\x01")]
    values = b""
    for name, array in sorted(variables.items()):
        raw = array.tobytes()
        shape = b"".join(b"\x12" + varint(len(dim)) + dim for dim in (b"\x08" + varint(n) for n in array.shape))
        kind = 1 if array.dtype == np.float32 else 9
        record = b"\x08" + varint(kind) + b"\x12" + varint(len(shape)) + shape
        record += b"\x20" + varint(len(values)) + b"\x28" + varint(len(raw)) + b"\x35" + bytes(4)
        records.append((name.encode(), record))
        values += raw
    table, index = b"", []
    for start in range(0, len(records), 7):
        block = table_block(records[start : start + 7])
        index.append((records[start : start + 7][-1][0], varint(len(table)) + varint(len(block))))
        table += block + bytes(5)
    block = table_block(index)
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(block))
    table += block + bytes(5) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (folder / "variables" / "variables.index").write_bytes(table)
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(values)
    return folder


def write_saved_model(network: YamNet, folder: Path) -> Path:
    variables: dict[str, np.ndarray] = {
        f"_yamnet/layer_with_weights-{place}/{attribute}/.ATTRIBUTES/VARIABLE_VALUE": np.ascontiguousarray(array)
        for (place, attribute), array in keras_arrays(network).items()
    }
    return write_bundle(folder, {**variables, "save_counter/.ATTRIBUTES/VARIABLE_VALUE": np.array(1, np.int64)})


def same(path: Path, network: YamNet, tolerance: float) -> None:
    loaded, _ = load_yamnet(path)
    x = torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for ours, theirs in zip(loaded(x), network(x), strict=True):
            assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_an_archive_gives_the_network_back(network, weights):
    same(weights, network, 1e-4)


def test_an_archive_in_eight_bits_gives_the_kernels_back(weights, network, tmp_path):
    source = write_archive(network, tmp_path / "yamnet.npz", whole=True)
    found = load_yamnet(import_yamnet(source, tmp_path / "a.safetensors"))[0].state_dict()
    for name, value in load_yamnet(weights)[0].state_dict().items():
        step = value.abs().amax(tuple(range(1, value.ndim)), keepdim=True) / 127 if value.ndim > 1 else 0
        assert ((found[name] - value).abs() <= 0.51 * step).all()


def test_a_saved_model_gives_the_network_back(network, tmp_path):
    source = write_saved_model(network, tmp_path / "model")
    same(import_yamnet(source, tmp_path / "a.safetensors"), network, 1e-5)
    index = source / "variables" / "variables.index"
    same(import_yamnet(index, tmp_path / "b.safetensors"), network, 1e-5)


def test_a_keras_file_gives_the_network_back(network, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "yamnet.h5", "w") as file:
        for (place, attribute), array in keras_arrays(network).items():
            layer = keras_names(place)
            file[f"{layer}/{layer}/{attribute}:0"] = array
    same(import_yamnet(tmp_path / "yamnet.h5", tmp_path / "a.safetensors"), network, 1e-5)


def test_keras_names_find_their_places(network):
    for place, attribute in keras_arrays(network):
        layer = keras_names(place)
        assert keras_place(f"{layer}/{layer}/{attribute}:0") == (place // 2, attribute)
        assert keras_place(f"{layer}/{attribute}") == (place // 2, attribute)
    assert keras_place("top_level_model_weights") is None
    assert keras_names(2 * CONVOLUTIONS - 1) == "layer14/pointwise_conv/bn"


@pytest.mark.skipif(importlib.util.find_spec("h5py") is not None, reason="h5py is installed")
def test_a_keras_file_without_h5py_says_what_to_install(tmp_path):
    (tmp_path / "yamnet.h5").write_bytes(b"\x89HDF")
    with pytest.raises(ConfigError, match="pip install h5py"):
        import_yamnet(tmp_path / "yamnet.h5", tmp_path / "a.safetensors")


def test_a_bundle_of_several_blocks_is_read_whole(tmp_path):
    draw = np.random.default_rng(0)
    variables = {f"layer-{i}/kernel": draw.normal(size=(i, 300)).astype(np.float32) for i in range(40)}
    folder = write_bundle(tmp_path / "model", {**variables, "scalar": np.array(3.0, np.float32)})
    found = read_bundle(folder / "variables" / "variables.index")
    assert found.keys() == {*variables, "scalar"}
    for name, array in variables.items():
        np.testing.assert_array_equal(found[name](), array)
    assert found["scalar"]() == 3


def test_names_of_the_classes_come_along(network, tmp_path):
    source = write_archive(network, tmp_path / "yamnet.npz")
    assert load_yamnet(import_yamnet(source, tmp_path / "a.safetensors"))[1]["classes"] == []
    names = ["Speech", "Child speech, kid speaking", *(f"class {i}" for i in range(519))]
    rows = [f'{i},/m/{i},"{name}"' for i, name in enumerate(names)]
    (tmp_path / CLASS_MAP).write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    header = load_yamnet(import_yamnet(source, tmp_path / "a.safetensors"))[1]
    assert header["classes"] == names
    assert header["source"] == "yamnet.npz"
    (tmp_path / CLASS_MAP).write_text("index,mid,display_name\n0,/m/0,Speech\n")
    with pytest.raises(ModelError, match="map of 521 classes"):
        import_yamnet(source, tmp_path / "a.safetensors")


def test_sources_that_will_not_do(network, tmp_path):
    def refused(source: Path, message: str) -> None:
        with pytest.raises(ModelError, match=message) as caught:
            import_yamnet(source, tmp_path / "out.safetensors")
        assert str(caught.value).startswith(str(source))
        assert not (tmp_path / "out.safetensors").exists()

    refused(tmp_path / "none.h5", "no such file")
    (tmp_path / "yamnet.tflite").write_bytes(b"TFL3")
    refused(tmp_path / "yamnet.tflite", "neither")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 and no more")
    refused(tmp_path / "bad.npz", "no weights of YAMNet")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    refused(tmp_path / "other.npz", "no weights of YAMNet")
    wrong = write_archive(network, tmp_path / "wrong.npz", {"28_fc_b": np.zeros(10, np.float32)})
    refused(wrong, "other shapes.*classifier.bias")
    wrong = write_archive(network, tmp_path / "nan.npz", {"05_conv_b": np.full(128, np.nan, np.float32)})
    refused(wrong, "not all numbers")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no SavedModel")
    refused(write_bundle(tmp_path / "foreign", {"a": np.zeros(3, np.float32)}), "convolution 1 has no kernel")
    half = write_saved_model(network, tmp_path / "half") / "variables" / "variables.index"
    half.write_bytes(half.read_bytes()[:2000])
    refused(half, "no index of TensorFlow variables")


def test_an_output_that_cannot_be_written(network, tmp_path):
    source = write_archive(network, tmp_path / "yamnet.npz")
    with pytest.raises(ConfigError, match="cannot be written"):
        import_yamnet(source, source / "below.safetensors")


def test_weights_that_are_none(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        load_yamnet(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ModelError, match="no weights of YAMNet"):
        load_yamnet(tmp_path / "text.safetensors")
    checkpoint.save_branch(tmp_path / "other.safetensors", PatchLstm(8), CONFIG, {})
    with pytest.raises(ModelError, match="no weights of YAMNet"):
        load_yamnet(tmp_path / "other.safetensors")


def test_command(avser_command, network, tmp_path):
    source = write_archive(network, tmp_path / "yamnet.npz")
    done = avser_command("import-yamnet", source, "-o", tmp_path / "out.safetensors")
    assert (done.code, done.err) == (0, "")
    assert str(tmp_path / "out.safetensors") in done.out
    same(tmp_path / "out.safetensors", network, 1e-4)
    done = avser_command("import-yamnet", tmp_path / "none.h5")
    assert (done.code, done.out) == (2, "")
    assert "no such file" in done.err


# The LSTM over patches


def test_pretrained_weights_are_what_training_begins_with(network, weights):
    backbone = YamnetLstm(pretrained_file=str(weights))
    backbone.load_pretrained()
    x = torch.randn(2, 1, 96, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.eval().yamnet(x), load_yamnet(weights)[0](x)[0])
    before = backbone.yamnet.layers[0].norm.running_mean.clone()
    backbone.train()(torch.randn(2, 1, 64, 96)).sum().backward()
    torch.testing.assert_close(backbone.yamnet.layers[0].norm.running_mean, before, rtol=0, atol=0)
    assert all(weight.grad is not None for weight in backbone.parameters())


def test_frozen_weights_are_not_trained(weights):
    backbone = YamnetLstm(pretrained_file=str(weights), frozen=True).train()
    backbone(torch.randn(2, 1, 64, 96)).sum().backward()
    assert all(weight.grad is None for weight in backbone.yamnet.parameters())
    assert all(weight.grad is not None for weight in backbone.lstm.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"frozen": True}, "frozen needs"), ({"pretrained_file": "a", "n_mels": 40}, "64 bands")],
)
def test_options_that_do_not_fit(options, message):
    network = CONFIG.network.model_copy(update={"options": options})
    with pytest.raises(ConfigError, match=message):
        build_model(CONFIG.model_copy(update={"network": network}))


def test_lstm_ends_at_the_last_patch_of_each_clip():
    torch.manual_seed(0)
    lstm = PatchLstm(8).eval()
    x = torch.randn(2, 1, 8, 5)
    with torch.inference_mode():
        both = lstm(x, torch.tensor([5, 3]))
        torch.testing.assert_close(both[1:], lstm(x[1:, ..., :3]))
        torch.testing.assert_close(both[:1], lstm(x[:1]))
    assert both.shape == (2, lstm.features) == (2, 150)


# Embeddings as input


def test_embeddings_of_a_sound(weights):
    params = INPUT.model_copy(update={"kind": "embeddings", "weights": str(weights)})
    sound = noise(2.0)
    made = inputs.prepare(sound, params)
    with torch.inference_mode():
        expected = load_yamnet(weights)[0](cut(sound))[0]
    torch.testing.assert_close(torch.from_numpy(made), expected)
    given, lengths = inputs.batch(torch.from_numpy(made)[None], torch.tensor([len(made)]), params)
    torch.testing.assert_close(given, expected.T[None, None])
    assert lengths.tolist() == [len(expected)] == [4]
    vector = inputs.prepare(sound, params.model_copy(update={"kind": "features", "features": "yamnet"}))
    np.testing.assert_allclose(vector, np.concatenate([made.mean(0), made.std(0)]))


def test_sets_of_features_are_joined(weights):
    pytest.importorskip("librosa")
    params = load_config(CONFIGS / "yamnet_baseline.yaml").audio
    params = params.model_copy(update={"weights": str(weights)})
    parts = [
        inputs.prepare(noise(1.0), params.model_copy(update={"features": name}))
        for name in params.features.split("+")
    ]
    np.testing.assert_allclose(inputs.prepare(noise(1.0), params), np.concatenate(parts))


def test_embeddings_need_weights(weights, tmp_path):
    params = INPUT.model_copy(update={"kind": "embeddings"})
    with pytest.raises(ConfigError, match=r"audio\.weights=FILE"):
        inputs.prepare(noise(1.0), params)
    with pytest.raises(ModelError, match="cannot be read"):
        inputs.prepare(noise(1.0), params.model_copy(update={"weights": str(tmp_path / "none.safetensors")}))
    with pytest.raises(ConfigError, match="n_mels=64"):
        inputs.prepare(noise(1.0), params.model_copy(update={"weights": str(weights), "n_mels": 40}))


def test_other_weights_of_the_same_name_are_noticed(network, tmp_path):
    params = INPUT.model_copy(update={"kind": "embeddings", "weights": str(tmp_path / "a.safetensors")})
    assert embeddings.fingerprint(INPUT) == embeddings.fingerprint(params) == ""
    found = []
    for seed in (0, 1):
        import_yamnet(write_archive(spread(network, seed), tmp_path / "a.npz"), tmp_path / "a.safetensors")
        os.utime(tmp_path / "a.safetensors", ns=(seed, seed))
        found.append((embeddings.fingerprint(params), inputs.prepare(noise(1.0), params).tobytes()))
    spread(network)
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


# Training


@pytest.mark.parametrize("name", ["yamnet_lstm", "frozen", "yamnet_embeddings_lstm", "yamnet_baseline"])
def test_one_epoch(name, weights, tmp_path, monkeypatch):
    if importlib.util.find_spec("lightning") is None or importlib.util.find_spec("librosa") is None:
        pytest.skip("training needs the extra train")
    from avser.training.runs import train

    monkeypatch.setenv("AVSER_CACHE", str(tmp_path / "cache"))
    make_corpus(tmp_path / "sounds", "audio")
    overrides = [f"corpora=[{{name: folder, root: sounds, options: {{subject: {SUBJECT!r}}}}}]", "folds=[0]"]
    overrides += ["protocol=subject5", "validation=1", "training.epochs=1", "training.batch_size=8"]
    if name == "frozen":
        overrides += [f"network.options.pretrained_file={weights}", "network.options.frozen=true"]
    elif name != "yamnet_lstm":
        overrides.append(f"audio.weights={weights}")
    config = load_config(CONFIGS / f"{'yamnet_lstm' if name == 'frozen' else name}.yaml", overrides)
    outcome = train(config, tmp_path, tmp_path / "runs")
    assert outcome.table.logits.shape[1] == len(LABEL_SETS["basic4"])
    if name == "frozen":
        weights_then = load_yamnet(weights)[0].body.state_dict()
        weights_now = checkpoint.load(outcome.folder / "fold0" / "model.safetensors").branches["audio"].network
        torch.testing.assert_close(weights_now.backbone.yamnet.state_dict(), weights_then, rtol=0, atol=0)


# The published network


@pytest.fixture(scope="module")
def published() -> Path:
    if not os.environ.get("AVSER_DATA"):
        pytest.skip("needs real recordings and YAMNet's weights: set AVSER_DATA")
    path = Path(os.environ["AVSER_DATA"]) / "weights" / "yamnet" / "yamnet_dequant.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def test_mel_filters_are_those_in_the_published_network(published):
    with np.load(published) as archive:
        theirs = archive["00_fc_q"] * archive["00_fc_s"][:, None]
        np.testing.assert_allclose(archive["00_fc_b"], INPUT.offset, atol=1e-6)
    ours = features.mel_matrix(INPUT.rate, INPUT.n_fft, INPUT.n_mels, INPUT.fmin, INPUT.fmax, INPUT.slopes)
    np.testing.assert_allclose(ours.T, theirs, atol=0.5 / 127 + 1e-5)  # half a step of eight bits


def test_recordings_of_speech_are_speech(published, tmp_path):
    """By the 0.975 s in the middle of each, and by the mean over all patches with silence cut at both ends."""
    network, header = load_yamnet(import_yamnet(published, tmp_path / "yamnet.safetensors"))
    clips = data.scan(CONFIG, Path(os.environ["AVSER_DATA"]))
    trimmed = INPUT.model_copy(update={"trim_db": 35.0})
    middle, whole = 0, 0
    for number in np.linspace(0, len(clips) - 1, 100).round().astype(int):
        samples = media.read_audio(clips[number].path, RATE).samples
        start = (len(samples) - WINDOW) // 2
        with torch.inference_mode():
            tops = [
                network(cut(part))[1].mean(0).argmax()
                for part in (samples[start : start + WINDOW], features.prepare(samples, trimmed))
            ]
        middle += header["classes"][tops[0]] == "Speech"
        whole += header["classes"][tops[1]] == "Speech"
    assert middle >= 95
    assert whole >= 95
