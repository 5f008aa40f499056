"""The published audio networks and their configs: sizes, gradients, files, any length, and whether they learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from corpora import SUBJECT, make_corpus
from networks import overfit

from avser import checkpoint
from avser.config import Config, load_config, parse_config
from avser.labels import LABEL_SETS
from avser.logits import read_logits
from avser.models import AudioBranch, build_model
from avser.models.papers import PAPER_BACKBONES, AlexNet3d, ResponseNorm
from avser.training.estimators import ESTIMATORS
from avser.types import AvserError, ModelError

CONFIGS = {
    name: Path(__file__).parent.parent / "configs" / "papers" / f"{name}.yaml"
    for name in (
        "spectrogram_cnn2d",
        "cnn1d_features",
        "mlp_features",
        "fser",
        "alexnet_iemocap",
        "alexnet_ravdess",
        "alexnet_emodb",
    )
}
CLASSES = len(LABEL_SETS["basic7"])

TINY = {
    "spectrogram_cnn2d": {"picture": 32, "widths": [8, 8, 8, 8, 16], "pool": 2, "dense": 32},
    "cnn1d_features": {"inputs": 40, "width": 16},
    "fser": {"picture": 32, "widths": [8, 8, 8, 16], "dense": [32, 16], "dropout": 0.0},
    "alexnet3d": {"widths": [8, 16, 16, 16, 16], "features": 16, "dropout": 0.0},
}
"""Options that make a network small and free of dropout; without a line here it is tested as it is."""

every_backbone = pytest.mark.parametrize("name", PAPER_BACKBONES)
both_sizes = pytest.mark.parametrize("options", [None, {}], ids=["tiny", "published"])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(name: str, options: dict | None = None) -> AudioBranch:
    return build_model(make_config(name, options)).eval()


def make_config(name: str, options: dict | None = None) -> Config:
    network = {"name": name, "options": TINY.get(name, {}) if options is None else options, "dropout": 0.0}
    values = {"branch": "audio", "labels": "basic7", "corpora": [], "protocol": "random", "network": network}
    return parse_config({"name": "test", **values}, "test")


def inputs(network: AudioBranch, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """What the branch takes: pictures, vectors, or log-mels of different lengths, the first one the longest."""
    backbone = network.backbone
    if hasattr(backbone, "picture"):
        return torch.rand(batch, 3, backbone.picture, backbone.picture), torch.ones(batch, dtype=torch.long)
    if hasattr(backbone, "centre"):
        return torch.randn(batch, 1, len(backbone.centre), 1), torch.ones(batch, dtype=torch.long)
    lengths = torch.tensor([96, *torch.randint(30, 96, (batch - 1,)).tolist()])
    return torch.randn(batch, 1, 64, 96), lengths


# The networks


@pytest.mark.parametrize(
    ("name", "count", "features"),
    [
        # 5·5·(1·32 + 32·64 + 64·128 + 128·64 + 64·32) + 320, then (32 + 1)·1024
        ("spectrogram_cnn2d", 25 * 20512 + 320 + 33 * 1024, 1024),
        ("cnn1d_features", 5 * 128 * (1 + 3 * 128) + 4 * 128, 11 * 128),
        # 9·(3·32 + 32·64 + 64·128 + 128·256) + 480, then 4097·512 + 513·256
        ("fser", 9 * 43104 + 480 + 4097 * 512 + 513 * 256, 256),
        # the five convolutions of AlexNet in one piece, then FC6
        (
            "alexnet3d",
            (3 * 121 + 1) * 96 + 2401 * 256 + 2305 * 384 + 3457 * 384 + 3457 * 256 + 257 * 256,
            256,
        ),
    ],
)
def test_number_of_parameters(name, count, features):
    backbone = make(name, {}).backbone
    assert sum(parameter.numel() for parameter in backbone.parameters()) == count
    assert backbone.features == features


@every_backbone
@both_sizes
def test_shapes(name, options):
    network = make(name, options)
    x, lengths = inputs(network)
    with torch.inference_mode():
        assert network.backbone(x, lengths).shape == (3, network.backbone.features)
        logits = network(x, lengths)
        assert network(x).shape == logits.shape == (3, CLASSES)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@every_backbone
def test_finite_gradients_reach_every_parameter(name):
    network = make(name).train()
    torch.nn.functional.cross_entropy(network(*inputs(network)), torch.tensor([0, 3, 6])).backward()
    assert not [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@every_backbone
def test_a_file_gives_the_same_network_back(name, tmp_path):
    network = make(name)
    if hasattr(network.backbone, "centre"):
        network.backbone.centre.fill_(0.5)
    meta = {"labels": list(LABEL_SETS["basic7"])}
    checkpoint.save_branch(tmp_path / "a.safetensors", network, make_config(name), meta)
    loaded = checkpoint.load(tmp_path / "a.safetensors").branches["audio"].network
    x = inputs(network)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(*x), network(*x), rtol=0, atol=0)


@every_backbone
def test_one_small_batch_can_be_overfitted(name):
    network = make(name).train()
    x, lengths = inputs(network, 4)
    x = 0.2 * x + torch.rand(4, x.shape[1], x.shape[2], 1)  # rows of its own for each
    assert overfit(network, x, lengths, lr=3e-3, steps=200) < 0.1


@every_backbone
def test_clips_of_a_batch_do_not_touch_one_another(name):
    network = make(name)
    x, lengths = inputs(network)
    with torch.inference_mode():
        alone = torch.cat([network(x[i : i + 1], lengths[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(network(x, lengths), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_mels", [33, 64, 80])
@pytest.mark.parametrize("steps", [1, 62, 63, 200])
def test_alexnet_takes_any_bands_and_length(n_mels, steps):
    network = make("alexnet3d")
    with torch.inference_mode():
        x = torch.randn(2, 1, n_mels, steps)
        assert network(x).isfinite().all()
        assert network(x, torch.tensor([steps, 1])).isfinite().all()


@pytest.mark.parametrize("steps", [20, 63, 64, 77, 150])
def test_alexnet_does_not_see_how_long_the_padding_is(steps):
    network = make("alexnet3d")
    lengths = torch.tensor([steps])
    x = torch.nn.functional.pad(torch.randn(1, 1, 64, steps), (0, 30))
    with torch.inference_mode():
        longer = torch.nn.functional.pad(x, (0, 170))
        torch.testing.assert_close(network(longer, lengths), network(x, lengths), rtol=1e-4, atol=1e-6)


def test_alexnet_makes_one_step_of_32_frames():
    network = AlexNet3d()
    seen = []
    network.layers[-1].register_forward_hook(lambda module, given, made: seen.append(made.shape))
    with torch.inference_mode():
        for steps in (63, 95, 319):
            network(torch.randn(1, 1, 64, steps))
    assert seen == [(1, 256, 1, steps) for steps in (1, 2, 9)]


@pytest.mark.parametrize("channels", [1, 4, 96])
def test_response_normalisation_is_that_of_torch(channels):
    torch.manual_seed(0)
    x = (200 * torch.randn(2, channels, 3, 5)).requires_grad_()
    expected = torch.nn.LocalResponseNorm(5, k=2.0)(x)
    torch.testing.assert_close(ResponseNorm(channels)(x), expected)
    theirs, ours = (torch.autograd.grad(y.square().sum(), x)[0] for y in (expected, ResponseNorm(channels)(x)))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_grey_pictures_are_read_once():
    network = make("spectrogram_cnn2d").backbone
    x = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(x.expand(-1, 3, -1, -1)), network(torch.cat([x, 0 * x, x], 1)))


def test_features_are_standardised():
    network = make("cnn1d_features").backbone
    x = torch.randn(2, 1, 40, 1)
    with torch.inference_mode():
        before = network(x)
        network.centre.fill_(-3.0)
        network.scale.fill_(2.0)
        torch.testing.assert_close(network(2 * x - 3), before)


@pytest.mark.parametrize("name", ["spectrogram_cnn2d", "fser"])
def test_other_input_than_pictures_is_refused(name):
    network = make(name)
    side = network.backbone.picture
    for shape in ((2, 1, 64, 90), (2, 3, side + 2, side + 2)):
        with pytest.raises(ModelError, match=f"takes pictures of {side}×{side} px"):
            network(torch.rand(shape))


def test_another_number_of_features_is_refused():
    with pytest.raises(ModelError, match="set network"):
        make("cnn1d_features")(torch.rand(2, 1, 41, 1))


# Their configs


@pytest.mark.parametrize("name", CONFIGS)
def test_config_describes_its_network(name):
    config = load_config(CONFIGS[name])
    if config.network.name in ESTIMATORS:
        assert config.audio.kind == "features"
        return
    assert config.network.name in PAPER_BACKBONES
    backbone = build_model(config).backbone
    assert getattr(backbone, "picture", config.audio.picture) == config.audio.picture
    assert config.labels == ("fser8" if name == "fser" else "basic4")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """A data root with a corpus of sounds."""
    root = tmp_path_factory.mktemp("data")
    make_corpus(root / "sounds", "audio")
    return root


@pytest.mark.parametrize("name", CONFIGS)
def test_one_epoch_of_every_config(name, sounds, tmp_path):
    if importlib.util.find_spec("lightning") is None or importlib.util.find_spec("librosa") is None:
        pytest.skip("training needs the extra train")
    from avser.training.runs import train

    reader = f"{{name: folder, root: sounds, options: {{subject: {SUBJECT!r}}}}}"
    overrides = [f"corpora=[{reader}]", "training.epochs=1", "training.batch_size=8", "folds=[0]", "validation=1"]
    if load_config(CONFIGS[name]).protocol not in ("random", "copies"):
        overrides += ["protocol=subject5"]
    if load_config(CONFIGS[name]).augment.copies:
        overrides += ["augment.copies=1"]
    config = load_config(CONFIGS[name], overrides)
    outcome = train(config, sounds, tmp_path)
    assert outcome.table.logits.shape[1] == len(LABEL_SETS[config.labels])
    fold = outcome.folder / "fold0"
    assert len(read_logits(fold / "logits.csv").clips) >= 3
    assert (fold / "model.safetensors").exists() == (config.network.name not in ESTIMATORS)


def test_wrong_picture_size_is_one_sentence(sounds, tmp_path):
    if importlib.util.find_spec("lightning") is None:
        pytest.skip("training needs the extra train")
    from avser.training.runs import train

    overrides = ["corpora=[{name: folder, root: sounds}]", "audio.picture=40", "folds=[0]", "augment.copies=0"]
    with pytest.raises(AvserError, match="64×64"):
        train(load_config(CONFIGS["fser"], overrides), sounds, tmp_path)
