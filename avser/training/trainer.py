"""One training by gradient: checkpoints, what an interrupted one goes on from, where one starts."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from pathlib import Path

import torch

from avser import torchlibs
from avser.config import Config
from avser.labels import label_set
from avser.splits import Fold
from avser.training import data, solving
from avser.training.fitting import BranchModule, EpochLine
from avser.training.pretrained import load_branch
from avser.types import ModelError

lightning = torchlibs.import_lightning()
callbacks, loggers = lightning.pytorch.callbacks, lightning.pytorch.loggers


def fit(
    config: Config, fold: Fold, folder: Path, title: str, parts: dict[str, list[data.Example]]
) -> torch.nn.Module:
    """Train by gradient; goes on from the last epoch of an interrupted run in the same folder."""
    lightning.seed_everything(config.seed, verbose=False)
    settings = config.training
    loader = _loader(config, parts["train"], training=True)
    module = BranchModule(config, len(loader), [example.clip for example in parts["train"]])
    if hasattr(module.network.backbone, "load_pretrained"):
        module.network.backbone.load_pretrained()
    if hasattr(module.network.backbone, "measure"):
        solving.standardise(module.network, config, parts["train"])
    if config.init_from is not None:
        _start_from(module, config, f"{config.protocol_name}, fold {fold.name}")
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
            precision="bf16-mixed" if settings.precision == "bf16" and not _narrow(module.network) else "32-true",
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


def _narrow(network: torch.nn.Module) -> bool:
    """Whether a network has strided convolutions of fewer than 16 channels, on a machine without a GPU.

    torch's CPU kernels then write beyond their memory in bfloat16 (seen with 2.13: strided 3×3 convolutions from 4
    or 8 channels); such networks are quick in single precision.
    """
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels > 3]
    narrow = any(max(c.stride) > 1 and min(c.in_channels, c.out_channels) < 16 for c in convolutions)
    return narrow and not torch.cuda.is_available()


def _start_from(module: BranchModule, config: Config, protocol: str) -> None:
    """Begin with the weights of a trained branch; a classifier over other labels begins afresh."""
    branch = load_branch(config, config.init_from, protocol)
    weights = branch.network.state_dict()
    if branch.labels != label_set(config.labels):
        weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
    try:
        missing = module.network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{config.init_from}: does not fit the network of {config.name} ({error})") from None
    afresh = ("head.", "attend.")  # a pooling by attention may be learned on top of a network of pictures
    if missing.unexpected_keys or any(not name.startswith(afresh) for name in missing.missing_keys):
        raise ModelError(f"{config.init_from}: is another backbone than that of {config.name}")
    if module.average is not None:
        module.average.module.load_state_dict(module.network.state_dict())


def _keep_log(folder: Path) -> None:
    """Set the epochs that an interrupted run has logged aside: the logger starts its file afresh."""
    log = folder / "metrics.csv"
    if log.exists():
        log.rename(folder / f"metrics-{len(list(folder.glob('metrics*.csv')))}.csv")


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
