"""Running the plan of a benchmark: from tables of logits, and from real clips judged by a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avser import __version__
from avser.benchmark.clips import Tell, add_speakers, blank_table, load_groups, protocol_of
from avser.benchmark.contributions import BRANCHES, Study, facts_of, measure
from avser.benchmark.missing_modality import Fused, curves, fuse_with_gaps
from avser.benchmark.plan import Plan, Tables
from avser.benchmark.robustness import Group, answers
from avser.benchmark.sweeps import Sweeps, fits, run_sweeps, together
from avser.fusion.tables import join, read_table
from avser.logits import LogitTable
from avser.types import DataError


@dataclass
class Outcome:
    """What a benchmark gave.

    Attributes:
        report: all figures, as plain values.
        studies: what the figures of `report["studies"]` are made of, by name.
        tables: logits that were made here, by the name of their file in the report's folder.
        sweeps: the logits behind the figures of `report["degradation"]`.
    """

    report: dict
    studies: dict[str, Study] = field(default_factory=dict)
    tables: dict[str, LogitTable] = field(default_factory=dict)
    sweeps: Sweeps | None = None


def run(plan: Plan, data_root: Path | None = None, tell: Tell = lambda step: None) -> Outcome:
    """Carry out a plan.

    What takes long is kept in the cache by content and settings: fitted rules, decoded clips, what the model says
    at each step. Run again after an interruption, it goes on from there.

    Raises:
        ConfigError, DataError, ModelError: tables, clips or model do not fit the plan.
    """
    about = {"title": plan.title, "avser": __version__, "plan": plan.model_dump(mode="json", exclude_none=True)}
    outcome = Outcome({**about, "studies": {}})
    # first of all: nobody should hear after minutes of fitting that a folder is not there
    loaded = None if plan.clips is None else load_groups(plan.model, plan.clips, data_root, tell)
    if plan.tables is not None:
        _add(outcome, "tables", *study_of_tables(plan, plan.tables, tell))
    if loaded is not None:
        _measure_clips(outcome, plan, *loaded, data_root, tell)
    return outcome


def _add(outcome: Outcome, name: str, study: Study, fused: dict[str, Fused]) -> None:
    outcome.studies[name] = study
    outcome.report["studies"][name] = measure(study)
    if fused:
        outcome.report["studies"][name]["missing"] = {rule: curves(said) for rule, said in fused.items()}


def study_of_tables(plan: Plan, files: Tables, tell: Tell) -> tuple[Study, dict[str, Fused]]:
    """Both branches of out-of-fold logits, and each rule fitted on the other folds."""
    paths = {"audio": files.audio, "face": files.face}
    pairs = join(read_table(files.audio, "audio"), read_table(files.face, "face"))
    fused = {}
    for rule in plan.rules:
        tell(f"fusing by {rule}")
        fused[rule] = fuse_with_gaps(pairs, paths, rule, plan.protocol, plan.labels)
    first = next(iter(fused.values()))
    sources = {branch: path.as_posix() for branch, path in paths.items()}
    both = " + ".join(dict.fromkeys(sources.values()))
    study = Study(
        title=f"{plan.title}, out-of-fold logits",
        protocol=plan.protocol or "the folds that the tables name",
        tables={**first.branches, **{rule: said.table for rule, said in fused.items()}},
        sources=sources | dict.fromkeys(plan.rules, f"{both}, fitted on the other folds"),
        facts=facts_of(first.table.clips),
        main=plan.rules[0],
        notes=first.notes,
    )
    return study, fused


def _measure_clips(
    outcome: Outcome, plan: Plan, groups: list[Group], notes: list[str], data_root: Path | None, tell: Tell
) -> None:
    """The clips as they are, and every degradation that concerns the model."""
    names = [name for name in plan.degradations if fits(name, groups[0])]
    if "babble" in names and not add_speakers(plan, groups, data_root, tell):
        names.remove("babble")
        notes.append("no babble: there are no clips of other people to mix it of; name some under 'babble'")
    protocol = protocol_of(plan, groups)
    tell("judging the clips as they are")
    clean = together(groups, lambda group: answers(group, None, None, plan.seed))
    tables = _tables(groups, clean)
    study = Study(
        title=f"{plan.title}, {plan.model} on clips",
        protocol=protocol,
        tables=tables,
        sources={system: f"logits_{system}.csv" for system in tables},
        facts={take.clip.name: dict(take.clip.info) for group in groups for take in group.takes},
        main="fused" if "fused" in tables else next(iter(tables)),
        notes=notes,
    )
    outcome.tables |= {study.sources[system]: table for system, table in tables.items()}
    _add(outcome, "clips", study, _gaps(tables, clean))
    if names:
        outcome.sweeps = run_sweeps(plan, groups, clean, names, protocol, tell)
        outcome.report["degradation"] = outcome.sweeps.figures


def _tables(groups: Sequence[Group], said: dict[str, np.ndarray]) -> dict[str, LogitTable]:
    """A table of each system, of the clips that it says something of."""
    whole, found = blank_table(groups), {}
    for system, logs in said.items():
        answered = np.flatnonzero(np.isfinite(logs).all(1))
        if len(answered):
            found[system] = dataclasses.replace(whole, logits=logs).rows(answered)
    if not found:
        raise DataError("the model says nothing of any of the clips: there is neither speech nor a face in them")
    return found


def _gaps(tables: dict[str, LogitTable], said: dict[str, np.ndarray]) -> dict[str, Fused]:
    """The fused answers with each branch dropped; a branch that is alone comes back as it is."""
    if "fused" not in tables or not all(branch in tables for branch in BRANCHES):
        return {}
    rows = np.flatnonzero(np.isfinite(said["fused"]).all(1))
    without = {"audio": said["face"][rows], "face": said["audio"][rows]}
    return {"fused": Fused(tables["fused"], without, tables, [])}
