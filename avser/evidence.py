"""What is known of a window besides the branches' logits: cues of how well one hears and sees, and features.

The rule `reliability` weighs by the cues (see `CUES`), `head` learns from the features. Training and prediction
take both from here. The features are not those of the networks' last layers: every network behind out-of-fold
logits has a last layer of its own, and what a head learns of one says nothing of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from avser import features
from avser.metrics import log_softmax
from avser.models.fusion import CUES
from avser.signals import AudioInput

FRAME = 0.02
"""Length of the frames whose level is compared, s."""
QUIET = 0.1
"""Share of the frames, the quietest, that tells the level of the noise (cf. Martin 2001, Noise power spectral
density estimation based on optimal smoothing and minimum statistics)."""
ABOVE, BELOW = 3.0, 35.0
"""Speech lies so far above the noise and less than so far below the loudest frame, dB."""
SNR = (-20.0, 60.0)
"""Least and greatest ratio of signal to noise that is told, dB."""
BANDS = 16
"""Bands of `voice_features`."""


def voice_cues(samples: np.ndarray, rate: int) -> dict[str, float]:
    """How well a voice can be heard in the sound of one window.

    Args:
        samples: (S,) float32 in [-1, 1] at `rate` Hz, as they are in the file.

    Returns:
        `speech`, the share of the window that is louder than its noise, and `snr`, dB: the level of that share
        above the noise's. The noise is the mean of the quietest tenth. A steady hum is all noise; NaN without
        sound.
    """
    size = max(1, round(FRAME * rate))
    count = len(samples) // size
    if not count:
        return {"speech": float("nan"), "snr": float("nan")}
    power = np.mean(np.square(samples[: count * size].reshape(count, size), dtype=np.float64), axis=1)
    noise = float(np.sort(power)[: max(1, round(QUIET * count))].mean())
    loudest = float(power.max())
    if loudest <= 0:
        return {"speech": 0.0, "snr": SNR[0]}
    spoken = power > max(noise * 10 ** (ABOVE / 10), loudest * 10 ** (-BELOW / 10))
    if not spoken.any():
        return {"speech": 0.0, "snr": SNR[0]}
    clear = float(power[spoken].mean()) - noise
    return {
        "speech": float(spoken.mean()),
        "snr": float(np.clip(10 * np.log10(clear / max(noise, 1e-12)), *SNR)),
    }


def face_cues(looked: int, boxes: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """How well one face can be seen in a window.

    Args:
        looked: frames of the window in which faces were looked for.
        boxes: (N, 4) of the frames with the face, xyxy, px of the video's picture. scores: (N,) of its detector.

    Returns:
        `face_share` of the frames with the face, mean `face_score`, mean width `face_size` in px; NaN where it
        is not known.
    """
    if not looked:
        return dict.fromkeys(("face_share", "face_score", "face_size"), float("nan"))
    if not len(boxes):
        return {"face_share": 0.0, "face_score": float("nan"), "face_size": float("nan")}
    return {
        "face_share": min(1.0, len(boxes) / looked),  # several people may be taken together
        "face_score": float(np.mean(scores)),
        "face_size": float(np.mean(boxes[:, 2] - boxes[:, 0])),
    }


def voice_features(samples: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """`audio_features` (2 · `BANDS`,): mean and deviation over time of the log-mel of what is spoken, levelled.

    Args:
        samples: (S,) as for `voice_cues`.
    """
    params = AudioInput(rate=rate, n_mels=BANDS, fmax=min(8_000.0, rate / 2))
    sound = features.prepare(samples, params)
    if sound is None:
        return {"audio_features": np.full(2 * BANDS, np.nan)}
    mel = features.log_mel(sound[None], params)[0, 0].astype(np.float64)  # (M, T)
    return {"audio_features": np.concatenate([mel.mean(1), mel.std(1)])}


def face_features(logits: np.ndarray) -> dict[str, np.ndarray]:
    """`face_features` (3 C,): mean, deviation and maximum over frames of what the face branch says of each.

    Args:
        logits: (N, C) of the window's frames with the face.
    """
    if not len(logits):
        return {"face_features": np.full(3 * logits.shape[1], np.nan)}
    logs = log_softmax(logits)
    return {"face_features": np.concatenate([logs.mean(0), logs.std(0), logs.max(0)])}


def of_voice(samples: np.ndarray, rate: int) -> dict[str, float | np.ndarray]:
    """All that is known of the voice in the sound (S,) of one window."""
    return voice_cues(samples, rate) | voice_features(samples, rate)


def of_face(looked: int, boxes: np.ndarray, scores: np.ndarray, logits: np.ndarray) -> dict:
    """All that is known of one face in a window; see `face_cues` and `face_features`."""
    return face_cues(looked, boxes, scores) | face_features(logits)


def stack(windows: Sequence[Mapping[str, float | np.ndarray]]) -> dict[str, np.ndarray]:
    """What is known of windows as a fusion rule takes it: (B,) or (B, D) by name, NaN where it is not known.

    >>> {name: values.tolist() for name, values in stack([{"snr": 3.0}, {}]).items()}
    {'snr': [3.0, nan]}
    """
    found: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(name for window in windows for name in window):
        sample = np.asarray(next(window[name] for window in windows if name in window), np.float64)
        absent = np.full(sample.shape, np.nan)
        found[name] = np.stack([np.asarray(w.get(name, absent), np.float64) for w in windows])
    return found


def average(windows: Iterable[Mapping[str, float | np.ndarray]]) -> dict[str, float | np.ndarray]:
    """What is known of a file as a whole: the mean over its windows, of those that know it."""
    means: dict[str, float | np.ndarray] = {}
    for name, values in stack(list(windows)).items():
        known = np.isfinite(values).reshape(len(values), -1).all(1)
        mean = values[known].mean(0) if known.any() else values[0]
        means[name] = float(mean) if mean.ndim == 0 else mean
    return means


NEEDED = {"reliability": tuple(CUES), "head": ("audio_features", "face_features")}
"""What rules go by besides logits, by the name of the rule; the others need nothing."""
