"""Build the shipped models from trained branches, measure them, and write their results and model cards.

    python tools/release_weights.py --audio runs/audio_base/fold0 --face runs/face_fer2013_tune/fold0 \
        --voice runs/audio_base8/fold0 --crossed runs/audio_ravdess8 --crossed runs/audio_luna5 --data-root DIR

`av-base` is the fused model; `audio-ravdess8` the voice alone in RAVDESS's eight emotions. `--crossed` are runs of
the voice over all actors under a protocol; without any, those figures stay as they were. Beside each model lie the
graphs of its branches for ONNX Runtime; `python tools/release_weights.py --graphs` makes only those anew. Without
`--audio`, av-base keeps its voice and gets another face. Without trained branches, `--crossed` adds its figures to
the models that are there, whose others are computed again from `weights/results/`.

No corpus holds enough clips with both voice and face to fit the fusion on people who were not trained on, so
it is fitted on pairs of the same emotion: a validation actor's voice with a window of validation pictures of
others, part of them neutral, as a face is between its expressions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from model_card import write_card, write_voice_card
from model_figures import (
    LABELS,
    Measured,
    crossed_before,
    figures,
    measure,
    measure_crossed,
    measured_before,
    show,
)

from avser import __version__, checkpoint, runtime
from avser.benchmark import evaluation
from avser.labels import place
from avser.logits import read_logits, write_logits
from avser.models.fusion import Calibration, Weighted, fit_calibration, fit_weighted
from avser.models.pooling import expressive_of, pool_frames
from avser.onnx import export
from avser.recognizer import Recognizer

PAIRS = 4200
FRAMES = 20
NAME, VOICE = "av-base", "audio-ravdess8"
HELD_OUT = {"ravdess": {"subject": ["01"]}, "fer2013": {"split": ["test"]}}
LICENCE = "CC BY-NC-SA 4.0 (from RAVDESS)"


def validation(run: Path, branch: checkpoint.Branch) -> tuple[np.ndarray, np.ndarray]:
    """A branch's logits on its validation clips, and their emotions among the shared labels."""
    table = read_logits(run / "val_logits.csv")
    if table.classes != branch.labels:
        raise SystemExit(f"{run}: val_logits.csv is not of this model")
    return table.logits, np.array([place(label, LABELS) for label in table.labels])


def face_windows(
    branch: checkpoint.Branch,
    logits: np.ndarray,
    targets: np.ndarray,
    wanted: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Windows of 20 frames of each wanted emotion as a speaking face shows it, pooled as in prediction, (N, C).

    Up to 80 % of the frames are neutral, and the others show the emotion at 20 to 100 % of the strength that web
    pictures have. The classifier is linear, so the logits of a weaker expression lie between those of a neutral
    and of an expressive picture. A window holds up to three pictures of each: frames of one face are alike.
    """
    pictures = [np.flatnonzero(targets == index) for index in range(len(LABELS))]
    windows = []
    for emotion in wanted:
        neutral = int(FRAMES * rng.uniform(0, 0.8))
        strength = rng.uniform(0.2, 1)
        resting = logits[rng.choice(rng.choice(pictures[LABELS.index("neutral")], 3), FRAMES)]
        expressed = logits[rng.choice(rng.choice(pictures[emotion], 3), FRAMES - neutral)]
        mixed = (1 - strength) * resting[neutral:] + strength * expressed
        windows.append(np.concatenate([resting[:neutral], mixed]))
    frames = np.stack(windows)  # (N, 20, C)
    mask = np.ones(frames.shape[:2], bool)
    return pool_frames(frames, mask, branch.config.network.pool, expressive_of(branch.labels))


def fit_fusion(runs: dict[str, Path], branches: dict[str, checkpoint.Branch]) -> Weighted:
    """Calibrations of both branches and fusion weights, all from validation subjects and pictures."""
    rng = np.random.default_rng(0)
    emotions = np.arange(PAIRS) % len(LABELS)
    voice, spoken = validation(runs["audio"], branches["audio"])
    clips = np.array([rng.choice(np.flatnonzero(spoken == emotion)) for emotion in emotions])
    faces = face_windows(branches["face"], *validation(runs["face"], branches["face"]), emotions, rng)
    calibrations = {
        "audio": calibrate(branches["audio"], voice, spoken),
        "face": calibrate(branches["face"], faces, emotions),
    }
    pairs = {"audio": voice[clips], "face": faces}
    logs = {name: calibrations[name](pairs[name], LABELS) for name in pairs}
    return fit_weighted(LABELS, calibrations, logs, emotions)


def with_another_face(rule: Weighted, run: Path, branch: checkpoint.Branch) -> Weighted:
    """The rule with the calibration of another face: the voice stays, and so does what either of them counts."""
    rng = np.random.default_rng(0)
    emotions = np.arange(PAIRS) % len(LABELS)
    faces = face_windows(branch, *validation(run, branch), emotions, rng)
    calibrations = {**rule.calibrations, "face": calibrate(branch, faces, emotions)}
    return Weighted(LABELS, calibrations, rule.shares, rule.sharpness)


def calibrate(branch: checkpoint.Branch, logits: np.ndarray, targets: np.ndarray) -> Calibration:
    """Temperature and prior of a branch on validation clips (N, C), with their emotions (N,)."""
    return fit_calibration(branch.labels, branch.meta["log_prior"], LABELS, logits, targets)


def trained(run: Path, name: str) -> checkpoint.Branch:
    """The branch that a fold folder holds."""
    return checkpoint.load(run / "model.safetensors").branches[name]


def release_fused(args: argparse.Namespace, crossed: Measured) -> None:
    """av-base: fit the fusion, measure, write weights and card."""
    path = args.weights / f"{NAME}{checkpoint.SUFFIX}"
    face = trained(args.face, "face")
    if args.audio:
        branches = {"audio": trained(args.audio, "audio"), "face": face}
        fusion = fit_fusion({"audio": args.audio, "face": args.face}, branches)
    else:
        before = checkpoint.load(path)
        branches = {**before.branches, "face": face}
        fusion = with_another_face(before.fusion, args.face, face)
    for name, c in fusion.calibrations.items():
        print(f"{name}: temperature {c.temperature}, prior {c.prior}, weight {fusion.shares[name]:.3f}")
    print(f"sharpness {fusion.sharpness:.2f}")
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
    checkpoint.save_fused(path, branches, fusion, meta, half=True)
    finish(path, measure(Recognizer(checkpoint.load(path)), args.data_root, args.weights / "results") | crossed)


def release_voice(args: argparse.Namespace, crossed: Measured) -> None:
    """audio-ravdess8: the voice alone, measured on the actor that was held out."""
    branch = trained(args.voice, "audio")
    path = args.weights / f"{VOICE}{checkpoint.SUFFIX}"
    meta = {
        **{key: branch.meta[key] for key in ("labels", "corpora", "temperature", "log_prior")},
        "name": VOICE,
        "version": __version__,
        "description": "The voice, in the eight emotions of RAVDESS.",
        "protocol": "trained on all subjects but those held out; epochs, temperature and weights of members from "
        "validation actors",
        "licence": LICENCE,
        "held_out": {"ravdess": HELD_OUT["ravdess"]},
    }
    checkpoint.save_branch(path, branch.network, branch.config, meta, half=True)
    model = Recognizer(checkpoint.load(path))
    only = {"channel": ["speech"], "modality": ["audio"]}
    done = evaluation.evaluate(model, "ravdess", args.data_root / "audio/ravdess", only, "audio")
    write_logits(args.weights / "results" / "actor01_audio8.csv", done.table)
    protocol = "actor never trained on, whole clip, 8 classes, `avser predict`"
    finish(path, {"audio, RAVDESS Actor 01": (protocol, "actor01_audio8.csv", done.report())} | crossed)


def write_graphs(path: Path) -> None:
    """Graphs of a model's branches, from which prediction runs without torch."""
    model = checkpoint.load(path)
    for name, branch in model.branches.items():
        graph = runtime.beside(branch)
        export.export(model, name, graph)
        print(f"{graph}: {graph.stat().st_size / 1e6:.1f} MB")


def finish(path: Path, measured: Measured) -> None:
    """Give a model's file its figures, and write its card and graphs; the weights stay as they are."""
    header = {**checkpoint.read_header(path), "metrics": figures(measured)}
    checkpoint.save_header(path, header)
    size, fused = path.stat().st_size / 1e6, header["kind"] == "fused"
    card = write_card(header, size, PAIRS, measured) if fused else write_voice_card(header, size, measured)
    path.with_suffix(".md").write_text(card, encoding="utf-8")
    write_graphs(path)
    show(measured)


def renew(path: Path, crossed: Measured) -> None:
    """A model that is there with further figures: the others from its files of logits."""
    finish(path, measured_before(checkpoint.read_header(path), path.parent / "results") | crossed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--audio", type=Path, help="fold folder of av-base's audio branch; without it, the one there stays"
    )
    parser.add_argument("--face", type=Path, help="fold folder of av-base's face branch")
    parser.add_argument("--voice", type=Path, help="fold folder of audio-ravdess8")
    parser.add_argument("--crossed", type=Path, action="append", default=[], help="run folder over all actors")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--graphs", action="store_true", help="only make the graphs of the models there anew")
    args = parser.parse_args()
    if args.graphs:
        for path in sorted(args.weights.glob(f"*{checkpoint.SUFFIX}")):
            write_graphs(path)
        return
    if bool(args.face) != bool(args.data_root) or not (args.face or args.crossed):
        parser.error("give --face and --data-root, or --crossed alone, or --graphs")
    if not args.face and (args.audio or args.voice):
        parser.error("--audio and --voice go with --face")

    results, shipped = args.weights / "results", args.weights / f"{NAME}{checkpoint.SUFFIX}"
    crossed: Measured = {}
    for run in args.crossed:
        crossed |= measure_crossed(run, results)
    if not args.face:
        for name in (NAME, VOICE):
            renew(args.weights / f"{name}{checkpoint.SUFFIX}", crossed)
        return
    if not crossed and shipped.exists():
        crossed = crossed_before(checkpoint.read_header(shipped), results)
    release_fused(args, crossed)
    if args.voice:
        release_voice(args, crossed)


if __name__ == "__main__":
    main()
