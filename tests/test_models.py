"""Every audio and face backbone of the registries: shapes, gradients, files, padding, and whether it can learn."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from networks import overfit

from avser import checkpoint
from avser.config import Config, parse_config
from avser.labels import LABEL_SETS
from avser.models import AudioBranch, Ensemble, FaceBranch, build_model
from avser.models.audio import AUDIO_BACKBONES
from avser.models.face import FACE_BACKBONES, CkDcnn, FaceBackbone, standardise
from avser.models.statistics import Functionals, RandomFilters
from avser.models.torchvision_faces import TORCHVISION_BACKBONES
from avser.types import ConfigError

TINY = {
    "resnet_attention": {"widths": [4, 8, 8, 8], "features": 16},
    "cnn_lstm": {"widths": [4, 8, 8, 8], "features": 16, "hidden": 8},
    "resnet_face": {"widths": [8, 8, 16, 16], "blocks": [1, 1, 1, 1]},
    "ck_dcnn": {"dropout": 0.0},
    "resnet18": {"size": 48},
    "mobilenet_v3_small": {"size": 48},
    "efficientnet_b0": {"size": 48, "drop_path": 0.0},
}
"""Options that make a backbone small and free of dropout; without a line here it is tested as it is."""

needs_torchvision = pytest.mark.skipif(
    not importlib.util.find_spec("torchvision"), reason="torchvision is not installed"
)
FACES = [*FACE_BACKBONES, *(pytest.param(name, marks=needs_torchvision) for name in TORCHVISION_BACKBONES)]
BACKBONES = [
    *(("audio", name) for name in AUDIO_BACKBONES),
    *(("face", name) for name in FACE_BACKBONES),
    *(pytest.param("face", name, marks=needs_torchvision) for name in TORCHVISION_BACKBONES),
]
CLASSES = len(LABEL_SETS["basic7"])
REACH = 80
"""Frames of log-mel beyond the end of a clip that convolutions may see at most."""

every_backbone = pytest.mark.parametrize(("branch", "name"), BACKBONES)
every_audio_backbone = pytest.mark.parametrize("name", AUDIO_BACKBONES)
every_face_backbone = pytest.mark.parametrize("name", FACES)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make_config(branch: str, name: str, pool: str = "confidence", options: dict | None = None) -> Config:
    values = {
        "name": "test",
        "branch": branch,
        "labels": "basic7",
        "corpora": [],
        "protocol": "random",
        "network": {"name": name, "options": TINY.get(name, {}) if options is None else options, "pool": pool},
    }
    values["network"]["dropout"] = 0.0
    return parse_config(values, "test")


def make(branch: str, name: str, **settings) -> AudioBranch | FaceBranch:
    """A branch whose batch norms have seen something, so that their statistics are not those of a new layer."""
    network = build_model(make_config(branch, name, **settings))
    with torch.no_grad():
        network(*inputs(branch, 8))
    return network.eval()


def inputs(branch: str, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """What the branch takes: clips of different lengths, the first one the longest."""
    if branch == "audio":
        lengths = torch.tensor([96, *torch.randint(30, 96, (batch - 1,)).tolist()])
        return torch.randn(batch, 1, 64, 96), lengths
    mask = torch.arange(4)[None, :] < torch.tensor([4, *torch.randint(1, 4, (batch - 1,)).tolist()])[:, None]
    return torch.rand(batch, 4, 3, 48, 48), mask


@every_backbone
@pytest.mark.parametrize("options", [None, {}], ids=["tiny", "default"])
def test_shapes(branch, name, options):
    network = make(branch, name, options=options)
    x, other = inputs(branch)
    with torch.inference_mode():
        assert network.backbone(x, other).shape == (3, network.backbone.features)
        logits = network(x, other)
    assert logits.shape == (3, CLASSES)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@every_audio_backbone
@pytest.mark.parametrize("n_mels", [33, 40, 80])
@pytest.mark.parametrize("steps", [1, 2, 7, 33])
def test_audio_of_any_bands_and_length(name, n_mels, steps):
    network = build_model(make_config("audio", name, options={**TINY.get(name, {}), "n_mels": n_mels})).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 1, n_mels, steps)).isfinite().all()
        assert network(torch.randn(2, 1, n_mels, steps), torch.tensor([steps, 1])).isfinite().all()


@every_face_backbone
@pytest.mark.parametrize("size", [48, 64])
def test_faces_of_another_size(name, size):
    network = make("face", name)
    with torch.inference_mode():
        logits = network(torch.rand(2, 1, 3, size, size), torch.ones(2, 1, dtype=torch.bool))
    assert logits.shape == (2, CLASSES)


@every_backbone
def test_finite_gradients_reach_every_parameter(branch, name):
    network = make(branch, name).train()
    loss = torch.nn.functional.cross_entropy(network(*inputs(branch)), torch.tensor([0, 3, 6]))
    loss.backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert not without
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@every_backbone
def test_a_file_gives_the_same_network_back(branch, name, tmp_path):
    network = make(branch, name)
    meta = {"labels": list(LABEL_SETS["basic7"])}
    checkpoint.save_branch(tmp_path / "a.safetensors", network, make_config(branch, name), meta)
    loaded = checkpoint.load(tmp_path / "a.safetensors").branches[branch].network
    assert not loaded.training
    x = inputs(branch)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(*x), network(*x), rtol=0, atol=0)


@every_backbone
def test_one_small_batch_can_be_overfitted(branch, name):
    network = make(branch, name).train()
    x, other = inputs(branch, 4)
    if branch == "audio":  # a spectrum of its own for each clip, and a picture of its own
        x = 0.3 * x + torch.randn(4, 1, 64, 1)
    else:
        x = torch.rand(4, 3, 4, 4).repeat_interleave(12, 2).repeat_interleave(12, 3)[:, None] + 0.1 * x
    assert overfit(network, x, other, lr=2e-3, steps=120) < 0.1


@every_backbone
def test_clips_of_a_batch_do_not_touch_one_another(branch, name):
    network = make(branch, name)
    x, other = inputs(branch)
    with torch.inference_mode():
        alone = torch.cat([network(x[i : i + 1], other[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(network(x, other), alone, rtol=1e-4, atol=1e-5)


# Sound: what is beyond the end of a clip


@every_audio_backbone
def test_what_lies_far_beyond_the_end_has_no_say_at_all(name):
    network = make("audio", name)
    mel = torch.randn(2, 1, 64, 60 + REACH + 100)
    changed = mel.clone()
    changed[1, ..., 60 + REACH :] = 20 * torch.randn(64, 100)
    lengths = torch.tensor([mel.shape[-1], 60])
    with torch.inference_mode():
        torch.testing.assert_close(network(mel, lengths), network(changed, lengths), rtol=0, atol=1e-6)
        without_mask = (network(mel) - network(changed)).abs()
    assert without_mask[1].max() > 1e-3  # so the test would see a missing mask


@every_audio_backbone
def test_padding_hardly_changes_the_outcome(name):
    network = make("audio", name)
    mel = torch.randn(1, 1, 64, 100)
    padded = torch.nn.functional.pad(mel, (0, 200), value=-2.5)  # silence
    with torch.inference_mode():
        alone = network(mel)
        masked = (network(padded, torch.tensor([100])) - alone).abs().max()
        unmasked = (network(padded) - alone).abs().max()
    assert masked < 0.3 * unmasked  # not zero: convolutions at the end of the clip see a little of the padding


@every_audio_backbone
def test_no_lengths_mean_all_of_it(name):
    network = make("audio", name)
    mel = torch.randn(2, 1, 64, 50)
    with torch.inference_mode():
        torch.testing.assert_close(network(mel), network(mel, torch.tensor([50, 50])), rtol=1e-4, atol=1e-5)


# Time derivatives as further channels


@pytest.mark.parametrize("name", ["resnet_attention", "cnn_lstm"])
def test_derivatives_are_further_channels_of_the_first_layer(name):
    plain = make("audio", name)
    rich = make("audio", name, options={**TINY[name], "deltas": True})
    state = plain.state_dict()
    first = "backbone.front.body.0.weight"
    assert rich.state_dict()[first].shape[1] == 3 * state[first].shape[1]
    x, lengths = inputs("audio")
    with torch.inference_mode():
        assert rich(x, lengths).shape == (3, CLASSES)
        # without a weight on them, they change nothing
        widened = torch.cat([state[first], torch.zeros_like(state[first]).repeat(1, 2, 1, 1)], 1)
        rich.load_state_dict({**state, first: widened})
        torch.testing.assert_close(rich(x, lengths), plain(x, lengths), rtol=1e-4, atol=1e-5)
        rich.state_dict()[first][:, 1:] = 1.0
        assert not torch.allclose(rich(x, lengths), plain(x, lengths), atol=1e-3)


# Functionals in closed form


def statistics(x: np.ndarray) -> np.ndarray:
    """Mean, deviation, percentiles, slope over [-1, 1], size and deviation of the steps of (F, T), (10 F,)."""
    steps = np.diff(x, axis=1)
    slope = np.polyfit(np.linspace(-1, 1, x.shape[1]), x.T, 1)[0]
    percentiles = np.percentile(x, [5, 25, 50, 75, 95], axis=1)
    return np.concatenate([x.mean(1), x.std(1), *percentiles, slope, np.abs(steps).mean(1), steps.std(1)])


@pytest.mark.parametrize("steps", [3, 4, 50])
def test_functionals_agree_with_numpy(steps):
    fft = pytest.importorskip("scipy.fft")
    network = Functionals(n_mels=20, cepstra=7)
    mel = torch.randn(1, 1, 20, steps)
    cepstra = fft.dct(mel[0, 0].numpy(), axis=0, norm="ortho")[:7]
    expected = np.concatenate([statistics(mel[0, 0].numpy()), statistics(cepstra)])
    assert network.features == len(expected)
    np.testing.assert_allclose(network.measure(mel)[0], expected, rtol=1e-4, atol=1e-5)
    network.centre.fill_(2.0)
    network.scale.fill_(4.0)
    np.testing.assert_allclose(network(mel)[0], (expected - 2) / 4, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 30])
@pytest.mark.parametrize("network", [Functionals(), RandomFilters(profiles=10)], ids=["functionals", "filters"])
def test_padding_never_changes_statistics(network, length):
    mel = torch.randn(2, 1, 64, 40)
    mel[1, ..., length:] = 1e3
    with torch.inference_mode():
        together = network(mel, torch.tensor([40, length]))
        alone = [network(mel[:1]), network(mel[1:, ..., :length])]
    assert together.isfinite().all()
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    at_once = network.statistics(mel[:, 0], torch.tensor([[40], [length]]))
    torch.testing.assert_close(network.limit(at_once), together, rtol=0, atol=1e-5)


def test_one_frame_does_not_move():
    mel = torch.randn(1, 1, 64, 1)
    with torch.inference_mode():
        bands = Functionals()(mel)[0, : 64 * 10].view(10, 64)
    torch.testing.assert_close(bands[[1, 7, 8, 9]], torch.zeros(4, 64), rtol=0, atol=1e-5)
    torch.testing.assert_close(bands[[0, 2, 3, 4, 5, 6]], mel[0, 0].T.expand(6, -1))


# Random filters


@pytest.mark.parametrize("steps", [2, 60])
def test_random_filters_agree_with_numpy(steps):
    network = RandomFilters(n_mels=20, profiles=6, taps=5, dilations=(1, 3), seed=4)
    mel = torch.randn(1, 1, 20, steps)
    courses = network.profiles.numpy() @ mel[0, 0].numpy()
    rows = [courses]
    for taps, dilation in zip(network.taps.numpy(), (1, 3), strict=True):
        padded = np.pad(courses, ((0, 0), (2 * dilation, 2 * dilation)), mode="edge")
        parts = [padded[:, k * dilation : k * dilation + steps] * taps[:, 0, k, None] for k in range(5)]
        rows.append(sum(parts))
    x = np.concatenate(rows)
    kinds = [x.mean(1), x.std(1), x.clip(0).mean(1), (x > 0.5).mean(1), (x < -0.5).mean(1), x.max(1), x.min(1)]
    assert network.features == 6 * 3 * 7
    np.testing.assert_allclose(network.measure(mel)[0], np.concatenate(kinds), rtol=1e-4, atol=1e-5)


def test_random_filters_are_of_length_one_and_those_over_time_mind_no_constant():
    network = RandomFilters(profiles=30)
    torch.testing.assert_close(network.profiles.norm(dim=1), torch.ones(30))
    torch.testing.assert_close(network.taps.norm(dim=3), torch.ones(4, 30, 1))
    torch.testing.assert_close(network.taps.sum(3), torch.zeros(4, 30, 1), rtol=0, atol=1e-6)
    constant = network.courses(torch.ones(1, 64, 50), torch.tensor([[50]]))
    torch.testing.assert_close(constant[0, 30:], torch.zeros(120, 50), rtol=0, atol=1e-5)


def test_the_seed_decides_on_the_filters_and_nothing_else_does():
    first = RandomFilters(profiles=12, seed=1)
    torch.manual_seed(99)
    same, other = RandomFilters(profiles=12, seed=1), RandomFilters(profiles=12, seed=2)
    assert torch.equal(first.profiles, same.profiles)
    assert torch.equal(first.taps, same.taps)
    assert not torch.equal(first.profiles, other.profiles)


@pytest.mark.parametrize("options", [{"profiles": 0}, {"taps": 4}, {"dilations": [0, 1]}, {"penalty": 0.0}])
def test_random_filters_that_make_no_sense_are_refused(options):
    config = make_config("audio", "random_filters")
    network = config.network.model_copy(update={"options": options})
    with pytest.raises(ConfigError, match="options of backbone 'random_filters' do not fit"):
        build_model(config.model_copy(update={"network": network}))


# Ensembles


def make_ensemble(*names: str) -> tuple[Ensemble, Config]:
    """An ensemble whose batch norms have seen something, of backbones by name, and its config."""
    config = make_config("audio", names[0])
    others = [{"network": {"name": name, "options": TINY.get(name, {})}} for name in names[1:]]
    config = config.model_copy(update={"ensemble": others})
    ensemble = build_model(config)
    with torch.no_grad():
        ensemble(*inputs("audio", 8))
    return ensemble.eval(), config


def test_two_members_by_hand():
    class Says(torch.nn.Module):
        def __init__(self, *probs: float) -> None:
            super().__init__()
            self.logits = torch.tensor([probs]).log() + 3.0  # logits need not be normalised

        def forward(self, mel, lengths=None):
            return self.logits

    ensemble = Ensemble([Says(0.7, 0.2, 0.1), Says(0.25, 0.5, 0.25)])
    x = torch.zeros(1)
    torch.testing.assert_close(ensemble.shares, torch.tensor([0.5, 0.5]))
    for shares in ((0.5, 0.5), (0.25, 0.75), (1.2, 0.9)):
        ensemble.shares.copy_(torch.tensor(shares))
        a, b = shares
        expected = torch.tensor([0.7**a * 0.25**b, 0.2**a * 0.5**b, 0.1**a * 0.25**b])
        torch.testing.assert_close(ensemble(x).exp()[0], expected / expected.sum())
    ensemble.shares.zero_()
    torch.testing.assert_close(ensemble(x).exp()[0], torch.full((3,), 1 / 3))


@every_audio_backbone
def test_an_ensemble_with_one_say_is_that_member(name):
    ensemble, _ = make_ensemble("resnet_attention", name)
    x = inputs("audio")
    with torch.inference_mode():
        for number in (0, 1):
            ensemble.shares.copy_(torch.eye(2)[number])
            expected = ensemble.members[number](*x).log_softmax(1)
            torch.testing.assert_close(ensemble(*x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ensemble(*x).exp().sum(1), torch.ones(3))


@every_audio_backbone
def test_a_file_gives_the_same_ensemble_back(name, tmp_path):
    ensemble, config = make_ensemble(name, "functionals", name)
    ensemble.shares.copy_(torch.tensor([0.2, 0.9, 0.3]))
    meta = {"labels": list(LABEL_SETS["basic7"])}
    checkpoint.save_branch(tmp_path / "a.safetensors", ensemble, config, meta)
    loaded = checkpoint.load(tmp_path / "a.safetensors").branches["audio"]
    assert loaded.config == config
    x = inputs("audio")
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(*x), ensemble(*x), rtol=0, atol=0)


# Faces: what is masked


@every_face_backbone
@pytest.mark.parametrize("pool", ["mean", "confidence", "attention"])
def test_a_masked_frame_has_no_say_at_all(name, pool):
    network = make("face", name, pool=pool)
    x, _ = inputs("face", 2)
    mask = torch.tensor([[True, False, True, False], [True, True, True, True]])
    changed = x.clone()
    changed[~mask] = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(network(x, mask), network(changed, mask), rtol=0, atol=0)
        torch.testing.assert_close(network.backbone(x, mask), network.backbone(changed, mask), rtol=0, atol=1e-6)
        torch.testing.assert_close(network(x, mask)[:1], network(x[:1, ::2], mask[:1, ::2]), rtol=1e-4, atol=1e-5)


@every_face_backbone
def test_a_masked_frame_has_no_say_in_training_either(name):
    """Nor in the statistics of batch norm."""
    network = make("face", name).train()
    x, mask = inputs("face")
    changed = x.clone()
    changed[~mask] = 0
    state = {key: value.clone() for key, value in network.state_dict().items()}
    first = network(x, mask)
    after = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    torch.testing.assert_close(network(changed, mask), first, rtol=0, atol=1e-6)
    torch.testing.assert_close(network.state_dict(), after)


def test_pooling_by_hand():
    frames = torch.tensor([[[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]]).log()  # (1, N, C)
    mask = torch.tensor([[True, True, False]])
    network = FaceBranch(CkDcnn(), 2, 0.0, "mean")
    torch.testing.assert_close(network.pool(frames, mask)[0], (frames[0, 0] + frames[0, 1]) / 2)
    network = FaceBranch(CkDcnn(), 2, 0.0, "confidence")  # weights 0.8 and 0.5
    torch.testing.assert_close(network.pool(frames, mask)[0], (0.8 * frames[0, 0] + 0.5 * frames[0, 1]) / 1.3)
    network = FaceBranch(CkDcnn(), 2, 0.0, "expression", resting=[0])  # 0.2 and 0.5, and a floor
    expected = (0.201 * frames[0, 0] + 0.501 * frames[0, 1]) / 0.702
    torch.testing.assert_close(network.pool(frames, mask)[0], expected)
    for name in ("mean", "confidence", "expression"):
        network.pool_name = name
        assert network.pool(frames, torch.zeros(1, 3, dtype=torch.bool)).isfinite().all()
        torch.testing.assert_close(network.pool(frames, mask), network.pool(frames[:, :2], mask[:, :2]))


def test_attention_by_hand():
    torch.manual_seed(0)
    network = build_model(make_config("face", "ck_dcnn", "attention")).eval()
    faces = torch.rand(1, 3, 3, 48, 48)
    mask = torch.tensor([[True, True, False]])
    with torch.inference_mode():
        features = network.backbone.encode(faces[0])
        logs = network.head(features).log_softmax(1)
        torch.testing.assert_close(network(faces, mask)[0], logs[:2].mean(0))  # at first all count alike
        network.attend.weight.normal_()
        network.attend.bias.fill_(3.0)
        share = network.attend(features[:2]).softmax(0)
        torch.testing.assert_close(network(faces, mask)[0], (share * logs[:2]).sum(0))
        # what is kept of frames is enough, in double precision and mirrored too
        kept = network.frames(faces[0]).double()
        torch.testing.assert_close(network.pool(kept[None], mask)[0].float(), network(faces, mask)[0])
        torch.testing.assert_close(kept.softmax(1).float(), logs.exp())
        network.mirror = True
        assert not torch.allclose(network.frames(faces[0]).double(), kept)
    empty = torch.zeros(1, 3, dtype=torch.bool)
    assert network.pool(torch.randn(1, 3, 7), empty).isfinite().all()


def test_attention_learns_which_frames_count():
    """The label is that of the bright frame; the dark ones say something else."""
    network = build_model(make_config("face", "ck_dcnn", "attention"))
    faces = 0.2 * torch.rand(8, 4, 3, 48, 48)
    targets, places = torch.arange(8) % 2, torch.arange(8) % 4
    for clip, (target, place) in enumerate(zip(targets.tolist(), places.tolist(), strict=True)):
        faces[clip, place, :, : 24 if target else 48] += 0.7
    mask = torch.ones(8, 4, dtype=torch.bool)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(faces, mask), targets)
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    with torch.inference_mode():
        features = network.backbone.encode(faces.flatten(0, 1)).view(8, 4, -1)
        share = network.attend(features).softmax(1)[..., 0]
    assert (share.argmax(1) == places).float().mean() > 0.7


def test_a_wholly_neutral_window_stays_neutral():
    frames = torch.tensor([[[0.0, -30.0, -30.0]] * 4])  # (1, N, C)
    network = FaceBranch(CkDcnn(), 3, 0.0, "expression", resting=[0])
    assert network.pool(frames, torch.ones(1, 4, dtype=torch.bool)).softmax(1)[0, 0] > 0.99


def test_a_wall_behind_the_face_changes_little_of_its_middle():
    torch.manual_seed(0)
    face = torch.rand(1, 3, 48, 48)
    before_wall = face.clone()
    before_wall[..., :4] = before_wall[..., -4:] = before_wall[:, :, :3] = 1.0
    middle = (slice(None), slice(None), slice(12, 36), slice(12, 36))
    moved = [
        (standardise(before_wall, centre)[middle] - standardise(face, centre)[middle]).abs().mean()
        for centre in (False, True)
    ]
    assert moved[1] < moved[0] / 2


@every_face_backbone
def test_one_picture_gives_what_a_still_video_gives(name):
    network = make("face", name)
    picture = torch.rand(2, 1, 3, 48, 48)
    with torch.inference_mode():
        one = network(picture, torch.ones(2, 1, dtype=torch.bool))
        many = network(picture.expand(-1, 5, -1, -1, -1), torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(one.softmax(1), many.softmax(1), rtol=1e-4, atol=1e-6)


def test_standardised_faces_do_not_know_light_nor_colour():
    faces = torch.rand(2, 3, 48, 48)
    out = standardise(faces)
    assert out.shape == (2, 1, 48, 48)
    torch.testing.assert_close(out.mean((2, 3)), torch.zeros(2, 1), rtol=0, atol=1e-5)
    torch.testing.assert_close(standardise(faces + 0.3), out, rtol=0, atol=1e-4)
    assert standardise(torch.zeros(1, 3, 8, 8)).isfinite().all()


def test_ck_dcnn_has_the_parameters_of_the_paper():
    config = make_config("face", "ck_dcnn", options={})
    layers = [m for m in build_model(config).modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    counts = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    assert counts == [320, 18496, 73856, 1049088, 131328, 1799]


def test_registries_hold_what_their_branch_needs():
    assert not set(AUDIO_BACKBONES) & set(FACE_BACKBONES)
    faces = {**FACE_BACKBONES, **TORCHVISION_BACKBONES}
    assert len(faces) == len(FACE_BACKBONES) + len(TORCHVISION_BACKBONES)
    assert all(issubclass(backbone, FaceBackbone) for backbone in faces.values())


@pytest.mark.parametrize("branch", ["audio", "face"])
def test_an_unknown_backbone_lists_the_choices(branch):
    with pytest.raises(ConfigError, match=f"unknown {branch} backbone 'vgg': choose from") as caught:
        build_model(make_config(branch, "vgg"))
    registry = AUDIO_BACKBONES if branch == "audio" else {**FACE_BACKBONES, **TORCHVISION_BACKBONES}
    assert all(name in str(caught.value) for name in registry)


@every_backbone
def test_an_unknown_option_is_one_clear_error(branch, name):
    with pytest.raises(ConfigError, match=f"test: options of backbone '{name}' do not fit .*colour"):
        build_model(make_config(branch, name, options={"colour": 3}))


def test_widths_and_blocks_must_match():
    with pytest.raises(ConfigError, match="do not fit"):
        build_model(make_config("face", "resnet_face", options={"widths": [8, 8], "blocks": [1]}))
    with pytest.raises(ConfigError, match="do not fit"):
        build_model(make_config("face", "resnet_face", options={"widths": [-8], "blocks": [1]}))


def test_mirror_makes_a_face_and_its_mirror_image_alike_in_prediction() -> None:
    torch.manual_seed(0)
    branch = FaceBranch(FACE_BACKBONES["resnet_face"](widths=(4, 8), blocks=(1, 1)), 3, dropout=0.0, mirror=True)
    faces = torch.rand(2, 3, 48, 48)
    branch.eval()
    assert torch.allclose(branch.frames(faces), branch.frames(faces.flip(-1)), atol=1e-6)
    branch.mirror = False
    assert not torch.allclose(branch.frames(faces), branch.frames(faces.flip(-1)), atol=1e-6)
