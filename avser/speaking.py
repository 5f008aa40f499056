"""Who speaks: how well the movement of each mouth goes with the sound.

When somebody speaks the mouth moves, and moves more where the sound is louder (Cutler and Davis 2000, "Look Who's
Talking: Speaker Detection Using Video and Audio Correlation"; Chandrasekaran et al. 2009, "The Natural Statistics
of Audiovisual Speech"). A score joins both facts by a logistic function of three numbers, see `WEIGHTS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from avser.speech import Envelope

SMOOTH = 0.4
"""Movement and loudness are averaged over this time, s: about one or two syllables."""
LAGS = (0.0, 0.1)
"""How much later than the mouth's movement the sound may come, s; the better one counts."""
FLOOR = 0.02
"""Loudness below this share of the window's loudest is as good as silence."""
STILL = 0.05
"""Movement of a mouth that is still, in distances of the eyes a second: what landmarks jitter."""
MARGIN_OF_SPEECH = 0.1
"""A mouth that moves this long before or after the speech, s, moves with it."""
MIN_SAMPLES, MIN_SPOKEN = 8, 4
"""Pictures of a mouth needed for a score, and how many of them during speech."""

WEIGHTS = (2.8, 0.63)
"""Of the correlation, and of the logarithm of the movement during speech."""
BIAS = 0.09
"""Fitted by logistic regression on windows of 3 s of 26 real clips of one actor who speaks one sentence with many
emotions, looked at 10 and 25 times a second, against mouths that speak at another time or do not speak.
"""

LEAST, MARGIN = 0.6, 0.2
"""Score needed to be the one who speaks, and how far ahead of the next best."""
UNKNOWN = 0.5
"""What a mouth that could not be measured counts in the comparison."""


def score(
    times: np.ndarray, openings: np.ndarray, envelope: Envelope, speech: Iterable[tuple[float, float]]
) -> float | None:
    """How likely it is that the mouth belongs to the voice, 0 to 1; None where it cannot be told.

    Args:
        times: (N,) of the pictures, s, rising. openings: (N,) of the mouth (see `MouthMeter`), NaN where unknown.
        speech: (start, end) of each stretch of speech, s.
    """
    known = np.isfinite(openings)
    times, openings = times[known], openings[known]
    if len(times) < MIN_SAMPLES:
        return None
    spoken = np.zeros(len(times), bool)
    for start, end in speech:
        spoken |= (times >= start - MARGIN_OF_SPEECH) & (times < end + MARGIN_OF_SPEECH)
    if spoken.sum() < MIN_SPOKEN:
        return None
    speed = np.abs(np.gradient(openings, times))
    near = np.abs(times[:, None] - times) <= SMOOTH / 2 + 1e-6  # (N, N)
    movement = near @ speed / near.sum(axis=1)
    together = max(_correlation(movement, _loudness(envelope.around(times + lag, SMOOTH))) for lag in LAGS)
    amount = math.log(float(speed[spoken].mean()) + STILL)
    return 1 / (1 + math.exp(-(WEIGHTS[0] * together + WEIGHTS[1] * amount + BIAS)))


def who_speaks(scores: Mapping[int, float | None]) -> int | None:
    """The person whose score is high and clearly above all others; None where that is uncertain.

    >>> who_speaks({0: 0.9, 1: 0.3}), who_speaks({0: 0.9, 1: 0.8}), who_speaks({0: None, 1: 0.9})
    (0, None, 1)
    """
    values = {person: UNKNOWN if value is None else value for person, value in scores.items()}
    if not values:
        return None
    best = max(values, key=values.__getitem__)
    rest = max((value for person, value in values.items() if person != best), default=0.0)
    return best if values[best] >= LEAST and values[best] - rest >= MARGIN else None


def _loudness(levels: np.ndarray) -> np.ndarray:
    """Logarithm of levels (N,), whatever their unit."""
    loudest = levels.max()
    return np.log(levels / loudest + FLOOR) if loudest > 0 else np.zeros(len(levels))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's, 0 where one of them does not change."""
    spread = float(x.std() * y.std())
    return float(np.mean((x - x.mean()) * (y - y.mean()))) / spread if spread > 1e-9 else 0.0
