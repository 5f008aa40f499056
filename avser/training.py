"""Fitting a branch: folds, Lightning module, checkpoints that resume, logits of what was held out."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from avser import __version__, augment, checkpoint, data, metrics, torchlibs
from avser.config import Config
from avser.labels import label_set
from avser.logits import LogitTable, read_logits, write_logits
from avser.models import build_model
from avser.splits import Fold, make_folds
from avser.types import Clip, ConfigError, DataError

lightning = torchlibs.import_lightning()
callbacks, loggers = lightning.pytorch.callbacks, lightning.pytorch.loggers

LICENCES = {"ravdess": "CC BY-NC-SA 4.0"}
"""Licences that corpora hand on to weights trained on them; the strictest one holds."""


class BranchModule(lightning.LightningModule):
    """One branch in training: soft-target cross-entropy, mixup, and a moving average of the weights."""

    def __init__(self, config: Config, steps: int) -> None:
        super().__init__()
        self.config = config
        self.steps = steps
        self.network = build_model(config).to(memory_format=torch.channels_last)  # 2D convolutions are faster so
        self.average = None
        if config.training.average:
            self.average = AveragedModel(
                self.network, multi_avg_fn=_moving_average(config.training.average), use_buffers=True
            )
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []

    @property
    def judged(self) -> torch.nn.Module:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average.module

    def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        inputs, other = data.network_inputs(batch, self.config, training=True)
        targets = batch["targets"]
        if self.config.augment.mixup:
            inputs, other, targets = augment.mix(inputs, other, targets, self.config.augment.mixup)
        logits = self.network(inputs, other)
        smoothing = self.config.training.label_smoothing
        loss = torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        if self.average is not None:
            self.average.update_parameters(self.network)

    def validation_step(self, batch: dict[str, torch.Tensor], index: int) -> None:
        inputs, other = data.network_inputs(batch, self.config, training=False)
        logits = self.judged(inputs, other).float()
        self.seen.append((logits.cpu().numpy(), batch["targets"].argmax(1).cpu().numpy()))

    def on_validation_epoch_end(self) -> None:
        logits, targets = (np.concatenate(part) for part in zip(*self.seen, strict=True))
        self.seen.clear()
        probs = metrics.softmax(logits)
        self.log("val_uar", metrics.uar(probs, targets))
        self.log("val_accuracy", metrics.accuracy(probs, targets))
        self.log("val_nll", metrics.nll(logits, targets))

    def configure_optimizers(self) -> dict:
        settings = self.config.training
        parameters = self.network.parameters()
        if settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                parameters, settings.lr, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
            )
        else:
            kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
            optimizer = kind(parameters, settings.lr, weight_decay=settings.weight_decay)
        total = self.steps * settings.epochs
        if settings.schedule == "onecycle":
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, settings.lr, total_steps=total + 1, pct_start=0.2
            )
        elif settings.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        else:
            return {"optimizer": optimizer}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _moving_average(decay: float) -> Callable:
    """Exponential moving average that follows faster at first, so that the first weights are soon forgotten."""

    @torch.no_grad()
    def update(averages: list[torch.Tensor], values: list[torch.Tensor], count: torch.Tensor) -> None:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1 - keep)
            else:
                average.copy_(value)

    return update


class _EpochLine(callbacks.Callback):
    """One line an epoch: how far, how good, how long still."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began: float | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: BranchModule) -> None:
        self.began, self.first = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: BranchModule) -> None:
        done, epochs = trainer.current_epoch + 1, module.config.training.epochs
        left = (time.monotonic() - self.began) / (done - self.first) * (epochs - done)
        facts = {name: float(value) for name, value in trainer.callback_metrics.items()}
        print(
            f"{self.title}  epoch {done}/{epochs}  loss {facts.get('loss', float('nan')):.3f}  "
            f"val UAR {facts['val_uar']:.3f}  val accuracy {facts['val_accuracy']:.3f}  "
            f"{left / 60:.0f} min left",
            flush=True,
        )


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
    text = config.model_copy(update={"folds": None}).model_dump_json(indent=1)
    if not resume and settings.exists():
        raise ConfigError(f"{folder}: holds a run already; give --resume to go on, or another --output or name=")
    if resume and settings.exists() and settings.read_text(encoding="utf-8") != text:
        raise ConfigError(f"{folder}: was begun with other settings; give another --output or name=")
    clips = data.scan(config, data_root)
    folds = make_protocol(config, clips)
    chosen = range(len(folds)) if config.folds is None else config.folds
    if bad := [index for index in chosen if not 0 <= index < len(folds)]:
        raise ConfigError(f"{config.name}: no fold {bad[0]}; {config.protocol} has folds 0 to {len(folds) - 1}")
    folder.mkdir(parents=True, exist_ok=True)
    settings.write_text(text, encoding="utf-8")
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
        seed=config.seed,
        val=None if free else config.validation,
        exclude=config.exclude,
    )


def train_fold(config: Config, fold: Fold, folder: Path, title: str, fold_name: str) -> None:
    """Train on one fold, choose epoch and temperature on its validation part, write the held-out logits."""
    lightning.seed_everything(config.seed, verbose=False)
    settings = config.training
    parts: dict[str, list[data.Example]] = {}
    for part in ("train", "val", "test"):
        votes = settings.votes if part == "train" else 0.0
        parts[part], left_out = data.load_examples(config, getattr(fold, part), votes=votes)
        if left_out:
            print(f"{title}: {len(left_out)} {part} clips left out, the first: {left_out[0]}", file=sys.stderr)
    if not parts["train"] or not parts["val"]:
        raise DataError(f"{title}: no usable clips to {'train' if not parts['train'] else 'validate'} on")
    print(
        f"{title}: {len(parts['train'])} to train, {len(parts['val'])} to validate, {len(parts['test'])} to test"
    )

    loader = _loader(config, parts["train"], training=True)
    module = BranchModule(config, len(loader))
    folder.mkdir(parents=True, exist_ok=True)
    saver = callbacks.ModelCheckpoint(folder, "best", monitor="val_uar", mode="max", save_last=True)
    watchers: list[callbacks.Callback] = [saver, _EpochLine(title)]
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
        trainer.fit(
            module,
            loader,
            _loader(config, parts["val"], training=False),
            ckpt_path=last if last.exists() else None,
            weights_only=False,  # our own file: it holds the optimizer's state
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
    kept = saver.best_model_path if settings.keep == "best" else saver.last_model_path
    module.load_state_dict(torch.load(kept, map_location="cpu", weights_only=True)["state_dict"])
    network = module.judged.cpu().eval()
    _finish(config, fold, folder, fold_name, network, parts)
    for path in folder.glob("*.ckpt"):
        path.unlink()  # the optimizer's state is of no use any more


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
    classes = label_set(config.labels)
    clips = [example.clip for example in examples]
    return LogitTable(
        clips=[clip.name for clip in clips],
        subjects=[clip.subject or "" for clip in clips],
        folds=[fold] * len(clips),
        labels=[classes[int(example.target.argmax())] for example in examples],
        classes=classes,
        logits=data.run_network(network, config, examples),
    )


def _gather(config: Config, folder: Path, clips: Sequence[Clip]) -> Outcome:
    """Join the folds' held-out logits into one table and report on it."""
    tables = [read_logits(path) for path in sorted(folder.glob("fold*/logits.csv"), key=_fold_number)]
    if not tables:
        return Outcome(folder, None, None)
    table = LogitTable.join(tables)
    write_logits(folder / "logits.csv", table)
    gender = {clip.name: clip.info["gender"] for clip in clips if "gender" in clip.info}
    genders = [gender.get(name, "") for name in table.clips] if gender else None
    subjects = table.subjects if any(table.subjects) else None
    report = metrics.report(table.logits, table.targets, table.classes, subjects=subjects, genders=genders)
    return Outcome(folder, table, report)


def _fold_number(path: Path) -> int:
    return int(path.parent.name.removeprefix("fold"))
