"""Training a branch: folds, checkpoints that resume, logits of what was held out."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avser import __version__, checkpoint, data, metrics, solving, torchlibs
from avser.config import Config, load_config, members
from avser.fitting import BranchModule, EpochLine
from avser.labels import label_set
from avser.logits import LogitTable, read_logits, write_logits
from avser.models import build_model
from avser.splits import Fold, make_folds
from avser.types import Clip, ConfigError, DataError, ModelError

lightning = torchlibs.import_lightning()
callbacks, loggers = lightning.pytorch.callbacks, lightning.pytorch.loggers

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
    settings = folder / "config.json"
    kept = config.model_copy(update={"folds": None})
    if not resume and settings.exists():
        raise ConfigError(f"{folder}: holds a run already; give --resume to go on, or another --output or name=")
    if resume and settings.exists() and load_config(settings) != kept:
        raise ConfigError(f"{folder}: was begun with other settings; give another --output or name=")
    build_model(config)  # what is wrong with the network should not be found after hours of decoding
    clips = data.scan(config, data_root)
    folds = make_protocol(config, clips)
    chosen = range(len(folds)) if config.folds is None else config.folds
    if bad := [index for index in chosen if not 0 <= index < len(folds)]:
        raise ConfigError(f"{config.name}: no fold {bad[0]}; {config.protocol} has folds 0 to {len(folds) - 1}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(kept.model_dump_json(indent=1), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror or error}); choose another -o") from None
    for index in chosen:
        place = folder / f"fold{index}"
        if (place / "model.safetensors").exists():
            print(f"{place}: done already")
            continue
        train_fold(config, folds[index], place, f"{config.name} fold {index + 1}/{len(folds)}", str(index))
    return _gather(config, folder, clips)


def make_protocol(config: Config, clips: Sequence[Clip]) -> list[Fold]:
    """The folds of a config's protocol."""
    free = config.protocol in ("random", "official")
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
    """
    parts = _load_parts(config, fold, title)
    folder.mkdir(parents=True, exist_ok=True)
    if config.ensemble:
        network = _train_members(config, fold, folder, title, fold_name, parts)
    else:
        network = build_model(config)
        if getattr(network.backbone, "closed_form", False):
            solving.fit_discriminant(network, config, parts["train"])
        else:
            network = _fit(config, fold, folder, title, parts)
    _finish(config, fold, folder, fold_name, network, parts)
    for path in folder.glob("*.ckpt"):
        path.unlink()  # the optimizer's state is of no use any more


def _load_parts(config: Config, fold: Fold, title: str) -> dict[str, list[data.Example]]:
    parts: dict[str, list[data.Example]] = {}
    for part in ("train", "val", "test"):
        votes = config.training.votes if part == "train" else 0.0
        parts[part], left_out = data.load_examples(config, getattr(fold, part), votes=votes)
        if left_out:
            print(f"{title}: {len(left_out)} {part} clips left out, the first: {left_out[0]}", file=sys.stderr)
    if not parts["train"] or not parts["val"]:
        raise DataError(f"{title}: no usable clips to {'train' if not parts['train'] else 'validate'} on")
    parts["train"], copies = data.without_copies(parts["train"], [*parts["val"], *parts["test"]])
    if copies:
        print(f"{title}: {copies} train clips left out, which are held out as well in an identical copy")
    print(
        f"{title}: {len(parts['train'])} to train, {len(parts['val'])} to validate, {len(parts['test'])} to test"
    )
    return parts


def _train_members(
    config: Config,
    fold: Fold,
    folder: Path,
    title: str,
    fold_name: str,
    parts: dict[str, list[data.Example]],
) -> torch.nn.Module:
    """The members one by one, and their weights by what they say of the validation clips."""
    ensemble = build_model(config)
    logits = []
    for number, member in enumerate(members(config)):
        place = folder / f"member{number}"
        if not (place / "model.safetensors").exists():
            train_fold(member, fold, place, f"{title}, member {number + 1}/{len(config.ensemble) + 1}", fold_name)
        trained = checkpoint.load(place / "model.safetensors").branches[config.branch].network
        ensemble.members[number].load_state_dict(trained.state_dict())
        logits.append(data.run_network(trained, config, parts["val"]))
    targets = np.array([example.target.argmax() for example in parts["val"]])
    ensemble.shares.copy_(solving.fit_shares(logits, targets))
    return ensemble.eval()


def _fit(
    config: Config, fold: Fold, folder: Path, title: str, parts: dict[str, list[data.Example]]
) -> torch.nn.Module:
    """Train by gradient; goes on from the last epoch of an interrupted run in the same folder."""
    lightning.seed_everything(config.seed, verbose=False)
    settings = config.training
    loader = _loader(config, parts["train"], training=True)
    module = BranchModule(config, len(loader), [example.clip for example in parts["train"]])
    if config.init_from is not None:
        _start_from(module, config, f"{config.protocol}, fold {fold.name}")
    _keep_log(folder)
    best = callbacks.ModelCheckpoint(folder, "best", monitor="val_uar", mode="max", enable_version_counter=False)
    # of its own: lightning's save_last writes only where the best one got better
    latest = callbacks.ModelCheckpoint(folder, "last", enable_version_counter=False)
    watchers: list[callbacks.Callback] = [EpochLine(title), best, latest]
    if settings.patience:
        watchers.append(callbacks.EarlyStopping("val_uar", patience=settings.patience, mode="max"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on loader workers and on lightning's own deprecations
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = lightning.Trainer(
            max_epochs=settings.epochs,
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
            accelerator="auto",
            devices=1,
            callbacks=watchers,
            logger=[
                loggers.CSVLogger(folder, name="", version=""),
                loggers.TensorBoardLogger(folder, name="", version=""),
            ],
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            gradient_clip_val=5.0,
            num_sanity_val_steps=0,
            log_every_n_steps=50,
        )
        last = folder / "last.ckpt"
        try:
            trainer.fit(
                module,
                loader,
                _loader(config, parts["val"], training=False),
                ckpt_path=last if last.exists() else None,
                weights_only=False,  # our own file: it holds the optimizer's state
            )
        except SystemExit:
            if not trainer.interrupted:
                raise
            signal.signal(signal.SIGINT, signal.default_int_handler)  # lightning has switched it off
            raise KeyboardInterrupt(f"{title} interrupted; the same command with --resume goes on") from None
    kept = best.best_model_path if settings.keep == "best" else last
    module.load_state_dict(torch.load(kept, map_location="cpu", weights_only=True)["state_dict"])
    return module.judged.cpu().eval()


def _start_from(module: BranchModule, config: Config, protocol: str) -> None:
    """Begin with the weights of a trained branch; a classifier over other labels begins afresh.

    A branch that has met this corpus may only go on where it was held out from the same clips.
    """
    branch = checkpoint.load(config.init_from).branches.get(config.branch)
    if branch is None:
        raise ModelError(f"{config.init_from}: has no {config.branch} branch to start {config.name} from")
    shared = {corpus.name for corpus in config.corpora} & set(branch.meta["corpora"])
    if shared and branch.meta["protocol"] != protocol:
        raise DataError(
            f"{config.init_from}: has learned from {', '.join(sorted(shared))} under {branch.meta['protocol']!r}, "
            f"so clips held out under {protocol!r} are not new to it; start from a model of the same fold"
        )
    weights = branch.network.state_dict()
    if branch.labels != label_set(config.labels):
        weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
    try:
        missing = module.network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{config.init_from}: does not fit the network of {config.name} ({error})") from None
    if missing.unexpected_keys or any(not name.startswith("head.") for name in missing.missing_keys):
        raise ModelError(f"{config.init_from}: is another backbone than that of {config.name}")
    if module.average is not None:
        module.average.module.load_state_dict(module.network.state_dict())


def _keep_log(folder: Path) -> None:
    """Set the epochs that an interrupted run has logged aside: the logger starts its file afresh."""
    log = folder / "metrics.csv"
    if log.exists():
        log.rename(folder / f"metrics-{len(list(folder.glob('metrics*.csv')))}.csv")


def _finish(config, fold, folder, fold_name, network, parts) -> None:
    val = logit_table(config, network, parts["val"], fold_name)
    temperature = metrics.fit_temperature(val.logits, val.targets)
    write_logits(folder / "val_logits.csv", val)
    counts = sum(example.target for example in parts["train"]) + 1e-3
    meta = {
        "name": config.name,
        "version": __version__,
        "labels": list(label_set(config.labels)),
        "corpora": sorted({example.clip.corpus for example in parts["train"]}),
        "protocol": f"{config.protocol}, fold {fold.name}",
        "metrics": {"validation": metrics.report(val.logits / temperature, val.targets, val.classes).to_dict()},
        "licence": next((LICENCES[c.name] for c in config.corpora if c.name in LICENCES), "as the corpora's"),
        "temperature": round(float(temperature), 4),
        "log_prior": [round(float(x), 4) for x in np.log(counts / counts.sum())],
    }
    if parts["test"]:
        table = logit_table(config, network, parts["test"], fold_name)
        write_logits(folder / "logits.csv", table)
        meta["metrics"]["test"] = metrics.report(
            table.logits / temperature, table.targets, table.classes, subjects=table.subjects
        ).to_dict()
    checkpoint.save_branch(folder / "model.safetensors", network, config, meta)


def _loader(config: Config, examples: list[data.Example], training: bool) -> torch.utils.data.DataLoader:
    size = config.training.batch_size
    return torch.utils.data.DataLoader(
        data.ExampleDataset(examples, config, training),
        batch_size=size,
        shuffle=training,
        # a last batch of one picture has no batch statistics
        drop_last=training and len(examples) > size,
        collate_fn=data.collate,
    )


def logit_table(config: Config, network: torch.nn.Module, examples: list[data.Example], fold: str) -> LogitTable:
    """The branch's logits for each example, in order."""
    clips = [example.clip for example in examples]
    return LogitTable.of_clips(clips, label_set(config.labels), data.run_network(network, config, examples), fold)


def _gather(config: Config, folder: Path, clips: Sequence[Clip]) -> Outcome:
    """Join the folds' held-out logits into one table and report on it."""
    tables = [read_logits(path) for path in sorted(folder.glob("fold*/logits.csv"), key=_fold_number)]
    if not tables:
        return Outcome(folder, None, None)
    table = LogitTable.join(tables)
    write_logits(folder / "logits.csv", table)
    return Outcome(folder, table, table.report(table.genders(clips)))


def _fold_number(path: Path) -> int:
    return int(path.parent.name.removeprefix("fold"))
