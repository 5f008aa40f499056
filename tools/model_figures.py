"""What the shipped models were measured to do: figures, each from a file of logits in `weights/results/`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from avser import datasets
from avser.benchmark import evaluation
from avser.config import load_config
from avser.datasets import fer2013
from avser.labels import LABEL_SETS
from avser.logits import LogitTable, read_logits, write_logits
from avser.members import members
from avser.metrics import Report
from avser.recognizer import Recognizer

LABELS = LABEL_SETS["basic7"]

Measured = dict[str, tuple[str, str, Report]]
"""By what was measured: protocol, file of logits, report."""


def measure(model: Recognizer, data_root: Path, results: Path) -> Measured:
    """Measure on what was held out; the logits of each clip go to CSV files."""
    measured = {}
    for modality in ("fused", "audio", "face"):
        done = evaluation.evaluate(model, "ravdess", data_root / "av/ravdess", {"modality": ["av"]}, modality)
        write_logits(results / f"actor01_{modality}.csv", done.table)
        protocol = "actor never trained on, whole clip, 7 classes, `avser predict`"
        measured[f"{modality}, RAVDESS Actor 01"] = (protocol, f"actor01_{modality}.csv", done.report())
    done = evaluation.evaluate(face_alone(model), "fer2013", data_root / "face/fer2013")
    write_logits(results / "fer2013_private.csv", done.table)
    protocol = "official split, FER2013 labels, 7 classes"
    measured["face, FER2013 private test"] = (protocol, "fer2013_private.csv", done.report())
    return measured | other_views(done, data_root / "face/fer2013", results)


def face_alone(model: Recognizer) -> Recognizer:
    """The face branch by itself, with the habits of its corpus, which fusion takes out of it."""
    whole = model.checkpoint
    branches = {"face": whole.branches["face"]}
    meta = {**whole.meta, "kind": "face"}
    return Recognizer(dataclasses.replace(whole, meta=meta, branches=branches, fusion=None))


def other_views(done: evaluation.Evaluation, root: Path, results: Path) -> Measured:
    """The same predictions without pictures that recur in other parts of FER2013, and by the majority of FER+."""
    by_name = {clip.name: clip for clip in done.clips}
    votes = [fer2013.majority(by_name[name]) for name in done.table.clips]
    chosen = [row for row, label in enumerate(votes) if label in LABELS]
    table = dataclasses.replace(done.table.rows(chosen), labels=[votes[row] for row in chosen])
    elsewhere = {clip.path.read_bytes() for clip in datasets.scan("fer2013", root) if clip.info["split"] != "test"}
    new = [row for row, name in enumerate(done.table.clips) if by_name[name].path.read_bytes() not in elsewhere]
    views = {
        "face, FER2013 private test, FER+": (
            "majority of the votes of FER+, contempt left out",
            "ferplus_private.csv",
            table,
        ),
        "face, FER2013 private test, new pictures": (
            "FER2013 labels, without pictures that other parts hold as well",
            "fer2013_private_new.csv",
            done.table.rows(new),
        ),
    }
    for _, file, view in views.values():
        write_logits(results / file, view)
    return {what: (protocol, file, view.report()) for what, (protocol, file, view) in views.items()}


def measure_crossed(run: Path, results: Path) -> Measured:
    """The voice alone over all actors, from the held-out logits of a run, and under actor6 each of its members."""
    config = load_config(run / "config.json")
    name = f"ravdess_audio_{config.protocol}"
    files = {f"audio, RAVDESS, {config.protocol}": ("logits.csv", f"{name}.csv")}
    for number, member in enumerate(members(config) if config.ensemble and config.protocol == "actor6" else ()):
        files[f"audio, member {number + 1}, {member.network.name}"] = (
            f"member{number}.csv",
            f"{name}_member{number + 1}.csv",
        )
    measured = {}
    for what, (source, file) in files.items():
        table = read_logits(run / source)
        write_logits(results / file, table)
        inflated = ", **inflated**: actors are on both sides" if config.protocol == "random" else ""
        protocol = f"{config.protocol}, validation inside the training part, 8 classes{inflated}"
        measured[what] = (protocol, file, table.report(genders_of(table)))
    return measured


def measured_before(header: Mapping, results: Path) -> Measured:
    """The figures that a model's header names, computed again from their files of logits."""
    measured = {}
    for what, said in header["metrics"].items():
        table = read_logits(results / said["file"])
        genders = None if "FER2013" in what else genders_of(table)
        measured[what] = (said["protocol"], said["file"], table.report(genders))
    return measured


def crossed_before(header: Mapping, results: Path) -> Measured:
    """Those of the figures before that are of the voice over all actors."""
    every = header["metrics"].items()
    crossed = {what: said for what, said in every if what.startswith("audio, ") and "Actor 01" not in what}
    return measured_before({"metrics": crossed}, results)


def genders_of(table: LogitTable) -> list[str]:
    """Gender of each row of RAVDESS, whose men have odd numbers."""
    return ["male" if int(subject) % 2 else "female" for subject in table.subjects]


def figures(measured: Measured) -> dict[str, dict]:
    """What was measured, for a model's header."""
    return {
        what: {**r.to_dict(), "protocol": protocol, "file": file} for what, (protocol, file, r) in measured.items()
    }


def show(measured: Measured) -> None:
    """One line for each figure."""
    for what, (_, _, r) in measured.items():
        print(f"{what}: UAR {r.uar:.3f}, accuracy {r.accuracy:.3f}, ECE {r.ece:.3f}, {r.n} clips")
