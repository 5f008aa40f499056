"""Classical classifiers by scikit-learn, as baselines: measured like networks, but not kept as model files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from avser.config import Config
from avser.labels import label_set
from avser.models.action_units import UnitStatistics
from avser.training import data
from avser.types import ConfigError, DataError
from avser.units import unit_names


def fit(config: Config, examples: Sequence[data.Example]) -> Callable[[Sequence[data.Example]], np.ndarray]:
    """Fit the estimator that a config names on the standardised features (D,) or action units (N, U) of clips.

    Returns:
        A function from clips to log-probabilities (N, C); a class that was never seen gets the least possible.

    Raises:
        ConfigError: an option is unknown or out of range, the inputs are no vectors of features, or scikit-learn
            is not installed.
        DataError: the clips show only one emotion, or too few of one.
    """
    if config.signal != "action_units" and (config.audio.kind != "features" or config.branch != "audio"):
        raise ConfigError(
            f"{config.name}: {config.network.name} takes hand-crafted features: audio.kind=features, or of a face "
            "face.input=action_units"
        )
    try:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ConfigError(
            f"{config.network.name} needs scikit-learn, which does not load ({error}): pip install 'avser[train]'"
        ) from None
    targets = np.array([example.target.argmax() for example in examples])
    _check(config, targets)
    try:
        estimator = ESTIMATORS[config.network.name](config.seed, **config.network.options)
        pipeline = make_pipeline(StandardScaler(), estimator)
        with warnings.catch_warnings():
            # a batch larger than the corpus is cut to it, and the number of rounds is the config's choice
            warnings.simplefilter("ignore")
            pipeline.fit(_vectors(config, examples), targets)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{config.name}: options of {config.network.name!r} do not fit ({reason})") from None

    def predict(clips: Sequence[data.Example]) -> np.ndarray:
        logs = np.full((len(clips), len(label_set(config.labels))), np.log(FLOOR))
        if clips:
            probs = pipeline.predict_proba(_vectors(config, clips))
            logs[:, pipeline.classes_] = np.log(np.maximum(probs, FLOOR))
        return logs

    return predict


def _vectors(config: Config, examples: Sequence[data.Example]) -> np.ndarray:
    """One vector a clip, (N, D): its features, or statistics of its action units over frames."""
    if config.signal != "action_units":
        return np.stack([example.inputs for example in examples])
    backbone = UnitStatistics(len(unit_names(config.face)))
    vectors = np.zeros((len(examples), backbone.features))
    for index, given in data.batches(config, examples):
        vectors[index] = backbone.measure(*given).numpy()
    return vectors


FLOOR = 1e-4
"""Least probability: votes of a forest can be exactly zero."""

CALIBRATION_FOLDS = 3
"""Parts of the training clips on which a support vector machine's scores become probabilities (Platt 1999)."""


def _check(config: Config, targets: np.ndarray) -> None:
    seen, counts = np.unique(targets, return_counts=True)
    names = label_set(config.labels)
    if len(seen) < 2:
        raise DataError(
            f"{config.name}: the clips to train on are all {names[seen[0]]}: nothing can be told apart"
        )
    if config.network.name == "svm" and counts.min() < CALIBRATION_FOLDS:
        raise DataError(
            f"{config.name}: svm needs {CALIBRATION_FOLDS} clips of each emotion to train on, there are "
            f"{counts.min()} of {names[seen[counts.argmin()]]}: add clips, or choose another network.name"
        )


def _svm(seed: int, C: float = 1.0, kernel: str = "rbf", gamma: str | float = "scale"):
    """Support vector machine with calibrated probabilities."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    machine = SVC(C=C, kernel=kernel, gamma=gamma, random_state=seed)
    return CalibratedClassifierCV(machine, ensemble=False, cv=CALIBRATION_FOLDS)


def _random_forest(seed: int, trees: int = 300, leaf: int = 1):
    """Random forest; `leaf` is the least number of clips in a leaf."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, min_samples_leaf=leaf, random_state=seed)


def _mlp(seed: int, hidden: int = 300, alpha: float = 0.01, batch_size: int = 256, max_iter: int = 500):
    """Perceptron with one hidden layer.

    The defaults are those of the perceptron to which the paper on emotion recognition by spectrograms and CNN-2D
    (RAVDESS) compares itself.
    """
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((hidden,), alpha=alpha, batch_size=batch_size, max_iter=max_iter, random_state=seed)


ESTIMATORS: dict[str, Callable] = {"svm": _svm, "random_forest": _random_forest, "mlp": _mlp}
"""Estimators by name, from a seed and options; `network.name` of a config may be one of them."""
