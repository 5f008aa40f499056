"""How good predictions are, and how sure one can be of that.

Throughout, `probs` (or `logits`) is (N, C), `targets` (N,) int, and a class that is absent from the targets
has recall NaN and no part in averages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avser import arrays
from avser.types import DataError


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities of logits, over the last axis."""
    return arrays.log_softmax(np.asarray(logits, np.float64))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, over the last axis."""
    return np.exp(log_softmax(logits))


def confusion(probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Counts (C, C): row is the true class, column the predicted one."""
    probs, targets = _checked(probs, targets)
    classes = probs.shape[1]
    return np.bincount(targets * classes + probs.argmax(1), minlength=classes**2).reshape(classes, classes)


def accuracy(probs: np.ndarray, targets: np.ndarray) -> float:
    """Share of samples whose most probable class is the true one."""
    counts = confusion(probs, targets)
    return float(np.trace(counts) / counts.sum())


def recalls(probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Recall of each class, (C,)."""
    counts = confusion(probs, targets)
    return _ratio(np.diag(counts), counts.sum(1))


def uar(probs: np.ndarray, targets: np.ndarray) -> float:
    """Unweighted average recall: the mean recall of the classes that occur (also called balanced accuracy)."""
    return float(np.nanmean(recalls(probs, targets)))


def macro_f1(probs: np.ndarray, targets: np.ndarray) -> float:
    """Mean F1 of the classes that occur among targets or predictions, as scikit-learn defines it."""
    counts = confusion(probs, targets)
    return float(np.nanmean(_ratio(2 * np.diag(counts), counts.sum(0) + counts.sum(1))))


def roc_auc(probs: np.ndarray, targets: np.ndarray) -> float:
    """Area under the ROC curve of each class against the rest, mean over the classes; NaN with only one class.

    Give probabilities: raw logits do not rank samples against one another.
    """
    areas = roc_aucs(probs, targets)
    return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")


def roc_aucs(probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class against the rest, (C,); NaN where there is only one side."""
    probs, targets = _checked(probs, targets)
    areas = np.full(probs.shape[1], np.nan)
    for column in np.unique(targets):
        positive = targets == column
        n, m = positive.sum(), (~positive).sum()
        if m:
            _, rank_of, ties = np.unique(probs[:, column], return_inverse=True, return_counts=True)
            ranks = (np.cumsum(ties) - (ties - 1) / 2)[rank_of]  # (N,) from 1, ties share their mean
            areas[column] = (ranks[positive].sum() - n * (n + 1) / 2) / (n * m)
    return areas


def ece(probs: np.ndarray, targets: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Guo et al., ICML 2017).

    Raises:
        DataError: the rows are no distributions; logits have to go through `softmax` first.
    """
    probs, targets = _checked(probs, targets)
    if probs.min() < -1e-6 or np.abs(probs.sum(1) - 1).max() > 1e-3:
        raise DataError(
            "the calibration error needs probabilities that sum to one: put logits through softmax first"
        )
    confidence = probs.max(1)
    gap = (probs.argmax(1) == targets) - confidence  # (N,)
    # Bin b holds (b/bins, (b+1)/bins]; the mean gap of a bin times its share is its sum over N.
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(index, gap, bins)).sum() / len(targets))


def nll(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood of logits (or of log-probabilities), in nats."""
    logits, targets = _checked(logits, targets)
    return float(-log_softmax(logits)[np.arange(len(targets)), targets].mean())


def fit_temperature(logits: np.ndarray, targets: np.ndarray, low: float = 0.05, high: float = 20.0) -> float:
    """The temperature between `low` and `high` that logits are best divided by (Guo et al., ICML 2017).

    Minimises the negative log-likelihood, which has one minimum in the temperature, by golden-section search on
    its logarithm. Logits that are never wrong give `low`.
    """
    logits, targets = _checked(logits, targets)
    golden = (np.sqrt(5) - 1) / 2
    left, right = np.log(low), np.log(high)
    while right - left > 1e-5:
        one, other = right - golden * (right - left), left + golden * (right - left)
        if nll(logits / np.exp(one), targets) <= nll(logits / np.exp(other), targets):
            right = other
        else:
            left = one
    return float(np.exp((left + right) / 2))


def bootstrap(
    metric: Callable[[np.ndarray, np.ndarray], float],
    probs: np.ndarray,
    targets: np.ndarray,
    subjects: Sequence[str] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of a metric, by the percentiles of `n` resamples.

    Whole subjects are resampled, for the clips of one person are alike; samples are where `subjects` is None or
    names one person only (the interval then says nothing about other people).
    """
    probs, targets = _checked(probs, targets)
    who = np.arange(len(targets)) if subjects is None else subjects_or_clips(subjects)
    members = np.split(np.argsort(who, kind="stable"), np.cumsum(np.bincount(who))[:-1])  # indices of each subject
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(n):
        index = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        values.append(metric(probs[index], targets[index]))
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def subjects_or_clips(subjects: Sequence[str]) -> np.ndarray:
    """(N,) numbers of whom clips are of, from 0; each clip its own where at most one subject is known."""
    _, who = np.unique(subjects, return_inverse=True)
    return who if who.max() > 0 else np.arange(len(subjects))


@dataclass(frozen=True)
class Report:
    """The figures of one set of predictions.

    Attributes:
        labels: names of the classes.
        n, subjects: number of samples, and of subjects where they are known.
        uar_interval, accuracy_interval: 95 %, see `bootstrap`.
        recalls, precisions, f1s, roc_aucs: (C,) of each class, NaN where it does not occur.
        confusion: (C, C) counts, row true, column predicted.
        genders: of each gender its number of samples `n`, `uar`, `accuracy` and `recalls`.
        ece_calibrated: ECE where each fold has a temperature that was fitted on the others; NaN without folds.
    """

    labels: tuple[str, ...]
    n: int
    subjects: int | None
    uar: float
    uar_interval: tuple[float, float]
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    roc_auc: float
    ece: float
    nll: float
    recalls: np.ndarray
    precisions: np.ndarray
    f1s: np.ndarray
    roc_aucs: np.ndarray
    confusion: np.ndarray
    genders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ece_calibrated: float = float("nan")

    def to_dict(self) -> dict:
        """The report as plain values for JSON: recalls by label, NaN as None, four decimals."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("recalls", "precisions", "f1s", "roc_aucs"):
            values[name] = dict(zip(self.labels, values[name], strict=True))
        values["genders"] = {
            gender: {**figures, "recalls": dict(zip(self.labels, figures["recalls"], strict=True))}
            for gender, figures in self.genders.items()
        }
        return _plain(values)


def report(
    logits: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    subjects: Sequence[str] | None = None,
    genders: Sequence[str | None] | None = None,
) -> Report:
    """All figures of predictions.

    Args:
        logits: (N, C) logits or log-probabilities.
        targets: (N,) true classes.
        labels: the C names of the classes.
        subjects: (N,) who each sample is of; None if unknown.
        genders: (N,) gender of each sample; a sample with None or "" counts in no gender.
    """
    logits, targets = _checked(logits, targets)
    if logits.shape[1] != len(labels):
        raise DataError(f"the logits have {logits.shape[1]} classes, but {len(labels)} labels are given")
    probs = softmax(logits)
    counts = confusion(probs, targets)
    by_gender = {}
    genders = genders or ()
    for gender in sorted({g for g in genders if g}):
        chosen = np.array([g == gender for g in genders])
        part = probs[chosen], targets[chosen]
        by_gender[gender] = {
            "n": int(chosen.sum()),
            "uar": uar(*part),
            "accuracy": accuracy(*part),
            "recalls": recalls(*part),
        }
    return Report(
        labels=tuple(labels),
        n=len(targets),
        subjects=None if subjects is None else len(set(subjects)),
        uar=uar(probs, targets),
        uar_interval=bootstrap(uar, probs, targets, subjects),
        accuracy=accuracy(probs, targets),
        accuracy_interval=bootstrap(accuracy, probs, targets, subjects),
        macro_f1=macro_f1(probs, targets),
        roc_auc=roc_auc(probs, targets),
        ece=ece(probs, targets),
        nll=nll(logits, targets),
        recalls=recalls(probs, targets),
        precisions=_ratio(np.diag(counts), counts.sum(0)),
        f1s=_ratio(2 * np.diag(counts), counts.sum(0) + counts.sum(1)),
        roc_aucs=roc_aucs(probs, targets),
        confusion=counts,
        genders=by_gender,
    )


def _checked(probs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions as float64 (N, C) and targets as int (N,), or a DataError that says why they are unfit."""
    probs, targets = np.asarray(probs, np.float64), np.asarray(targets)
    if probs.ndim != 2 or targets.shape != probs.shape[:1]:
        raise DataError(f"predictions {probs.shape} and targets {targets.shape} are not (N, C) and (N,)")
    if probs.size == 0:
        raise DataError("there are no predictions to measure")
    # Minus infinity is a fine logarithm of zero, if something is left in the row.
    if np.isnan(probs).any() or not np.isfinite(probs.max(1)).all():
        row = int(np.flatnonzero(np.isnan(probs).any(1) | ~np.isfinite(probs.max(1)))[0])
        raise DataError(
            f"row {row} of the predictions is not finite: the model diverged, or its input was damaged"
        )
    if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= probs.shape[1]:
        raise DataError(f"targets must be class numbers from 0 to {probs.shape[1] - 1}")
    return probs, targets.astype(np.int64)


def _ratio(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Element by element, NaN where the total is zero."""
    return np.divide(counts, totals, out=np.full(len(counts), np.nan), where=totals > 0)


def _plain(value: Any) -> Any:
    """Numbers, tuples, arrays and mappings as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 4) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
