"""What is computed rather than trained: classifiers in closed form, and the weights of an ensemble."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from avser.config import Config
from avser.labels import label_set
from avser.models import AudioBranch, SingleBranch, UnitBranch
from avser.training import augment, data
from avser.types import DataError

ROUGH = {"noise": 0.7, "band": 0.5}
"""Shares of the rough variants with noise and with a limited band."""


def variants(config: Config, examples: Sequence[data.Example]) -> list[data.Example]:
    """What a closed form is fitted to in place of augmentation: the sounds, and each slower and faster.

    By `augment.speed`; where training adds noise or limits the band, the slower and faster ones come again so.
    Without that, linear classifiers of sounds fall to chance under noise that a listener hardly minds.
    """
    extent, rough = config.augment.speed, bool(config.augment.noise or config.augment.band)
    if not extent or config.branch != "audio" or config.audio.kind != "log_mel":
        return list(examples)
    made = list(examples)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        for factor in (1 - extent, 1 + extent):
            for example in examples:
                sound = augment.at_speed(torch.from_numpy(example.inputs), factor)
                made.append(dataclasses.replace(example, inputs=sound.numpy()))
                if rough:
                    noisy = augment.add_noise(sound[None], torch.tensor([len(sound)]), ROUGH["noise"])
                    noisy = augment.low_pass(noisy, ROUGH["band"], config.audio.rate)[0]
                    made.append(dataclasses.replace(example, inputs=noisy.numpy()))
    return made


@torch.no_grad()
def standardise(network: SingleBranch, config: Config, examples: Sequence[data.Example]) -> np.ndarray:
    """Set `centre` and `scale` of a backbone to mean and deviation of its first features over all examples.

    Returns:
        The standardised features, (N, D).
    """
    network.eval()
    backbone: Any = network.backbone
    features = np.zeros((len(examples), len(backbone.centre)), np.float32)
    for index, given in data.batches(config, examples):
        features[index] = backbone.measure(*given).numpy()
    centre, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    # what no training clip varies must not be blown up in a clip that does: a floor, a band above the cutoff
    scale[scale <= 1e-6 * np.abs(centre)] = 1.0
    centre, scale = centre.astype(np.float32), scale.astype(np.float32)
    backbone.centre.copy_(torch.from_numpy(centre))
    backbone.scale.copy_(torch.from_numpy(scale))
    features = (features - centre) / scale
    if hasattr(backbone, "spread"):
        people = [(example.clip.corpus, example.clip.subject) for example in examples]
        means = [features[[other == who for other in people]].mean(0) for who in dict.fromkeys(people)]
        backbone.spread.copy_(torch.from_numpy(np.std(means, axis=0)))
    return features


@torch.no_grad()
def fit_discriminant(network: AudioBranch | UnitBranch, config: Config, examples: Sequence[data.Example]) -> None:
    """Set the standardisation of a closed-form backbone and its classifier, from all examples at once.

    The classifier is a linear discriminant with the covariance shrunk as Ledoit and Wolf (2004) have it. An
    emotion without a training clip always gets less than those that have some.

    Raises:
        DataError: all examples are of one emotion.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features = standardise(network, config, examples)
    targets = _targets(config, examples)
    found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features, targets)
    weight, bias = torch.from_numpy(found.coef_).float(), torch.from_numpy(found.intercept_).float()
    if len(found.classes_) == 2:  # scikit-learn then gives only the difference of the two
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    _set_classifier(network, found.classes_, weight, bias)


@torch.no_grad()
def fit_ridge(network: UnitBranch, config: Config, examples: Sequence[data.Example]) -> None:
    """Set standardisation, anchors and classifier of a kernel backbone, from all examples at once.

    The classifier is ridge regression on the likeness to the anchors, as support vector machines by least squares
    have it (Suykens and Vandewalle 1999); every emotion counts alike, however many clips it has.

    Raises:
        DataError: all examples are of one emotion.
    """
    features = torch.from_numpy(standardise(network, config, examples))
    targets = _targets(config, examples)
    backbone: Any = network.backbone
    chosen = np.random.default_rng(config.seed).permutation(len(features))[: len(backbone.anchors)]
    backbone.anchors[: len(chosen)] = features[chosen]
    backbone.used.copy_(torch.arange(len(backbone.used)) < len(chosen))
    classes, wanted, weight = _balanced(targets)
    like = backbone.likeness(features)[:, : len(chosen)].double()  # (N, A)
    among = like[chosen]  # (A, A)
    left = (like.T * weight) @ like + backbone.ridge * among
    left.diagonal().add_(1e-6)  # two clips may be alike
    found = torch.linalg.solve(left, (like.T * weight) @ wanted)  # (A, C)
    full = torch.zeros(len(classes), len(backbone.used))
    full[:, : len(chosen)] = backbone.sharpness * found.T
    _set_classifier(network, classes, full, torch.zeros(len(classes)))


@torch.no_grad()
def fit_linear_ridge(network: AudioBranch, config: Config, examples: Sequence[data.Example]) -> None:
    """Set standardisation and classifier of a backbone with more features than there are clips.

    The classifier is ridge regression on the emotions, solved over the clips (its dual form); every emotion counts
    alike, however many clips it has.

    Raises:
        DataError: all examples are of one emotion.
    """
    features = network.backbone.limit(torch.from_numpy(standardise(network, config, examples)))
    targets = _targets(config, examples)
    classes, wanted, weight = _balanced(targets)
    root = weight.sqrt()[:, None]  # (N, 1)
    weighted = root.float() * features  # (N, D)
    inner = (weighted @ weighted.T).double()
    inner.diagonal().add_(network.backbone.penalty * features.square().sum(1).mean())
    found = weighted.T @ torch.linalg.solve(inner, root * wanted).float()  # (D, C)
    _set_classifier(network, classes, network.backbone.sharpness * found.T, torch.zeros(len(classes)))


CLOSED_FORMS: dict[str, Callable] = {
    "discriminant": fit_discriminant,
    "ridge": fit_ridge,
    "linear_ridge": fit_linear_ridge,
}
"""How a backbone's classifier is computed, by the name that its `closed_form` gives."""


def _targets(config: Config, examples: Sequence[data.Example]) -> np.ndarray:
    targets = np.array([example.target.argmax() for example in examples])
    if len(np.unique(targets)) < 2:
        only = label_set(config.labels)[targets[0]]
        raise DataError(f"{config.name}: all clips to train on are {only}; a discriminant needs two emotions")
    return targets


def _balanced(targets: np.ndarray) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """The classes that occur, what a regression is to say of each clip (N, C), and the clips' weights (N,).

    The weights are one on average, and every class has the same in all.
    """
    classes, index, counts = np.unique(targets, return_inverse=True, return_counts=True)
    weight = torch.from_numpy(len(targets) / len(classes) / counts[index])
    return classes, torch.eye(len(classes), dtype=torch.float64)[index] - 1 / len(classes), weight


def _set_classifier(
    network: AudioBranch | UnitBranch, classes: np.ndarray, weight: torch.Tensor, bias: torch.Tensor
) -> None:
    """Set the classifier of the classes that were seen, and have all others below them."""
    linear: Any = network.head[-1]
    # below the mean of the others whatever the clip: a constant is not, discriminants reach down to any depth
    linear.weight.copy_(weight.mean(0).expand_as(linear.weight))
    linear.bias.fill_(float(bias.mean()) - 30.0)
    linear.weight[classes] = weight
    linear.bias[classes] = bias


LARGEST_SHARE = 10.0
"""Where members make no mistake on the validation clips, the likelihood grows with their weights for ever."""


def fit_shares(logits: Sequence[np.ndarray], targets: np.ndarray) -> torch.Tensor:
    """Weights (K,) of the members' log-probabilities with the least negative log-likelihood.

    They lie between 0 and `LARGEST_SHARE`.

    Args:
        logits: of each member on the same validation clips, (N, C).
        targets: (N,) class indices.
    """
    logs = torch.stack([torch.from_numpy(member).double().log_softmax(-1) for member in logits])  # (K, N, C)
    wanted = torch.from_numpy(targets)
    first = torch.full((len(logits),), 1 / len(logits) / LARGEST_SHARE, dtype=torch.float64)
    raw = first.logit().requires_grad_()
    search = torch.optim.LBFGS([raw], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        shares = LARGEST_SHARE * raw.sigmoid()
        value = torch.nn.functional.cross_entropy((shares.view(-1, 1, 1) * logs).sum(0), wanted)
        value.backward()
        return value

    search.step(loss)
    return (LARGEST_SHARE * raw.detach().sigmoid()).float()
