"""Classical classifiers by scikit-learn, as baselines: measured like networks, but not kept as model files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from avser import data
from avser.config import Config
from avser.labels import label_set
from avser.types import ConfigError


def fit(config: Config, examples: Sequence[data.Example]) -> Callable[[Sequence[data.Example]], np.ndarray]:
    """Fit the estimator that a config names on the features of clips.

    Returns:
        A function from clips to log-probabilities (N, C); a class that was never seen gets the least possible.

    Raises:
        ConfigError: an option is unknown, or the inputs are no vectors of features.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if config.audio.kind != "features" or config.branch != "audio":
        raise ConfigError(f"{config.name}: {config.network.name} takes hand-crafted features: audio.kind=features")
    try:
        estimator = ESTIMATORS[config.network.name](config.seed, **config.network.options)
    except TypeError as error:
        raise ConfigError(f"{config.name}: options of {config.network.name!r} do not fit ({error})") from None
    targets = np.array([example.target.argmax() for example in examples])
    pipeline = make_pipeline(StandardScaler(), estimator)
    pipeline.fit(np.stack([example.inputs for example in examples]), targets)

    def predict(clips: Sequence[data.Example]) -> np.ndarray:
        logs = np.full((len(clips), len(label_set(config.labels))), np.log(FLOOR))
        probs = pipeline.predict_proba(np.stack([example.inputs for example in clips]))
        logs[:, pipeline.classes_] = np.log(np.maximum(probs, FLOOR))
        return logs

    return predict


FLOOR = 1e-4
"""Least probability: votes of a forest can be exactly zero."""


def _svm(seed: int, C: float = 1.0, kernel: str = "rbf", gamma: str | float = "scale"):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    return CalibratedClassifierCV(SVC(C=C, kernel=kernel, gamma=gamma, random_state=seed), ensemble=False, cv=3)


def _random_forest(seed: int, trees: int = 300, leaf: int = 1):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, min_samples_leaf=leaf, random_state=seed)


def _mlp(seed: int, hidden: int = 300, alpha: float = 0.01, batch_size: int = 256, max_iter: int = 500):
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((hidden,), alpha=alpha, batch_size=batch_size, max_iter=max_iter, random_state=seed)


ESTIMATORS: dict[str, Callable] = {"svm": _svm, "random_forest": _random_forest, "mlp": _mlp}
"""Estimators by name; `network.name` of a config may be one of them."""
