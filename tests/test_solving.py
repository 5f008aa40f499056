"""What is computed rather than trained: agreement with scikit-learn, and weights of members that make sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avser.config import Config, parse_config
from avser.labels import label_set
from avser.models import AudioBranch, build_model
from avser.training import data, solving
from avser.types import Clip, DataError

discriminant_analysis = pytest.importorskip("sklearn.discriminant_analysis")

LABELS = label_set("basic7")
RATE = 16_000


@pytest.fixture(scope="module")
def config() -> Config:
    values = {"name": "test", "branch": "audio", "labels": "basic7", "corpora": [], "protocol": "random"}
    network = {"name": "functionals", "options": {"cepstra": 4}, "dropout": 0.5}
    return parse_config({**values, "network": network, "audio": {"n_mels": 16}}, "test")


def make_examples(classes: tuple[int, ...], count: int = 60, seed: int = 0) -> list[data.Example]:
    """Noise coloured by its class, of different lengths."""
    rng = np.random.default_rng(seed)
    examples = []
    for index in range(count):
        label = classes[index % len(classes)]
        samples = rng.normal(size=rng.integers(4000, 9000))
        samples = np.convolve(samples, rng.dirichlet(np.ones(label + 2)), "same").astype(np.float32)
        target = np.full(len(LABELS), 0.02, np.float32)  # as with annotators' votes
        target[label] = 1 - 0.02 * (len(LABELS) - 1)
        examples.append(data.Example(Clip(Path(f"{index}.wav"), LABELS[label], None, "made"), samples, target))
    return examples


def targets_of(examples: list[data.Example]) -> np.ndarray:
    return np.array([example.target.argmax() for example in examples])


def measured(network: AudioBranch, config: Config, examples: list[data.Example]) -> np.ndarray:
    """Features as they are, in the order of the examples."""
    rows = np.zeros((len(examples), network.backbone.features))
    for index, given in data.batches(config, examples):
        rows[index] = network.backbone.measure(*given).numpy()
    return rows


# Standardising


def test_standardised_features_have_no_mean_and_deviation_one(config):
    network, examples = build_model(config).train(), make_examples((0, 1), 70)  # more than one batch
    raw = measured(network, config, examples)
    features = solving.standardise(network, config, examples)
    assert not network.training
    np.testing.assert_allclose(network.backbone.centre, raw.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network.backbone.scale, raw.std(0), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(features.std(0), 1, atol=1e-2)
    (index, given), *_ = data.batches(config, examples)
    with torch.inference_mode():  # what the network gives later is the same
        np.testing.assert_allclose(network.backbone(*given), features[index], atol=1e-3)


def test_what_does_not_vary_in_training_is_not_blown_up(config):
    network = build_model(config)
    examples = [make_examples((0,), 1)[0]] * 3
    assert np.abs(solving.standardise(network, config, examples)).max() < 1e-2
    assert (network.backbone.scale == 1).all()
    other = data.run_network(network, config, make_examples((3,), 1, seed=1))
    assert np.abs(other).max() < 1e3


# The discriminant


@pytest.mark.parametrize("classes", [(0, 2, 5), (3, 1), tuple(range(7))], ids=len)
def test_the_discriminant_is_that_of_scikit_learn(config, classes):
    network, examples = build_model(config), make_examples(classes)
    new = make_examples(classes, 30, seed=1)
    solving.fit_discriminant(network, config, examples)
    logits = data.run_network(network, config, new)
    raw, targets = measured(network, config, examples), targets_of(examples)
    centre, scale = raw.mean(0), raw.std(0)
    reference = discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    reference.fit((raw - centre) / scale, targets)
    expected = reference.predict_log_proba((measured(network, config, new) - centre) / scale)
    seen = torch.from_numpy(logits[:, sorted(classes)]).log_softmax(1).numpy()
    np.testing.assert_allclose(seen.clip(-30), expected.clip(-30), atol=0.02, rtol=0.01)
    if len(classes) > 2:
        decision = reference.decision_function((measured(network, config, new) - centre) / scale)
        np.testing.assert_allclose(logits[:, sorted(classes)], decision, atol=0.02, rtol=0.01)
    assert (logits.argmax(1) == targets_of(new)).mean() > 1.5 / len(classes)


@pytest.mark.parametrize("apart", [1.0, 40.0])
def test_an_emotion_without_clips_is_never_chosen(config, apart):
    """Not even where the others are so far apart that a clip between them suits none."""
    network, examples = build_model(config), make_examples((1, 4, 6))
    solving.fit_discriminant(network, config, examples)
    linear = network.head[-1]
    rng = torch.Generator().manual_seed(0)
    features = apart * torch.randn(500, linear.in_features, generator=rng)
    with torch.inference_mode():
        logits = linear(torch.cat([features, torch.zeros(1, linear.in_features)]))
    best = logits[:, [1, 4, 6]].amax(1, keepdim=True)
    assert (logits[:, [0, 2, 3, 5]] <= best - 29).all()


def test_one_emotion_is_none_to_tell_apart(config):
    with pytest.raises(DataError, match="test: all clips to train on are sad; a discriminant needs two emotions"):
        solving.fit_discriminant(build_model(config), config, make_examples((2,), 8))


# Ridge regression in its dual form


@pytest.mark.parametrize("classes", [(2, 5), (0, 3, 4)])
def test_the_linear_ridge_is_that_of_scikit_learn(classes):
    linear_model = pytest.importorskip("sklearn.linear_model")
    values = {"name": "test", "branch": "audio", "labels": "basic7", "corpora": [], "protocol": "random"}
    network = {"name": "random_filters", "options": {"profiles": 8, "sharpness": 2.0}, "dropout": 0.0}
    config = parse_config({**values, "network": network, "audio": {"n_mels": 16}}, "test")
    network, examples = (
        build_model(config),
        make_examples(classes)[:-7],
    )  # uneven classes, fewer clips than features
    solving.fit_linear_ridge(network, config, examples)
    targets = targets_of(examples)
    features = (
        measured(network, config, examples) - network.backbone.centre.numpy()
    ) / network.backbone.scale.numpy()
    assert np.abs(features).max() > 3
    features = features.clip(-3, 3)  # none counts for more than that
    assert features.shape[1] > len(features)
    weight = len(targets) / len(classes) / np.bincount(targets)[targets]
    penalty = network.backbone.penalty * np.square(features).sum(1).mean()
    found = linear_model.Ridge(penalty, fit_intercept=False)
    found.fit(features, np.eye(7)[targets][:, sorted(classes)] - 1 / len(classes), sample_weight=weight)
    new = make_examples(classes, seed=1)
    logits = data.run_network(network, config, new)
    rows = (measured(network, config, new) - network.backbone.centre.numpy()) / network.backbone.scale.numpy()
    np.testing.assert_allclose(logits[:, sorted(classes)], 2.0 * found.predict(rows.clip(-3, 3)), atol=0.01)
    assert (logits.argmax(1) == targets_of(new)).mean() > 1.5 / len(classes)


def test_sounds_are_learned_at_three_speeds_and_with_noise(config):
    examples = make_examples((0, 1), 30)
    assert solving.variants(config, examples) == examples
    lengths = np.array([len(example.inputs) for example in examples])
    for noise, copies in ((0.0, 1), (0.3, 2)):
        changed = config.augment.model_copy(update={"speed": 0.2, "noise": noise})
        made = solving.variants(config.model_copy(update={"augment": changed}), examples)
        assert made[:30] == examples
        for part, factor in enumerate((0.8, 1.2)):
            some = made[30 + part * 30 * copies :][: 30 * copies]
            assert [x.clip for x in some] == [x.clip for x in examples for _ in range(copies)]
            expected = np.repeat((lengths / factor).astype(int), copies)
            assert [len(x.inputs) for x in some] == expected.tolist()
    pairs = list(zip(made[30::2], made[31::2], strict=True))  # those of the second round: clean, rough
    same = [np.allclose(one.inputs, other.inputs, atol=1e-4) for one, other in pairs]
    assert 0 < sum(same) < 30  # most of the rough ones are changed, and none beyond recognition
    assert min(np.corrcoef(one.inputs, other.inputs)[0, 1] for one, other in pairs) > 0.4


# Weights of members


def say(targets: np.ndarray, hits: float, seed: int, sure: float = 2.0) -> np.ndarray:
    """Logits (N, 4) of a member that is right on a share of the clips, at random."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(targets)) < hits, targets, rng.integers(0, 4, len(targets)))
    return sure * np.eye(4)[said] + 0.1 * rng.normal(size=(len(targets), 4))


@pytest.fixture(scope="module")
def targets() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, 600)


def test_a_useless_member_gets_about_nothing(targets):
    shares = solving.fit_shares([say(targets, 0.7, 1), say(targets, 0.0, 2)], targets)
    assert shares.dtype == torch.float32
    assert shares[0] > 0.5
    assert 0 <= shares[1] < 0.1


def test_a_member_that_misleads_gets_nothing_and_not_less(targets):
    shares = solving.fit_shares([say(targets, 0.7, 1), say((targets + 1) % 4, 0.8, 2)], targets)
    assert 0 <= shares[1] < 1e-3


def test_equal_members_share(targets):
    member = say(targets, 0.7, 1)
    alone = solving.fit_shares([member], targets)
    together = solving.fit_shares([member, member.copy()], targets)
    torch.testing.assert_close(together[0], together[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(together.sum(), alone[0], rtol=1e-2, atol=1e-3)


def test_independent_members_are_together_surer_than_any(targets):
    members = [say(targets, 0.7, seed) for seed in (1, 2, 3)]
    alone = [float(solving.fit_shares([member], targets)) for member in members]
    together = solving.fit_shares(members, targets)
    assert together.sum() > max(alone)
    np.testing.assert_allclose(together, together.mean(), rtol=0.2)


def test_the_weights_are_the_best_there_are(targets):
    members = [say(targets, hits, seed, sure) for hits, seed, sure in ((0.8, 1, 1.0), (0.5, 2, 6.0))]
    logs = [torch.from_numpy(member).log_softmax(1) for member in members]

    def loss(a: float, b: float) -> float:
        mixed = a * logs[0] + b * logs[1]
        return float(torch.nn.functional.cross_entropy(mixed, torch.from_numpy(targets)))

    a, b = solving.fit_shares(members, targets).tolist()
    others = [(a * x, b * y) for x in (0.9, 1, 1.1) for y in (0.9, 1, 1.1)]
    assert loss(a, b) <= min(loss(*other) for other in others) + 1e-6


@pytest.mark.parametrize("sure", [1.0, 50.0, 5000.0])
def test_members_without_an_error_do_not_get_all_the_weight_there_is(targets, sure):
    few = targets[:5]
    shares = solving.fit_shares([say(few, 1.0, 1, sure), say(few, 1.0, 2, sure)], few)
    assert ((shares > 0) & (shares <= solving.LARGEST_SHARE)).all()
    shares = solving.fit_shares([say(few, 1.0, 1, sure), say((few + 1) % 4, 1.0, 2, sure)], few)
    assert solving.LARGEST_SHARE >= shares[0] >= shares[1] >= 0
