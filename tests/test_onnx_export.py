"""Graphs of every backbone and rule say what torch says; int8; metadata; errors."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avser import checkpoint, onnx_int8
from avser.checkpoint import Checkpoint, save_branch
from avser.config import parse_config
from avser.labels import LABEL_SETS
from avser.models import BACKBONES, build_model
from avser.models.fusion import FUSION_RULES, Calibration
from avser.models.torchvision_faces import TORCHVISION_BACKBONES
from avser.onnx import export, need
from avser.onnx import graphs as onnx_graphs
from avser.types import DataError, MissingExtraError, ModelError

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

CLOSE = 1e-4
"""Largest difference of probabilities between torch and ONNX Runtime."""
LABELS = LABEL_SETS["basic7"]
NARROW = {"widths": [4, 4, 8, 8], "features": 8}
VECTOR = {"kind": "features", "features": "means162"}
SETTINGS: dict[str, tuple[dict, dict]] = {
    "resnet_attention": ({**NARROW, "deltas": True}, {}),
    "cnn_lstm": ({**NARROW, "hidden": 4, "layers": 2}, {"hop": 800}),
    "random_filters": ({"profiles": 12}, {}),
    "spectrogram_cnn2d": ({"picture": 24, "dense": 8}, {"kind": "picture", "picture": 24}),
    "fser": ({"picture": 32, "widths": [4, 4, 4, 4], "dense": [8, 8]}, {"kind": "picture", "picture": 32}),
    "cnn1d_features": ({"inputs": 162, "width": 8}, VECTOR),
    "cnn1d_162": ({}, VECTOR),
    "lstm_162": ({"hidden": [4]}, VECTOR),
    "alexnet3d": ({"widths": [4, 4, 8, 8, 8], "features": 8}, {}),
    "yamnet_lstm": ({"hidden": 4}, {}),
    "patch_lstm": ({"n_mels": 64, "hidden": 4}, {}),
    "resnet_face": ({"widths": [4, 8], "blocks": [1, 1]}, {}),
    "resnet18": ({"size": 40}, {}),
    "mobilenet_v3_small": ({"size": 40}, {}),
    "efficientnet_b0": ({"size": 40}, {}),
    "unit_kernel": ({"anchors": 9}, {}),
}
"""Options of a backbone that make it small, and of its input."""

Run = Callable[..., list[np.ndarray]]


def model_of(signal: str, name: str, folder: Path) -> Checkpoint:
    """A model file of one branch with random weights, whose statistics are not those of a new network."""
    options, given = SETTINGS.get(name, ({}, {}))
    branch = "audio" if signal == "sound" else "face"
    values = {"name": name, "branch": branch, "labels": "basic7", "corpora": [], "protocol": "final"}
    values["network"] = {"name": name, "options": options, "mirror": signal == "crops"}
    values[branch] = given if signal == "sound" else {"input": signal}
    config = parse_config(values, "test")
    torch.manual_seed(0)
    network = build_model(config).eval()
    for key, buffer in network.named_buffers():
        if key.endswith(("running_mean", "centre")):
            buffer.normal_(0, 0.1)
        elif key.endswith(("running_var", "scale", "used")):
            buffer.uniform_(0.5, 1.5)
        elif key.endswith("anchors"):
            buffer.normal_()
    meta = {"labels": list(LABELS), "name": name, "licence": "MIT", "version": "1", "temperature": 1.5}
    save_branch(folder / "model.safetensors", network, config, {**meta, "metrics": {"many": 1}})
    return checkpoint.load(folder / "model.safetensors")


def opened(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, given: dict[str, torch.Tensor]) -> list[np.ndarray]:
    wanted = {x.name for x in session.get_inputs()}
    return session.run(None, {name: x.numpy() for name, x in given.items() if name in wanted})


def probs(logits: torch.Tensor | np.ndarray) -> np.ndarray:
    return torch.as_tensor(logits).double().softmax(-1).numpy()


def other_sizes(graph: onnx_graphs.Graph, batch: int, length: int) -> dict[str, torch.Tensor]:
    """Inputs of a graph whose free axes have other sizes than in its example, random as those are."""
    sizes = {"batch": batch, "frames": length, "faces": length}
    given = {}
    for name, example in graph.inputs.items():
        shape = list(example.shape)
        for axis, free in graph.axes.get(name, {}).items():
            shape[axis] = sizes[free]
        given[name] = torch.rand(shape) if example.is_floating_point() else torch.ones(shape, dtype=example.dtype)
    if "lengths" in given:
        most = given["mel"].shape[3]
        given["lengths"] = torch.tensor([max(1, most - 20 * clip) for clip in range(batch)])
    if "mask" in given:
        given["mask"][-1, 1:] = False
    return given


UNKNOWN = {"yamnet_lstm"}
"""Backbones that do not go into ONNX: torch follows no LSTM whose steps are a sum of other sizes."""
BACKBONE_NAMES = [(signal, name) for signal, registry in BACKBONES.items() for name in registry]


@pytest.mark.parametrize(("signal", "name"), BACKBONE_NAMES, ids=[name for _, name in BACKBONE_NAMES])
def test_every_backbone_says_the_same(signal, name, tmp_path):
    if name in TORCHVISION_BACKBONES and not importlib.util.find_spec("torchvision"):
        pytest.skip("torchvision is not installed")
    if SETTINGS.get(name, ({}, {}))[1].get("kind") == "features":
        pytest.importorskip("librosa", reason="librosa is not installed")
    model = model_of(signal, name, tmp_path)
    part = model.kind
    if name in UNKNOWN:
        with pytest.raises(ModelError, match="does not go into ONNX"):
            export.export(model, part, tmp_path / "x.onnx")
        return
    export.export(model, part, tmp_path / "x.onnx")
    session, graph = opened(tmp_path / "x.onnx"), onnx_graphs.graph_of(model, part)
    for batch, length in ((1, 40), (3, 170)):
        given = other_sizes(graph, batch, 5 if part == "face" else length)
        with torch.inference_mode():
            expected = graph.module(*given.values())
        (found,) = run(session, given)
        assert found.shape == (batch, len(LABELS))
        assert np.abs(probs(found) - probs(expected)).max() <= CLOSE


# Fusion


def calibrations() -> dict[str, Calibration]:
    prior = tuple(np.log(np.full(7, 1 / 7)))
    return {"face": Calibration(LABELS, 0.7, 0.5, prior), "audio": Calibration(LABEL_SETS["ravdess8"], 1.3)}


class EveryRule(torch.nn.Module):
    """All rules side by side: one export instead of many."""

    def __init__(self, graphs: list[onnx_graphs.Graph]) -> None:
        super().__init__()
        self.rules = torch.nn.ModuleList(graph.module for graph in graphs)

    def forward(self, audio: torch.Tensor, face: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(found for rule in self.rules for found in rule(audio, face, present))


@pytest.fixture(scope="module")
def rules(tmp_path_factory) -> onnxruntime.InferenceSession:
    """A graph with the outputs of every rule, each named RULE_OUTPUT."""
    graphs = {name: onnx_graphs.fusion_graph(rule(LABELS, calibrations())) for name, rule in FUSION_RULES.items()}
    one = graphs["mean"]
    outputs = tuple(f"{name}_{output}" for name in graphs for output in one.outputs)
    graph = onnx_graphs.Graph(EveryRule(list(graphs.values())), one.inputs, one.axes, outputs)
    path = tmp_path_factory.mktemp("onnx") / "rules.onnx"
    export.write_graph(path, graph, {}, "test")
    return opened(path)


@pytest.mark.parametrize("name", FUSION_RULES)
def test_every_rule_says_the_same_in_every_combination(name, rules):
    given = {"audio": torch.randn(4, 8), "face": torch.randn(4, 7)}
    given["present"] = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    names = [f"{name}_{output}" for output in ("log_probs", "branch_log_probs", "weights")]
    logs, each, weights = rules.run(names, {key: value.numpy() for key, value in given.items()})
    rule = FUSION_RULES[name](LABELS, calibrations())
    said = rule.calibrate({"audio": given["audio"], "face": given["face"]})
    stacked = torch.stack([said["face"], said["audio"]], 1)
    np.testing.assert_allclose(np.exp(logs), rule(stacked, given["present"]).exp(), atol=CLOSE)
    np.testing.assert_allclose(np.exp(each), stacked.exp(), atol=CLOSE)
    np.testing.assert_allclose(weights, rule.weights(given["present"], stacked), atol=CLOSE)
    assert np.isnan(logs[3]).all()


# A whole model


@pytest.fixture(scope="module")
def small(small_models) -> Checkpoint:
    return checkpoint.load(small_models.fused)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "whole.onnx"
    export.export(small, "whole", path)
    return path


def test_the_whole_is_its_branches_pooled_and_fused(small, whole):
    given = other_sizes(onnx_graphs.graph_of(small, "whole"), batch=4, length=90)
    given["faces"] = given["faces"][:, :5]
    given["mask"] = torch.tensor([[True] * 5, [True, False, True, False, True], [False] * 5, [False] * 5])
    given["lengths"] = torch.tensor([90, 0, 60, 0])
    given["faces"][1, 1] = torch.nan  # whatever lies where no face is
    found, weights = run(opened(whole), given)
    audio, face = (small.branches[name].network for name in ("audio", "face"))
    with torch.inference_mode():
        for row, names in enumerate((("audio", "face"), ("face",), ("audio",), ())):
            length, mask = given["lengths"][row : row + 1], given["mask"][row : row + 1]
            logits = {}
            if "audio" in names:
                logits["audio"] = audio(given["mel"][row : row + 1], length)
            if "face" in names:
                frames = face.frames(given["faces"][row][mask[0]])[None]
                logits["face"] = face.pool(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
            said = small.fusion.calibrate(logits)
            logs = [said.get(name, torch.full((1, 7), torch.nan)) for name in small.fusion.branches]
            present = torch.tensor([[name in names for name in small.fusion.branches]])
            expected = small.fusion(torch.stack(logs, 1), present).exp()
            np.testing.assert_allclose(found[row : row + 1], expected, atol=CLOSE)
            np.testing.assert_allclose(weights[row], small.fusion.weights(present)[0], atol=CLOSE)


def test_pooling(small, tmp_path):
    export.export(small, "pool", tmp_path / "x.onnx")
    logits = 3 * torch.randn(3, 6, 7)
    mask = torch.arange(6)[None] < torch.tensor([6, 1, 3])[:, None]
    (found,) = run(opened(tmp_path / "x.onnx"), {"logits": logits, "mask": mask})
    expected = small.branches["face"].network.pool(logits, mask)
    np.testing.assert_allclose(probs(found), probs(expected), atol=CLOSE)


def test_the_metadata_describes_the_model_and_names_no_path(small, whole):
    said = export.read_header(whole)
    assert said == json.loads(opened(whole).get_modelmeta().custom_metadata_map["avser"])
    assert (said["part"], said["name"], said["labels"]) == ("whole", "small", list(LABELS))
    assert said["branches"]["audio"]["config"]["audio"] == small.branches["audio"].config.audio.model_dump()
    assert said["branches"]["face"]["temperature"] == 0.5
    assert said["fusion"] == small.fusion.settings()
    assert str(Path(export.__file__).parent).encode() not in whole.read_bytes()


def test_names_and_free_axes(whole):
    axes = {given.name: given.shape for given in opened(whole).get_inputs()}
    assert axes == {
        "mel": ["batch", 1, 64, "frames"],
        "lengths": ["batch"],
        "faces": ["batch", "faces", 3, 48, 48],
        "mask": ["batch", "faces"],
    }
    assert [given.name for given in opened(whole).get_outputs()] == ["probs", "weights"]


# Integers


def write_pictures(folder: Path, count: int) -> Path:
    """A corpus of random pictures in FER2013's folders."""
    from PIL import Image

    chance = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(count):
            path = folder / split / ("happy", "sad")[number % 2] / f"fer{number:07d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(chance.integers(0, 255, (48, 48)).astype(np.uint8)).save(path)
    return folder


def test_int8_is_near_and_smaller(avser_command, small_models, tmp_path):
    root = write_pictures(tmp_path / "pictures", 12)
    int8 = ("--int8", "--calibrate", "fer2013", "--root", root)
    assert avser_command("export", small_models.face, "-o", tmp_path / "plain.onnx").code == 0
    done = avser_command("export", small_models.face, "-o", tmp_path / "int8.onnx", *int8)
    assert (done.code, done.out.strip()) == (0, f"written: {tmp_path / 'int8.onnx'}")
    plain, quantised = (export.read_header(tmp_path / f"{name}.onnx") for name in ("plain", "int8"))
    assert quantised == {**plain, "int8": {"corpus": "fer2013", "clips": 24}}
    faces = {"faces": torch.rand(6, 3, 48, 48)}
    (exact,), (near,) = (run(opened(tmp_path / f"{name}.onnx"), faces) for name in ("plain", "int8"))
    difference = np.abs(probs(exact) - probs(near)).max()
    assert 0 < difference < 0.05


def test_int8_leaves_held_out_clips_aside(small_models, tmp_path):
    root = write_pictures(tmp_path / "pictures", 4)
    model = checkpoint.load(small_models.face)
    model.meta["held_out"] = {"fer2013": {"split": ["test"]}}
    assert {clip.info["split"] for clip in onnx_int8._clips(model, "fer2013", root)} == {"train"}
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="no clip of 'fer2013' is left to calibrate on"):
        onnx_int8._clips(model, "fer2013", root)


# Errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--what", "voice"], "unknown part 'voice' of a model: choose from audio, face, pool, fusion, whole"),
        (["--what", "audio"], "has no audio branch"),
        (["--what", "whole"], "has no audio branch"),
        (["--int8"], "give --int8, --calibrate CORPUS and --root DIR together"),
        (["--calibrate", "fer2013", "--root", "x"], "give --int8, --calibrate CORPUS and --root DIR together"),
        (["--calibrate", "fer2013"], "give --int8, --calibrate CORPUS and --root DIR together"),
        (["--what", "pool", "--int8", "--calibrate", "fer2013", "--root", "."], "has no convolutions"),
    ],
)
def test_what_cannot_be_is_one_line(avser_command, small_models, tmp_path, arguments, complaint):
    done = avser_command("export", small_models.face, "-o", tmp_path / "x.onnx", *arguments)
    assert done.code == 2
    assert complaint in done.complaint
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_names_the_extra(avser_command, small_models, monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    done = avser_command("export", small_models.face, "-o", tmp_path / "x.onnx")
    assert done.complaint == f"avser: this needs {package}, which is not installed: pip install 'avser[onnx]'"
    with pytest.raises(MissingExtraError):
        need(package)


def test_a_network_that_onnx_does_not_know(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x).abs()

    graph = onnx_graphs.Graph(Odd(), {"x": torch.rand(2, 3, 3)}, {"x": {0: "batch"}}, ("y",))
    with pytest.raises(
        ModelError, match=r"odd\.safetensors: its network does not go into ONNX \(.*use it by torch"
    ):
        export.write_graph(tmp_path / "x.onnx", graph, {}, "odd.safetensors")


def test_a_network_that_knows_one_size_only(tmp_path):
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(len(x), -1)

    graph = onnx_graphs.Graph(Fixed(), {"x": torch.rand(2, 3)}, {"x": {0: "batch"}}, ("y",))
    with pytest.raises(ModelError, match="ONNX"):
        export.write_graph(tmp_path / "x.onnx", graph, {}, "test")


def test_files_that_are_no_graphs_of_avser(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        export.read_header(tmp_path / "none.onnx")
    for content in (b"no graph at all", b""):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(ModelError, match="is no graph of avser, or is damaged"):
            export.read_header(tmp_path / "x.onnx")


def test_a_folder_that_cannot_be_written(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        export.export(small, "pool", tmp_path / "file" / "x.onnx")
