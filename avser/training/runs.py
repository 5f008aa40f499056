"""Training a branch: folds, checkpoints that resume, logits of what was held out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from avser import __version__, checkpoint, metrics, scratch
from avser.config import Config, load_config
from avser.labels import label_set
from avser.logits import LogitTable, read_logits, write_logits
from avser.members import members
from avser.models import build_branch, build_ensemble, build_model
from avser.splits import Fold, make_folds
from avser.training import copies, data, devices, estimators, pretrained, solving, trainer
from avser.training.estimators import ESTIMATORS
from avser.training.fused_config import FusedConfig
from avser.types import Clip, ConfigError, DataError

AnyConfig: TypeAlias = Config | FusedConfig

SETTINGS = "config.json"
"""File of a run that says what it was begun with."""

LICENCES = {"ravdess": "CC BY-NC-SA 4.0"}
"""Licences that corpora hand on to weights trained on them; the strictest one holds."""


@dataclass(frozen=True)
class Outcome:
    """What training left behind: the folder, and the held-out logits of all folds with their report."""

    folder: Path
    table: LogitTable | None
    report: metrics.Report | None


def train(
    config: Config, data_root: Path | None = None, output: Path = Path("runs"), resume: bool = False
) -> Outcome:
    """Train every fold of a config, or those it names.

    Each fold leaves `model.safetensors`, `logits.csv` (test), `val_logits.csv` and its logs in `output/NAME/FOLD`.
    With `resume`, finished folds are kept and the interrupted one goes on from its last epoch.

    Raises:
        ConfigError, DataError: settings or data do not fit.
    """
    folder = output / config.name
    config = _settled(config, folder)
    check_folder(folder, config, resume, load_config)
    for member in members(config):
        devices.check(member)
    if config.network.name not in ESTIMATORS or config.ensemble:  # estimators cannot be members
        # what is wrong with the network should not be found after hours of decoding
        backbone = getattr(build_model(config), "backbone", None)
        if backbone is not None and hasattr(backbone, "load_pretrained"):
            backbone.load_pretrained()
    clips = data.scan(config, data_root)
    folds = make_protocol(config, clips)
    chosen = chosen_folds(config, folds)
    begin(folder, config)
    for index in chosen:
        place = folder / f"fold{index}"
        # the logits are written before the model; only estimators leave no model
        if (place / ("logits.csv" if config.network.name in ESTIMATORS else "model.safetensors")).exists():
            print(f"{place}: done already")
            continue
        train_fold(config, folds[index], place, f"{config.name} fold {index + 1}/{len(folds)}", str(index))
    return _gather(config, folder, clips)


def check_folder(
    folder: Path, config: AnyConfig, resume: bool, load: Callable[[Path], Config | FusedConfig]
) -> None:
    """Whether a run may begin or go on in a folder; folds and devices may differ from time to time.

    Args:
        load: reads the settings that `begin` has written.

    Raises:
        ConfigError: it holds a run and none is to be resumed, or one with other settings.
    """
    settings = folder / SETTINGS
    if not settings.exists():
        return
    if not resume:
        raise ConfigError(f"{folder}: holds a run already; give --resume to go on, or another --output or name=")
    if _lasting(load(settings)) != _lasting(config):
        raise ConfigError(f"{folder}: was begun with other settings; give another --output or name=")


def begin(folder: Path, config: AnyConfig) -> None:
    """Make the folder of a run, and write its settings down."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SETTINGS).write_text(_without_folds(config).model_dump_json(indent=1), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror or error}); choose another -o") from None


def _settled(config: Config, folder: Path) -> Config:
    """With the precision that `auto` stands for: that of the run in the folder, or this machine's."""
    path = folder / SETTINGS
    if config.training.precision == "auto" and path.exists():
        begun = load_config(path).training.precision
        config = config.model_copy(update={"training": config.training.model_copy(update={"precision": begun})})
    return devices.settled(config)


def _without_folds(config: AnyConfig) -> AnyConfig:
    return config.model_copy(update={"folds": None})


def _lasting(config: AnyConfig) -> dict[str, Any]:
    """What a run keeps to."""
    values = _without_folds(config).model_dump()
    for section in (values, *values.get("branches", {}).values()):
        for key in ("accelerator", "devices"):
            section.get("training", {}).pop(key, None)
    return values


def chosen_folds(config: AnyConfig, folds: Sequence[Fold]) -> Sequence[int]:
    """The numbers of the folds to train: those the config names, or all.

    Raises:
        ConfigError: there is no such fold.
    """
    chosen = range(len(folds)) if config.folds is None else config.folds
    if bad := [index for index in chosen if not 0 <= index < len(folds)]:
        raise ConfigError(f"{config.name}: no fold {bad[0]}; {config.protocol} has folds 0 to {len(folds) - 1}")
    return chosen


def make_protocol(config: Config, clips: Sequence[Clip]) -> list[Fold]:
    """The folds of a config's protocol; under `copies` the varied copies are dealt out like clips."""
    free = config.protocol in ("random", "pooled_random", "official", "official_or_random", "copies")
    if config.protocol == "copies":
        clips = copies.expand(clips, config.augment.copies)
    return make_folds(
        clips,
        config.protocol,
        seed=config.split_seed,
        val=None if free else config.validation,
        exclude=config.exclude,
    )


def train_fold(config: Config, fold: Fold, folder: Path, title: str, fold_name: str) -> None:
    """Train on one fold, choose epoch and temperature on its validation part, write the held-out logits.

    The members of an ensemble are trained one after the other, each in a folder of its own; those that are there
    already are kept.

    Raises:
        ConfigError: another process trains in the folder.
    """
    with scratch.reserved(folder):
        _train_fold(devices.settled(config), fold, folder, title, fold_name)


def _train_fold(config: Config, fold: Fold, folder: Path, title: str, fold_name: str) -> None:
    parts = _load_parts(config, fold, title)
    if config.network.name in ESTIMATORS:
        predict = estimators.fit(config, parts["train"])
        for part, file in (("val", "val_logits.csv"), ("test", "logits.csv")):
            write_logits(folder / file, _table(config, parts[part], predict(parts[part]), fold_name))
        return
    if config.ensemble:
        network, said = _train_members(config, fold, folder, title, fold_name, parts)
    else:
        network = _fit(config, fold, folder, title, parts)
        said = data.run_network(network, config, parts["val"])
        if config.training.refit:
            everything = {**parts, "train": [*parts["train"], *parts["val"]]}
            network = _fit(config, fold, folder / "refit", f"{title}, with the validation clips", everything)
    _finish(config, fold, folder, fold_name, network, parts, _table(config, parts["val"], said, fold_name))
    for path in folder.rglob("*.ckpt"):
        path.unlink()  # the optimizer's state is of no use any more


def _fit(
    config: Config, fold: Fold, folder: Path, title: str, parts: dict[str, list[data.Example]]
) -> torch.nn.Module:
    """One network on the training part: in closed form if its backbone has one, else by gradient."""
    network = build_branch(config)
    form = getattr(network.backbone, "closed_form", None)
    if form is None:
        folder.mkdir(exist_ok=True)
        return trainer.fit(config, fold, folder, title, parts)
    solving.CLOSED_FORMS[form](network, config, solving.variants(config, parts["train"]))
    return network.eval()


def _load_parts(config: Config, fold: Fold, title: str) -> dict[str, list[data.Example]]:
    parts: dict[str, list[data.Example]] = {}
    for part in ("train", "val", "test"):
        votes = config.training.votes if part == "train" else 0.0
        clips = getattr(fold, part)
        if part == "train" and config.protocol != "copies":
            clips = copies.expand(clips, config.augment.copies)
        parts[part], left_out = data.load_examples(config, clips, votes=votes)
        if left_out:
            print(f"{title}: {len(left_out)} {part} clips left out, the first: {left_out[0]}", file=sys.stderr)
    if not parts["train"] or not parts["val"]:
        raise DataError(f"{title}: no usable clips to {'train' if not parts['train'] else 'validate'} on")
    parts["train"], twins = data.without_copies(parts["train"], [*parts["val"], *parts["test"]])
    if twins:
        print(f"{title}: {twins} train clips left out, which are held out as well in an identical copy")
    print(
        f"{title}: {len(parts['train'])} to train, {len(parts['val'])} to validate, {len(parts['test'])} to test"
    )
    parts["train"] = pretrained.taught(config, f"{config.protocol_name}, fold {fold.name}", parts["train"])
    return parts


def _train_members(
    config: Config,
    fold: Fold,
    folder: Path,
    title: str,
    fold_name: str,
    parts: dict[str, list[data.Example]],
) -> tuple[torch.nn.Module, np.ndarray]:
    """The members one by one, weighted by what they say of the validation clips; and what all say of those (N, C).

    That is what they say before they have met the validation clips, if they are fitted again with them.
    """
    ensemble = build_ensemble(config)
    logits = []
    for number, member in enumerate(members(config)):
        place = folder / f"member{number}"
        if not (place / "model.safetensors").exists():
            train_fold(member, fold, place, f"{title}, member {number + 1}/{len(config.ensemble) + 1}", fold_name)
        trained = checkpoint.load(place / "model.safetensors").branches[config.branch].network
        ensemble.members[number].load_state_dict(trained.state_dict())
        logits.append(read_logits(place / "val_logits.csv").logits)
    targets = np.array([example.target.argmax() for example in parts["val"]])
    ensemble.shares.copy_(solving.fit_shares(logits, targets))
    logs = metrics.log_softmax(np.stack(logits))  # (K, N, C)
    return ensemble.eval(), metrics.log_softmax(np.tensordot(ensemble.shares.numpy(), logs, 1))


def _finish(config, fold, folder, fold_name, network, parts, val) -> None:
    temperature = metrics.fit_temperature(val.logits, val.targets)
    write_logits(folder / "val_logits.csv", val)
    counts = sum(example.target for example in parts["train"]) + 1e-3
    corpora = sorted({example.clip.corpus for example in parts["train"]})
    meta = {
        "name": config.name,
        "version": __version__,
        "labels": list(label_set(config.labels)),
        "corpora": corpora,
        "protocol": f"{config.protocol_name}, fold {fold.name}",
        "metrics": {"validation": metrics.report(val.logits / temperature, val.targets, val.classes).to_dict()},
        "licence": next((LICENCES[name] for name in corpora if name in LICENCES), "as the corpora's"),
        "temperature": round(float(temperature), 4),
        "log_prior": [round(float(x), 4) for x in np.log(counts / counts.sum())],
    }
    if parts["test"]:
        table = _table(config, parts["test"], data.run_network(network, config, parts["test"]), fold_name)
        write_logits(folder / "logits.csv", table)
        meta["metrics"]["test"] = metrics.report(
            table.logits / temperature, table.targets, table.classes, subjects=table.subjects
        ).to_dict()
    checkpoint.save_branch(folder / "model.safetensors", network, config, meta)


def _table(config: Config, examples: Sequence[data.Example], logits: np.ndarray, fold: str) -> LogitTable:
    clips = [example.clip for example in examples]
    fold = f"{fold} transductive" if config.transductive else fold
    return LogitTable.of_clips(clips, label_set(config.labels), logits, fold, pooled=len(config.corpora) > 1)


def _gather(config: Config, folder: Path, clips: Sequence[Clip]) -> Outcome:
    """Join the folds' held-out logits into one table and report on it; those of an ensemble's members as well."""
    table = _join(folder, "logits.csv")
    if table is None:
        return Outcome(folder, None, None)
    write_logits(folder / "logits.csv", table)
    for number in range(len(members(config)) if config.ensemble else 0):
        said = _join(folder, f"member{number}/logits.csv")
        if said is not None:
            write_logits(folder / f"member{number}.csv", said)
    return Outcome(folder, table, table.report(table.genders(clips)))


def _join(folder: Path, file: str) -> LogitTable | None:
    """One table of a file that every fold has, in the order of the folds; None if none has it."""
    folds = sorted(folder.glob("fold*"), key=lambda fold: int(fold.name.removeprefix("fold")))
    tables = [read_logits(fold / file) for fold in folds if (fold / file).exists()]
    return LogitTable.join(tables) if tables else None
