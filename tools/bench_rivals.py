"""What others do with a clip, timed in an environment that has them; started by `bench_speed.py --against`.

    PYTHON bench_rivals.py CLIP SOUND RUNS

It needs nothing of avser: only what is installed beside the Python that runs it, `fer` or `librosa` at their
defaults. Everything is loaded and run once before it is timed. The last line is JSON: by name, a list of runs with
CPU time and elapsed time in s.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def by_fer(clip: str, sound: str) -> Callable[[], None]:
    """`fer` (the Haar cascade of OpenCV and a network of Keras) on every frame."""
    import cv2

    detector = _fer()()

    def work() -> None:
        video = cv2.VideoCapture(clip)
        while (read := video.read())[0]:
            detector.detect_emotions(read[1])
        video.release()

    return work


def by_fer_video(clip: str, sound: str) -> Callable[[], None]:
    """What `fer` has for a video, at its defaults: it also writes all frames and a video with boxes drawn in."""
    from fer.classes import Video

    detector = _fer()()

    def work() -> None:
        Video(clip).analyze(detector)

    return work


def _fer() -> type:
    try:
        from fer.fer import FER
    except ImportError:  # older versions
        from fer import FER
    return FER


def by_librosa(clip: str, sound: str) -> Callable[[], None]:
    """The features that most systems for the voice take from librosa, of windows of 3 s, one every second."""
    import librosa
    import numpy as np

    def work() -> None:
        samples, rate = librosa.load(sound)
        for start in range(0, max(len(samples) - 2 * rate, 1), rate):
            window = samples[start : start + 3 * rate]
            for feature in (librosa.feature.mfcc, librosa.feature.chroma_stft, librosa.feature.melspectrogram):
                np.mean(feature(y=window, sr=rate), axis=1)

    return work


RIVALS = {
    "fer, frame by frame": ("fer", by_fer),
    "fer, its own Video.analyze": ("fer", by_fer_video),
    "librosa": ("librosa", by_librosa),
}
"""By name: the package that it needs, and what makes the work ready."""


def timed(work: Callable[[], None]) -> dict[str, float]:
    before, start = os.times(), time.perf_counter()
    work()
    after = os.times()
    return {"cpu": sum(after[:4]) - sum(before[:4]), "wall": time.perf_counter() - start}


def main() -> None:
    clip, sound, runs = *map(os.path.abspath, sys.argv[1:3]), sys.argv[3]
    taken = {}
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # some write tables and pictures
        try:
            for name, (package, prepare) in RIVALS.items():
                if importlib.util.find_spec(package):
                    work = prepare(clip, sound)
                    work()
                    taken[name] = [timed(work) for _ in range(int(runs))]
        finally:
            os.chdir(home)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
