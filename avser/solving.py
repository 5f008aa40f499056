"""What is computed rather than trained: a linear discriminant on functionals, and the weights of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from avser import data
from avser.config import Config
from avser.models import AudioBranch


@torch.no_grad()
def fit_discriminant(network: AudioBranch, config: Config, examples: Sequence[data.Example]) -> None:
    """Set the standardisation of a closed-form backbone and its classifier, from all examples at once.

    The classifier is a linear discriminant with the covariance shrunk as Ledoit and Wolf (2004) have it.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    network.eval()
    backbone, linear = network.backbone, network.head[-1]
    backbone.centre.zero_()
    backbone.scale.fill_(1)
    features = np.zeros((len(examples), backbone.features), np.float32)
    for index, inputs in data.batches(config, examples):
        features[index] = backbone(*inputs).numpy()
    targets = np.array([example.target.argmax() for example in examples])
    centre, scale = features.mean(0), features.std(0) + 1e-6
    found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit((features - centre) / scale, targets)
    backbone.centre.copy_(torch.from_numpy(centre))
    backbone.scale.copy_(torch.from_numpy(scale))
    linear.weight.zero_()
    linear.bias.fill_(-30.0)  # an emotion without a training clip is never chosen
    weight, bias = torch.from_numpy(found.coef_).float(), torch.from_numpy(found.intercept_).float()
    if len(found.classes_) == 2:  # scikit-learn then gives only the difference of the two
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    linear.weight[found.classes_] = weight
    linear.bias[found.classes_] = bias


def fit_shares(logits: Sequence[np.ndarray], targets: np.ndarray) -> torch.Tensor:
    """Weights (K,) of the members' log-probabilities with the least negative log-likelihood; none is negative.

    Args:
        logits: of each member on the same validation clips, (N, C).
        targets: (N,) class indices.
    """
    logs = torch.stack([torch.from_numpy(member).double().log_softmax(-1) for member in logits])  # (K, N, C)
    wanted = torch.from_numpy(targets)
    raw = torch.full((len(logits),), np.log(1 / len(logits)), dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([raw], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = torch.nn.functional.cross_entropy((raw.exp().view(-1, 1, 1) * logs).sum(0), wanted)
        value.backward()
        return value

    search.step(loss)
    return raw.detach().exp().float()
