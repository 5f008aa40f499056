"""Settings: what is laid over what, and one clear sentence for what is not valid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avser import inputs
from avser.config import AudioInput, FaceInput, load_config, parse_config
from avser.labels import label_set
from avser.members import MEMBERS_SHARE, members
from avser.models import build_model
from avser.training.estimators import ESTIMATORS
from avser.types import ConfigError
from avser.units import unit_names

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(path for path in FOLDER.rglob("*.yaml") if not path.name.startswith(("benchmark_", "fused_")))
"""Those of branches; plans of benchmarks and fused models are tested with what takes them."""
MINIMAL = """
branch: audio
labels: basic7
protocol: random
corpora:
  - {name: emodb, root: emodb}
network: {name: cnn_lstm}
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_what_is_not_given_has_its_default(write):
    config = load_config(write(MINIMAL))
    assert config.name == "mine"  # the file's stem
    assert config.audio == AudioInput()
    assert (config.training.epochs, config.network.dropout, config.seed) == (30, 0.3, 0)


def test_overrides_are_read_as_yaml(write):
    overrides = [
        *("training.epochs=3", "training.lr=2.0e-4", "audio.trim_db=null", "augment.flip=true"),
        *("folds=[0, 2]", "name=a=b", "network.options={hidden: 16}", "network.options.layers=2"),
    ]
    config = load_config(write(MINIMAL), overrides)
    assert (config.training.epochs, config.training.lr) == (3, 2e-4)
    assert config.audio.trim_db is None
    assert config.augment.flip is True
    assert config.folds == [0, 2]
    assert config.name == "a=b"
    assert config.network.options == {"hidden": 16, "layers": 2}
    assert config.network.name == "cnn_lstm"  # beside what was overridden


def test_the_last_override_counts(write):
    assert load_config(write(MINIMAL), ["seed=1", "seed=2"]).seed == 2


def test_plain_values_and_back(write):
    config = load_config(write(MINIMAL), ["augment.speed=0.1"])
    assert parse_config(config.model_dump(mode="json"), "header") == config


def test_a_config_cannot_be_changed(write):
    with pytest.raises(ValueError, match="frozen"):
        load_config(write(MINIMAL)).seed = 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", r"unknown key 'training.epoch'; did you mean 'epochs'\?"),
        ("trainin.epochs=3", r"unknown key 'trainin'; did you mean 'training'\?"),
        ("augment.mix_up=1", r"did you mean 'mixup'\?"),
        ("face.zzz=1", "unknown key 'face.zzz'; known keys are input, size, fps, units, power, centre"),
        ("network.options=3", "network.options: .*dictionary"),
        ("training.epochs=0", "training.epochs: .*greater than or equal to 1"),
        ("training.epochs=many", "training.epochs: .*integer"),
        ("training.lr=0", "training.lr: .*greater than 0"),
        ("training.optimizer=lion", "training.optimizer: .*'adamw', 'adam', 'sgd', 'rmsprop' or 'adagrad'"),
        ("training.label_smoothing=1", "training.label_smoothing: .*less than 1"),
        ("network.dropout=-0.1", "network.dropout: "),
        ("branch=video", "branch: .*'audio' or 'face'"),
        ("labels=basic8", "labels: unknown label set 'basic8': choose from basic7"),
        ("corpora=[{name: emodb, rot: x}]", r"unknown key 'corpora.0.rot'; did you mean 'root'\?"),
        ("corpora=[{name: emodb}]", "corpora.0.root: Field required"),
        ("network={}", "network.name: Field required"),
        ("training={1: 2}", "training"),
    ],
)
def test_what_is_not_valid_is_one_sentence_that_names_file_and_key(write, override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(MINIMAL), [override])
    assert "mine.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "not of the form key=value"),
        ("=3", "not of the form key=value"),
        ("seed.deeper=3", "'seed' holds no further settings"),
        ("corpora.0.root=x", "'corpora' holds no further settings"),
        ("seed=[", r"'\[' is not a YAML value"),
        ("seed=2024-99-99", "is not a YAML value"),
    ],
)
def test_an_override_that_is_none(write, override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(MINIMAL + "seed: 1\n"), [override])
    assert override in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("branch: [audio", "is not valid YAML"),
        ("seed: 2024-99-99", "is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is not valid YAML"),  # and is not executed
        ("- audio", "holds no settings"),
        ("", "holds no settings"),
        ("1: 2", "Field required|string"),
    ],
)
def test_a_file_that_is_no_config(write, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(text))
    assert "mine.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none.yaml: no such config file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read as a config"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match=r"binary.yaml: cannot be read as a config"):
        load_config(tmp_path / "binary.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_its_model_runs(path):
    config = load_config(path)
    if config.network.name in ESTIMATORS:  # which are no networks
        assert config.audio.kind == "features"
    else:
        given = sound(config.audio) if config.branch == "audio" else face(config.face)
        with torch.inference_mode():
            logits = build_model(config).eval()(*given)
        assert logits.shape == (1, len(label_set(config.labels)))
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert 5 <= len(lines) <= 25  # a config holds only what differs


def sound(params: AudioInput) -> tuple[torch.Tensor, torch.Tensor]:
    """What an audio network gets of one second of noise."""
    if params.kind == "embeddings":  # the weights are not at hand
        return inputs.batch(torch.rand(1, 3, 1024), torch.tensor([3]), params)
    if params.kind == "features":
        pytest.importorskip("librosa")
    samples = 0.1 * np.random.default_rng(0).normal(size=params.rate).astype(np.float32)
    made = torch.from_numpy(inputs.prepare(samples, params))
    return inputs.batch(made[None], torch.tensor([len(made)]), params)


def face(params: FaceInput) -> tuple[torch.Tensor, torch.Tensor]:
    """What a face network gets of two frames."""
    shape = (3, params.size, params.size) if params.input == "crops" else (len(unit_names(params)),)
    return torch.rand(1, 2, *shape), torch.ones(1, 2, dtype=torch.bool)


def test_there_are_shipped_configs():
    branches = {load_config(path).branch for path in CONFIGS}
    assert branches == {"audio", "face"}


# Ensembles


def test_members_differ_in_the_keys_they_name(write):
    text = (
        MINIMAL
        + """
seed: 4
ensemble:
  - {seed: 5}
  - {network.options.hidden: 16, training.epochs: 5}
  - {network: {name: functionals}}
"""
    )
    config = load_config(write(text), ["network.dropout=0.1", "network.options={layers: 2}"])
    first, second, third, fourth = members(config)
    assert first == config.model_copy(update={"ensemble": []})
    assert second == first.model_copy(update={"seed": 5})
    assert third.network.options == {"layers": 2, "hidden": 16}  # a dotted key reaches inside
    assert (third.network.name, third.network.dropout, third.training.epochs) == ("cnn_lstm", 0.1, 5)
    assert (fourth.network.name, fourth.network.options, fourth.network.dropout) == ("functionals", {}, 0.3)
    assert config.network.options == {"layers": 2}  # one member leaves the others as they are
    assert members(first) == [first]


def test_an_ensemble_survives_plain_values(write):
    config = load_config(write(MINIMAL + "ensemble: [{network.options.hidden: 16}, {seed: 1}]"))
    again = parse_config(config.model_dump(mode="json"), "header")
    assert again == config
    assert members(again) == members(config)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("{network.optons: {}}", r"unknown key 'network.optons'; did you mean 'options'\?"),
        ("{sed: 1}", r"unknown key 'sed'; did you mean 'seed'\?"),
        ("{seed.deeper: 1}", "'seed.deeper': 'seed' holds no further settings"),
        ("{training.epochs: 0}", "training.epochs: .*greater than or equal to 1"),
        ("{network: {}}", "network.name: Field required"),
    ],
)
def test_a_member_that_is_not_valid_is_one_sentence_that_names_it(write, member, message):
    config = load_config(write(MINIMAL + f"ensemble: [{{seed: 1}}, {member}]"))
    for refused in (members, build_model):
        with pytest.raises(ConfigError, match=rf"^mine, member 3 of the ensemble: {message}") as caught:
            refused(config)
        assert "\n" not in str(caught.value)


OTHERWISE = {
    "branch": "face",
    "labels": "ferplus8",
    "corpora": [],
    "protocol": "final",
    "exclude": ["emodb/03"],
    "validation": 3,
    "audio.n_mels": 32,
    "face.size": 64,
    "split_seed": 1,
}


@pytest.mark.parametrize(("key", "value"), OTHERWISE.items())
def test_members_share_data_split_and_input(write, key, value):
    config = load_config(write(MINIMAL)).model_copy(update={"ensemble": [{key: value}]})
    with pytest.raises(ConfigError, match=f"member 2 of the ensemble may not differ in '{key.split('.')[0]}'"):
        members(config)


def test_what_members_share_is_tested():
    assert {key.split(".")[0] for key in OTHERWISE} == set(MEMBERS_SHARE)


def test_ensembles_are_not_for_crops(write):
    face = ["branch=face", "network.name=resnet_face", "ensemble=[{seed: 1}]"]
    with pytest.raises(ConfigError, match=r"mine.yaml: ensemble: is for the audio branch and for action units"):
        load_config(write(MINIMAL), face)
    load_config(write(MINIMAL), ["ensemble=[{seed: 1}]"])
    load_config(write(MINIMAL), [*face, "face.input=action_units"])


def test_only_action_units_are_centred_by_subject(write):
    with pytest.raises(ConfigError, match=r"mine.yaml: face: centre: is for face.input=action_units only$"):
        load_config(write(MINIMAL), ["face.centre=subject"])
    load_config(write(MINIMAL), ["face.centre=subject", "face.input=action_units"])


def test_cutmix_is_for_faces_only(write):
    with pytest.raises(ConfigError, match=r"mine.yaml: augment.cutmix: is for the face branch only"):
        load_config(write(MINIMAL), ["augment.cutmix=1"])
    load_config(write(MINIMAL), ["branch=face", "network.name=resnet_face", "augment.cutmix=1"])


def test_a_frozen_backbone_comes_from_somewhere(write):
    with pytest.raises(ConfigError, match=r"mine.yaml: training.freeze: .*init_from$"):
        load_config(write(MINIMAL), ["training.freeze=true"])
    load_config(write(MINIMAL), ["training.freeze=true", "init_from=a.safetensors"])
