"""Build the shipped fused model from two trained branches, measure it, and write its results and model card.

    python tools/release_weights.py --audio runs/audio_base/fold0 --face runs/face_fer2013/fold0 \
        --actor6 runs/audio_ravdess8 --data-root DIR

No corpus holds enough clips with both voice and face to fit the fusion on people who were not trained on, so
weights are fitted on pairs of the same emotion: a validation actor's voice with a validation picture of somebody
else.
"""

from __future__ import annotations

import argparse
import shutil
from datetime import date
from pathlib import Path

import numpy as np

from avser import __version__, benchmark, checkpoint, metrics
from avser.labels import LABEL_SETS, place
from avser.logits import read_logits, write_logits
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
        logs[name] = calibrations[name](_tensor(logits), LABELS).numpy()
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


def _tensor(array: np.ndarray):
    import torch

    return torch.from_numpy(array)


def measure(model: Recognizer, data_root: Path, results: Path) -> dict[str, metrics.Report]:
    """Measure on what was held out; the logits go to CSV files."""
    reports = {}
    for modality in ("audio", "face", "fused"):
        done = benchmark.evaluate(model, "ravdess", data_root / "av/ravdess", {"modality": ["av"]}, modality)
        write_logits(results / f"actor01_{modality}.csv", done.table)
        reports[f"RAVDESS Actor 01 clips, {modality}, whole clip, 7 classes"] = done.report()
    done = benchmark.evaluate(model, "fer2013", data_root / "face/fer2013", modality="face")
    write_logits(results / "fer2013_private.csv", done.table)
    reports["FER2013 private test, face, FER2013 labels, 7 classes"] = done.report()
    return reports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, required=True, help="fold folder of the audio branch")
    parser.add_argument("--face", type=Path, required=True, help="fold folder of the face branch")
    parser.add_argument("--actor6", type=Path, help="run folder of the audio branch under actor6")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    args = parser.parse_args()

    runs = {"audio": args.audio, "face": args.face}
    branches = {name: checkpoint.load(run / "model.safetensors").branches[name] for name, run in runs.items()}
    for branch in branches.values():
        branch.meta.pop("name", None)
    fusion = fit_fusion(runs, branches)
    path = args.weights / f"{NAME}{checkpoint.SUFFIX}"
    meta = {
        "name": NAME,
        "version": __version__,
        "description": "Voice and face of one person, seven expressed emotions, fused over calibrated branches.",
        "corpora": sorted({corpus for branch in branches.values() for corpus in branch.meta["corpora"]}),
        "protocol": "Branches on all subjects but those held out; epoch, temperature, prior and fusion weights on "
        "validation subjects, the weights on pairs of the same emotion.",
        "licence": LICENCE,
        "held_out": HELD_OUT,
        "released": date.today().isoformat(),
    }
    checkpoint.save_fused(path, branches, fusion, meta)
    reports = measure(Recognizer(checkpoint.load(path)), args.data_root, args.weights / "results")
    if args.actor6:
        shutil.copyfile(args.actor6 / "logits.csv", args.weights / "results" / "ravdess_audio_actor6.csv")
    checkpoint.save_fused(
        path, branches, fusion, {**meta, "metrics": {name: report.to_dict() for name, report in reports.items()}}
    )
    for name, report in reports.items():
        print(f"{name}: UAR {report.uar:.3f} {report.uar_interval}, accuracy {report.accuracy:.3f}, n {report.n}")


if __name__ == "__main__":
    main()
