"""Miniature corpora of sounds and pictures that nobody can confuse, made where they are needed.

`make_corpus` lays them out as `avser.datasets.folder` has it, the `build_…` functions two clips each as the
official download of a corpus does, with what else lies there.
"""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import cv2
import numpy as np

from avser.media import ffmpeg_binary

EMOTIONS = ("happy", "sad", "angry")
SUBJECT = "/([a-z]+)_"
"""The `subject` option that finds who it is of in `happy/anna_0.wav`."""
PEOPLE = ("anna", "bert", "cleo", "dora", "emil", "fritz")
RATE = 16_000


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Samples (S,) in [-1, 1] as a WAV file, mono, 16 bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def make_sound(emotion: str, rng: np.random.Generator) -> np.ndarray:
    """Happy is a rising tone, sad a hum, angry bursts of noise; (S,)."""
    t = np.arange(int(RATE * rng.uniform(0.45, 0.6))) / RATE
    if emotion == "happy":
        return 0.4 * np.sin(2 * np.pi * (rng.uniform(600, 900) * t + 1500 * t**2))
    if emotion == "sad":
        return 0.4 * np.sin(2 * np.pi * rng.uniform(150, 250) * t)
    return 0.3 * rng.normal(0, 0.5, len(t)) * (np.sin(2 * np.pi * rng.uniform(5, 9) * t) > 0)


def make_picture(emotion: str, rng: np.random.Generator) -> np.ndarray:
    """Happy has stripes across, sad has them upright, angry is a disc; (48, 48, 3) uint8."""
    y, x = np.mgrid[:48, :48]
    phase = rng.uniform(0, 6)
    if emotion == "angry":
        pattern = np.hypot(x - rng.uniform(20, 28), y - rng.uniform(20, 28)) < 14
    else:
        pattern = np.sin((y if emotion == "happy" else x) / 3 + phase) > 0
    grey = 60 + 120 * pattern + rng.normal(0, 10, (48, 48))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def mini_settings(branch: str, network: dict, **changes: object) -> dict:
    """The config of a short training on one fold of such a corpus, which lies in `sounds` or in `pictures`."""
    folder = {"audio": "sounds", "face": "pictures"}[branch]
    return {
        "branch": branch,
        "labels": "basic7",
        "protocol": "subject5",
        "validation": 1,
        "folds": [0],
        "corpora": [{"name": "folder", "root": folder, "options": {"subject": SUBJECT}}],
        "network": network,
        **changes,
    }


def make_corpus(root: Path, kind: str, clips: int = 2, seed: int = 0) -> Path:
    """A corpus of `kind` audio or face: each of `PEOPLE` with `clips` of each of `EMOTIONS`."""
    rng = np.random.default_rng(seed)
    for emotion in EMOTIONS:
        folder = root / emotion
        folder.mkdir(parents=True, exist_ok=True)
        for person in PEOPLE:
            for number in range(clips):
                if kind == "audio":
                    write_wav(folder / f"{person}_{number}.wav", make_sound(emotion, rng))
                else:
                    cv2.imwrite(str(folder / f"{person}_{number}.png"), make_picture(emotion, rng))
    return root


def write_sound(path: Path, emotion: str = "sad") -> Path:
    """A short sound as WAV, in folders that are made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_wav(path, make_sound(emotion, np.random.default_rng(len(path.stem))))


def write_flv(path: Path) -> Path:
    """Half a second of Flash video, with sound, in folders that are made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ["-f", "lavfi", "-i", "testsrc=size=96x72:rate=12", "-f", "lavfi", "-i", "sine=frequency=300"]
    command = [ffmpeg_binary(), "-nostdin", "-y", "-loglevel", "error", *source, "-t", "0.5", "-c:v", "flv"]
    subprocess.run([*command, "-c:a", "aac", str(path)], check=True)
    return path


def iemocap_turn(utterance: str, emotion: str, annotators: str = "Neutral") -> str:
    """One utterance in an EmoEvaluation file of IEMOCAP."""
    head = f"[6.2901 - 8.2357]\t{utterance}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n"
    return f"{head}C-E2:\t{annotators};\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"


def build_iemocap(root: Path) -> None:
    """A man's and a woman's utterance of one dialog, in which the woman wears the markers."""
    session = root / "IEMOCAP_full_release" / "Session1"
    dialog = "Ses01F_script01_1"
    labels = session / "dialog/EmoEvaluation"
    (labels / "Categorical").mkdir(parents=True)
    turns = iemocap_turn(f"{dialog}_F000", "exc") + iemocap_turn(f"{dialog}_M012", "fru")
    (labels / f"{dialog}.txt").write_text(f"% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n{turns}")
    (labels / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07")
    (labels / "Categorical" / f"{dialog}_e2_cat.txt").write_text(f"{dialog}_F000 :Happiness; ()\n")
    write_sound(session / "dialog/wav" / f"{dialog}.wav")
    for utterance in (f"{dialog}_F000", f"{dialog}_M012"):
        write_sound(session / "sentences/wav" / dialog / f"{utterance}.wav")


def build_crema_d(root: Path) -> None:
    """One take as sound and as video, with the table of who the actors are."""
    write_sound(root / "AudioWAV/1002_IEO_HAP_HI.wav", "happy")
    write_flv(root / "VideoFlash/1002_IEO_HAP_HI.flv")
    (root / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n'
        '1002,21,"Female","Caucasian","Not Hispanic"\n'
    )
    (root / "SentenceFilenames.csv").write_text('"Stimulus_Number","Filename"\n1,"1002_IEO_HAP_HI"\n')


def build_demos(root: Path) -> None:
    """Guilt of a woman and the neutral voice of a man."""
    write_sound(root / "wav_DEMoS/DEMOS/NP_f_01_col01d.wav")
    write_sound(root / "wav_DEMoS/NEU/m_02_neu03a.wav")


def build_tess(root: Path) -> None:
    """A word of each actress."""
    write_sound(root / "OAF_Fear/OAF_back_fear.wav")
    write_sound(root / "YAF_pleasant_surprised/YAF_youth_ps.wav", "happy")


def build_openface(root: Path) -> None:
    """A file of frames with its label in a table beside it, and a table of means."""
    write_units(root / "frames" / "anna_01.csv", [{"frame": 1, "success": 1, "AU12_r": 2.5}])
    (root / "labels.csv").write_text("clip,label,subject\nanna_01,happy,anna\n")
    write_units(root / "means.csv", [{"clip": "bert_01", "label": "sad", "subject": "bert", "AU12_r": 0.1}])


def write_units(path: Path, rows: list[dict[str, object]]) -> Path:
    """Rows as OpenFace writes them, with a blank before each name and value but the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    path.write_text("".join(", ".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
    return path
