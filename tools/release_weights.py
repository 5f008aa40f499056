"""Build the shipped fused model from two trained branches, measure it, and write its results and model card.

    python tools/release_weights.py --audio runs/audio_base/fold0 --face runs/face_fer2013_tune/fold0 \
        --actor6 runs/audio_ravdess8 --data-root DIR

No corpus holds enough clips with both voice and face to fit the fusion on people who were not trained on, so
weights are fitted on pairs of the same emotion: a validation actor's voice with a validation picture of somebody
else.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from model_card import write_card

from avser import __version__, benchmark, checkpoint
from avser.labels import LABEL_SETS, place
from avser.logits import read_logits, write_logits
from avser.metrics import Report, report
from avser.models.fusion import Calibration, Weighted, fit_calibration, fit_weighted
from avser.recognizer import Recognizer

LABELS = LABEL_SETS["basic7"]
PAIRS = 4000
NAME = "av-base"
HELD_OUT = {"ravdess": {"subject": ["01"]}, "fer2013": {"split": ["test"]}}
LICENCE = "CC BY-NC-SA 4.0 (from RAVDESS)"


def validation(run: Path, branch: checkpoint.Branch) -> tuple[np.ndarray, np.ndarray]:
    """A branch's logits on its validation clips, and their emotions among the shared labels."""
    table = read_logits(run / "val_logits.csv")
    if table.classes != branch.labels:
        raise SystemExit(f"{run}: val_logits.csv is not of this model")
    targets = np.array([place(label, LABELS) for label in table.labels])
    return table.logits, targets


def fit_fusion(runs: dict[str, Path], branches: dict[str, checkpoint.Branch]) -> Weighted:
    """Calibrations of both branches and fusion weights, all from validation clips."""
    calibrations: dict[str, Calibration] = {}
    logs, emotions = {}, {}
    for name, branch in branches.items():
        logits, targets = validation(runs[name], branch)
        calibrations[name] = fit_calibration(branch.labels, branch.meta["log_prior"], LABELS, logits, targets)
        logs[name] = calibrations[name](torch.from_numpy(logits), LABELS).numpy()
        emotions[name] = targets
        print(f"{name}: temperature {calibrations[name].temperature}, prior {calibrations[name].prior}")
    rng = np.random.default_rng(0)
    targets = np.arange(PAIRS) % len(LABELS)
    paired = {
        name: np.stack([logs[name][rng.choice(np.flatnonzero(emotions[name] == t))] for t in targets])
        for name in branches
    }
    rule = fit_weighted(LABELS, calibrations, paired, targets)
    print(f"weights {rule.shares}, sharpness {rule.sharpness:.2f}")
    return rule


def measure(model: Recognizer, data_root: Path, results: Path) -> dict[str, tuple[str, str, Report]]:
    """Measure on what was held out; the logits of each clip go to CSV files."""
    measured = {}
    for modality in ("fused", "audio", "face"):
        done = benchmark.evaluate(model, "ravdess", data_root / "av/ravdess", {"modality": ["av"]}, modality)
        write_logits(results / f"actor01_{modality}.csv", done.table)
        protocol = "actor never trained on, whole clip, 7 classes, `avser predict`"
        measured[f"{modality}, RAVDESS Actor 01"] = (protocol, f"actor01_{modality}.csv", done.report())
    done = benchmark.evaluate(model, "fer2013", data_root / "face/fer2013", modality="face")
    write_logits(results / "fer2013_private.csv", done.table)
    protocol = "official split, FER2013 labels, 7 classes"
    measured["face, FER2013 private test"] = (protocol, "fer2013_private.csv", done.report())
    return measured


def measure_actor6(run: Path, results: Path) -> tuple[str, str, Report]:
    """The voice alone over all actors, from the held-out logits of a run under actor6."""
    table = read_logits(run / "logits.csv")
    write_logits(results / "ravdess_audio_actor6.csv", table)
    genders = ["male" if int(subject) % 2 else "female" for subject in table.subjects]
    figures = report(table.logits, table.targets, table.classes, table.subjects, genders)
    return "actor6, validation actors inside the training part, 8 classes", "ravdess_audio_actor6.csv", figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, required=True, help="fold folder of the audio branch")
    parser.add_argument("--face", type=Path, required=True, help="fold folder of the face branch")
    parser.add_argument("--actor6", type=Path, required=True, help="run folder of the audio branch under actor6")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    args = parser.parse_args()

    runs = {"audio": args.audio, "face": args.face}
    branches = {name: checkpoint.load(run / "model.safetensors").branches[name] for name, run in runs.items()}
    fusion = fit_fusion(runs, branches)
    path = args.weights / f"{NAME}{checkpoint.SUFFIX}"
    results = args.weights / "results"
    meta = {
        "name": NAME,
        "version": __version__,
        "description": "Voice and face of one person, seven expressed emotions, fused over calibrated branches.",
        "corpora": sorted({corpus for branch in branches.values() for corpus in branch.meta["corpora"]}),
        "protocol": "branches trained on all subjects but those held out; epochs, temperatures, priors and fusion "
        "weights from validation subjects, the weights from pairs of the same emotion",
        "licence": LICENCE,
        "held_out": HELD_OUT,
    }
    checkpoint.save_fused(path, branches, fusion, meta)
    measured = measure(Recognizer(checkpoint.load(path)), args.data_root, results)
    measured["audio, RAVDESS, all actors"] = measure_actor6(args.actor6, results)
    figures = {
        what: {**r.to_dict(), "protocol": protocol, "file": file} for what, (protocol, file, r) in measured.items()
    }
    checkpoint.save_fused(path, branches, fusion, {**meta, "metrics": figures})
    card = write_card(checkpoint.read_header(path), path.stat().st_size / 1e6, PAIRS, measured)
    path.with_suffix(".md").write_text(card, encoding="utf-8")
    for what, (_, _, r) in measured.items():
        print(f"{what}: UAR {r.uar:.3f}, accuracy {r.accuracy:.3f}, ECE {r.ece:.3f}, {r.n} clips")


if __name__ == "__main__":
    main()
