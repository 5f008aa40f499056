"""Closed forms and properties of the figures."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from avser import metrics
from avser.types import DataError

CLASSES = ("neutral", "happy", "sad")
# Four of class 0 (three found), two of class 1 (one found), none of class 2 (once predicted).
TARGETS = np.array([0, 0, 0, 0, 1, 1])
PREDICTED = np.array([0, 0, 0, 2, 1, 0])
PROBS = np.eye(3)[PREDICTED] * 0.7 + 0.1

MEASURES = [metrics.accuracy, metrics.uar, metrics.macro_f1, metrics.roc_auc, metrics.ece]


@st.composite
def predictions(draw):
    n, classes = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    logits = draw(hnp.arrays(float, (n, classes), elements=st.floats(-20, 20)))
    return logits, draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))


def test_counts_by_hand():
    assert metrics.confusion(PROBS, TARGETS).tolist() == [[3, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert metrics.accuracy(PROBS, TARGETS) == pytest.approx(4 / 6)
    np.testing.assert_allclose(metrics.recalls(PROBS, TARGETS), [3 / 4, 1 / 2, np.nan])
    assert metrics.uar(PROBS, TARGETS) == pytest.approx(5 / 8)
    assert metrics.macro_f1(PROBS, TARGETS) == pytest.approx((6 / 8 + 2 / 3 + 0) / 3)


def test_calibration_error_by_hand():
    # All confidences are 0.8, the accuracy is 4/6: one bin, whose gap is the error.
    assert metrics.ece(PROBS, TARGETS) == pytest.approx(0.8 - 4 / 6)
    # Two bins whose gaps have opposite signs must not cancel: 0.95 sure and wrong, 0.55 sure and right.
    assert metrics.ece(np.array([[0.95, 0.05], [0.55, 0.45]]), np.array([1, 0])) == pytest.approx(
        (0.95 + 0.45) / 2
    )


@pytest.mark.parametrize("confidence", [0.6, 0.75, 0.9])
def test_perfect_calibration_has_no_error(confidence):
    probs = np.tile([confidence, 1 - confidence], (100, 1))
    right = round(100 * confidence)
    assert metrics.ece(probs, np.repeat([0, 1], [right, 100 - right])) == pytest.approx(0, abs=1e-12)


def test_calibration_error_refuses_logits():
    with pytest.raises(DataError, match="softmax"):
        metrics.ece(np.array([[3.0, -1.0]]), np.array([0]))


def test_likelihood_by_hand():
    assert metrics.nll(np.zeros((5, 4)), np.array([0, 1, 2, 3, 0])) == pytest.approx(np.log(4))
    assert metrics.nll(np.log(PROBS), TARGETS) == pytest.approx(-np.mean(np.log([0.8, 0.8, 0.8, 0.1, 0.8, 0.1])))


def test_roc_auc_by_hand():
    column = np.array([0.1, 0.4, 0.35, 0.8])
    probs = np.stack([1 - column, column], 1)
    assert metrics.roc_auc(probs, np.array([0, 0, 1, 1])) == pytest.approx(0.75)
    assert metrics.roc_auc(np.full((4, 2), 0.5), np.array([0, 0, 1, 1])) == pytest.approx(0.5)  # ties count half
    assert np.isnan(metrics.roc_auc(probs, np.zeros(4, int)))


def test_figures_agree_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with avser[train]")
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(300, 5)).round(1), rng.integers(5, size=300)
    probs = metrics.softmax(logits)
    predicted = probs.argmax(1)
    assert metrics.uar(probs, targets) == pytest.approx(sk.balanced_accuracy_score(targets, predicted))
    assert metrics.macro_f1(probs, targets) == pytest.approx(sk.f1_score(targets, predicted, average="macro"))
    assert metrics.roc_auc(probs, targets) == pytest.approx(sk.roc_auc_score(targets, probs, multi_class="ovr"))
    assert metrics.nll(logits, targets) == pytest.approx(sk.log_loss(targets, probs))
    assert metrics.confusion(probs, targets).tolist() == sk.confusion_matrix(targets, predicted).tolist()


@given(predictions(), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_figures_are_bounded(case, random):
    logits, targets = case
    order = list(range(len(targets)))
    random.shuffle(order)
    probs = metrics.softmax(logits)
    np.testing.assert_allclose(probs.sum(1), 1)
    for measure in MEASURES:
        value = measure(probs, targets)
        assert np.isnan(value) or -1e-9 <= value <= 1 + 1e-9
        np.testing.assert_allclose(measure(probs[order], targets[order]), value, atol=1e-9)


@given(predictions())
def test_fitted_temperature_never_harms(case):
    logits, targets = case
    temperature = metrics.fit_temperature(logits, targets)
    assert 0.05 <= temperature <= 20
    assert metrics.nll(logits / temperature, targets) <= metrics.nll(logits, targets) + 1e-4


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 8.0])
def test_temperature_is_recovered(temperature):
    rng = np.random.default_rng(1)
    logits = rng.normal(scale=2, size=(20000, 4))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(1)  # drawn from softmax(logits)
    assert metrics.fit_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.05)


def test_softmax_of_huge_and_impossible_logits():
    np.testing.assert_allclose(metrics.softmax(np.array([1e5, 0.0, -np.inf])), [1, 0, 0])


def test_bootstrap_covers_the_figure_and_repeats():
    rng = np.random.default_rng(2)
    targets = rng.integers(3, size=200)
    probs = metrics.softmax(2.0 * np.eye(3)[targets] + rng.normal(size=(200, 3)) * 1.5)
    subjects = [f"{i % 10}" for i in range(200)]
    low, high = metrics.bootstrap(metrics.uar, probs, targets, subjects, n=200)
    assert low < metrics.uar(probs, targets) < high
    assert (low, high) == metrics.bootstrap(metrics.uar, probs, targets, subjects, n=200)


def test_bootstrap_resamples_whole_subjects():
    # Everything is right for one person and wrong for the other: with two people nothing is certain.
    targets, subjects = np.zeros(100, int), np.repeat(["a", "b"], 50)
    probs = np.eye(2)[np.repeat([0, 1], 50)]
    assert metrics.bootstrap(metrics.accuracy, probs, targets, subjects, n=200) == (0, 1)
    low, high = metrics.bootstrap(metrics.accuracy, probs, targets, n=200)
    assert 0.35 < low < 0.5 < high < 0.65
    # One person only: the samples are resampled, as an interval of no width would be a lie.
    assert metrics.bootstrap(metrics.accuracy, probs, targets, ["a"] * 100, n=200) == (low, high)


@pytest.mark.parametrize(
    ("probs", "targets", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "no predictions"),
        (np.zeros((2, 3)), np.zeros(3, int), r"\(N, C\)"),
        (np.array([[0.5, 0.5], [np.nan, 1.0]]), np.array([0, 1]), "row 1 .* not finite"),
        (np.full((1, 2), -np.inf), np.array([0]), "not finite"),
        (np.ones((1, 2)), np.array([2]), "from 0 to 1"),
        (np.ones((1, 2)), np.array([-1]), "from 0 to 1"),
        (np.ones((1, 2)), np.array([0.5]), "class numbers"),
    ],
)
@pytest.mark.parametrize("measure", [*MEASURES, metrics.nll, metrics.fit_temperature])
def test_unfit_input_is_a_data_error(measure, probs, targets, message):
    with pytest.raises(DataError, match=message):
        measure(probs, targets)


def test_report_is_ready_for_json():
    genders = ["female", "female", "male", "male", "male", None]
    made = metrics.report(np.log(PROBS), TARGETS, CLASSES, subjects=list("aabbcc"), genders=genders)
    values = json.loads(json.dumps(made.to_dict(), allow_nan=False))
    assert values["n"] == 6
    assert values["subjects"] == 3
    assert values["uar"] == 0.625
    assert values["uar_interval"][0] <= 0.625 <= values["uar_interval"][1]
    assert values["recalls"] == {"neutral": 0.75, "happy": 0.5, "sad": None}
    assert values["confusion"] == [[3, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert {gender: figures["n"] for gender, figures in values["genders"].items()} == {"female": 2, "male": 3}
    assert values["genders"]["male"]["recalls"] == {"neutral": 0.5, "happy": 1.0, "sad": None}


def test_report_of_one_class():
    values = metrics.report(np.zeros((3, 1)), np.zeros(3, int), ("happy",)).to_dict()
    assert (values["accuracy"], values["roc_auc"], values["subjects"]) == (1.0, None, None)


def test_report_refuses_other_labels():
    with pytest.raises(DataError, match="3 classes, but 2 labels"):
        metrics.report(PROBS, TARGETS, CLASSES[:2])
