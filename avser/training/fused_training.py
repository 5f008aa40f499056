"""Training a fused model end to end, in stages: both branches, the rule on out-of-fold logits, fine-tuning.

Of a fold's training people, groups are held out in turn: networks trained without a group say what the rule is
fitted on, and the networks that are kept have learned from all of them. Each stage leaves its files in the fold's
folder, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avser import __version__, checkpoint, metrics
from avser.config import Config
from avser.files import replacing
from avser.folds import Fold
from avser.fusion.examples import Examples
from avser.fusion.fusing import predict
from avser.fusion.rule_fitting import fit_fusion
from avser.labels import label_set
from avser.logits import LogitTable, read_logits, write_logits
from avser.models import build_model
from avser.models.fusion import FusionRule, build_fusion
from avser.training import data, fused_clips, joint, runs
from avser.training.fused_clips import Part
from avser.training.fused_config import BRANCHES, FusedConfig, Joint, load_any
from avser.types import Clip, DataError

TABLES = {"fused": "logits.csv", "audio": "audio_logits.csv", "face": "face_logits.csv"}
"""Files of held-out logits, in each fold's folder and joined in the run's."""


@dataclass(frozen=True)
class Outcome:
    """What training left behind: the folder, and the held-out logits of all folds by modality."""

    folder: Path
    tables: dict[str, LogitTable]


def train(
    config: FusedConfig, data_root: Path | None = None, output: Path = Path("runs"), resume: bool = False
) -> Outcome:
    """Train every fold of a config, or those it names.

    Each fold leaves `model.safetensors`, a fused model, and the held-out logits of voice, face and both in
    `output/NAME/FOLD`; `report.json` beside the folds holds all figures. With `resume`, finished stages are kept
    and the interrupted one goes on.

    Raises:
        ConfigError, DataError: settings or data do not fit.
    """
    folder = output / config.name
    try:
        runs.check_folder(folder, config, resume, load_any)
        for name in BRANCHES:  # what is wrong with a network should not be found after hours of decoding
            build_model(config.of_branch(name))
        runs.begin(folder, config)
        configs = {name: config.of_branch(name) for name in BRANCHES}
        clips = fused_clips.name_apart(data.scan(configs["audio"], data_root))
        if picture := next((clip for clip in clips if data.is_picture(clip)), None):
            raise DataError(f"{picture.path}: is a picture, and a fused model learns from videos; take it away")
        folds = runs.make_protocol(configs["audio"], clips)
        for index in runs.chosen_folds(config, folds):
            stages = _Fold(config, configs, folds[index], folder / f"fold{index}", str(index), len(folds))
            stages.train()
    except KeyboardInterrupt as stop:
        said = str(stop) or f"{config.name} interrupted; the same command with --resume goes on"
        raise KeyboardInterrupt(said) from None
    return _gather(folder, clips)


class _Fold:
    """The stages of one fold."""

    def __init__(
        self, config: FusedConfig, configs: Mapping[str, Config], fold: Fold, folder: Path, name: str, count: int
    ) -> None:
        self.config, self.configs, self.fold, self.folder, self.name = config, configs, fold, folder, name
        self.title = f"{config.name} fold {int(name) + 1}/{count}"
        self.inner = fused_clips.inner_folds(fold, config.inner, config.split_seed)

    def train(self) -> None:
        model = self.folder / f"model{checkpoint.SUFFIX}"
        if model.exists():
            print(f"{self.folder}: done already")
            return
        for name in BRANCHES:
            self._train_branch(name)
        branches = {name: _load(self.folder / name, name) for name in BRANCHES}
        examples, clips = self._out_of_fold()
        rule = self._fit_rule(examples)
        tuned = 0
        if self.config.joint is not None:
            tuned = self._fine_tune(self.config.joint, rule, branches, examples, clips)
        if tuned:  # what was measured of them before no longer holds
            branches = {name: _unmeasured(branch) for name, branch in branches.items()}
        meta = self._measure(rule, branches, tuned)
        checkpoint.save_fused(model, branches, rule, meta)
        joint.state_of(self.folder).unlink(missing_ok=True)

    def _train_branch(self, name: str) -> None:
        """One branch: a network for each group of people that it is trained without, and one for the fold."""
        config, folder, count = self.configs[name], self.folder / name, len(self.inner)
        places = [fused_clips.inner_place(folder, number) for number in range(count)]
        jobs = [
            (fold, place, f"{name}, inner {number}/{count}", place.name)
            for number, (fold, place) in enumerate(zip(self.inner, places, strict=True), 1)
        ]
        jobs.append((self.fold, folder, name, self.name))
        for fold, place, what, fold_name in jobs:
            if not (place / f"model{checkpoint.SUFFIX}").exists():
                runs.train_fold(config, fold, place, f"{self.title}, {what}", fold_name)

    def _out_of_fold(self) -> tuple[Examples, list[Clip]]:
        """The training clips with what networks say of them that have not met their people."""
        said = {name: fused_clips.read_out_of_fold(self.folder / name, self.inner) for name in BRANCHES}
        known: dict[str, Mapping[str, float | np.ndarray]] = {}
        for number, fold in enumerate(self.inner):
            network = _load(fused_clips.inner_place(self.folder / "face", number), "face").network
            clips = [clip for clip in fold.test if any(clip.name in said[name] for name in BRANCHES)]
            known.update(fused_clips.find_evidence(self.config.rule, self.configs, clips, network))
        return fused_clips.make_examples(self.config.labels, self.fold.train, said, known)

    def _fit_rule(self, examples: Examples) -> FusionRule:
        path = self.folder / "fusion.json"
        if path.exists():
            return build_fusion(json.loads(path.read_text(encoding="utf-8")))
        rule = fit_fusion(self.config.rule, examples)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(rule.settings(), indent=1), encoding="utf-8")
        people, both = len(set(examples.groups)), int(examples.present.all(1).sum())
        print(f"{self.title}, fusion: {rule.name} fitted on {both} clips of {people} people, out of fold")
        return rule

    def _judge(
        self, rule: FusionRule, branches: Mapping[str, checkpoint.Branch], part: Part
    ) -> tuple[Examples, list[Clip], np.ndarray]:
        """What is said of clips, by the branches and fused (N, C)."""
        networks = {name: branch.network for name, branch in branches.items()}
        said = fused_clips.judge(networks, self.configs, part)
        clips = [clip for clip in part.clips if any(clip.name in said[name] for name in BRANCHES)]
        faces = part.inputs["face"]
        known = fused_clips.find_evidence(self.config.rule, self.configs, clips, networks["face"], faces)
        examples, clips = fused_clips.make_examples(self.config.labels, clips, said, known)
        return examples, clips, predict(rule, examples)

    def _fine_tune(
        self,
        settings: Joint,
        rule: FusionRule,
        branches: Mapping[str, checkpoint.Branch],
        examples: Examples,
        clips: Sequence[Clip],
    ) -> int:
        """Move the branches' networks; which epoch they were taken from."""
        both = np.flatnonzero(examples.present.all(1)).tolist()
        part = fused_clips.load_part(self.configs, [clips[row] for row in both])
        validated, tested = (fused_clips.load_part(self.configs, held) for held in (self.fold.val, self.fold.test))
        known = set(fused_clips.without_copies(part, [validated, tested]))
        rows = [row for row in both if clips[row].name in known]
        if not rows:
            raise DataError(f"{self.title}: no training clip has both sound and face; drop joint")
        inputs = {name: [part.inputs[name][clips[row].name] for row in rows] for name in BRANCHES}

        def validate() -> joint.Score:
            known, _, fused = self._judge(rule, branches, validated)
            return metrics.uar(metrics.softmax(fused), known.targets), metrics.nll(fused, known.targets)

        return joint.fine_tune(
            settings,
            self.config.seed,
            rule,
            {name: branch.network for name, branch in branches.items()},
            self.configs,
            joint.Material(inputs, examples.rows(np.array(rows))),
            validate,
            self.folder,
            f"{self.title}, joint",
        )

    def _measure(self, rule: FusionRule, branches: Mapping[str, checkpoint.Branch], tuned: int) -> dict:
        """Write what is said of the held-out clips; the header of the model."""
        corpora = sorted({corpus for branch in branches.values() for corpus in branch.meta["corpora"]})
        how = f", fine-tuned together for {tuned} epochs" if tuned else ""
        measured: dict[str, dict] = {}
        meta = {
            "name": self.config.name,
            "version": __version__,
            "description": f"Voice and face, fused by {rule.name} fitted on out-of-fold logits{how}.",
            "corpora": corpora,
            "protocol": f"{self.config.protocol}, fold {self.fold.name}",
            "licence": next((runs.LICENCES[c] for c in corpora if c in runs.LICENCES), "as the corpora's"),
            "metrics": measured,
        }
        part = fused_clips.load_part(self.configs, self.fold.test)
        if not any(part.inputs.values()):
            return meta
        examples, clips, fused = self._judge(rule, branches, part)
        logits = {"fused": fused, **examples.logits}
        present = {"fused": examples.present.any(1), **dict(zip(BRANCHES, examples.present.T, strict=True))}
        for name, file in TABLES.items():
            rows = np.flatnonzero(present[name])
            if not len(rows):
                continue
            table = LogitTable.of_clips(
                [clips[row] for row in rows],
                label_set(self.config.labels),
                logits[name][rows],
                self.name,
                pooled=len(self.config.corpora) > 1,
            )
            write_logits(self.folder / file, table)
            measured[f"{name}, held out"] = table.report().to_dict()
        return meta


def _load(folder: Path, name: str) -> checkpoint.Branch:
    return checkpoint.load(folder / f"model{checkpoint.SUFFIX}").branches[name]


def _unmeasured(branch: checkpoint.Branch) -> checkpoint.Branch:
    meta = {key: value for key, value in branch.meta.items() if key != "metrics"}
    return dataclasses.replace(branch, meta=meta)


def _gather(folder: Path, clips: Sequence[Clip]) -> Outcome:
    """Join the folds' held-out logits by modality, and keep the figures."""
    tables = {}
    for name, file in TABLES.items():
        found = sorted(folder.glob(f"fold*/{file}"), key=lambda path: int(path.parent.name.removeprefix("fold")))
        if found:
            tables[name] = LogitTable.join([read_logits(path) for path in found])
            write_logits(folder / file, tables[name])
    reports = {name: table.report(table.genders(clips)).to_dict() for name, table in tables.items()}
    with replacing(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(reports, indent=1), encoding="utf-8")
    return Outcome(folder, tables)
