"""One training by gradient: checkpoints, what an interrupted one goes on from, where one starts."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from avser import torchlibs
from avser.config import Config
from avser.labels import label_set
from avser.splits import Fold
from avser.training import data, devices, solving
from avser.training.fitting import BranchModule, EpochLine
from avser.training.pretrained import load_branch
from avser.types import ModelError

if TYPE_CHECKING:
    import lightning
    from lightning.pytorch import callbacks, loggers
else:
    lightning = torchlibs.import_lightning()
    callbacks, loggers = lightning.pytorch.callbacks, lightning.pytorch.loggers


def fit(
    config: Config, fold: Fold, folder: Path, title: str, parts: dict[str, list[data.Example]]
) -> torch.nn.Module:
    """Train by gradient; goes on from the last epoch of an interrupted run in the same folder.

    Raises:
        ConfigError: the devices that the config wants are not there.
        ModelError: `init_from` does not fit, or one of several devices failed.
    """
    config = devices.settled(config)
    devices.check(config)
    module = make_module(config, parts["train"])
    backbone: Any = module.network.backbone
    if hasattr(backbone, "load_pretrained"):
        backbone.load_pretrained()
    if hasattr(backbone, "measure"):
        solving.standardise(module.network, config, parts["train"])
    if config.init_from is not None:
        _start_from(config.init_from, module, config, f"{config.protocol_name}, fold {fold.name}")
    _keep_log(folder)
    try:
        if devices.count(config) > 1:
            devices.fit(config, folder, title, parts, module.state_dict())
        else:
            run(module, folder, title, parts)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{title} interrupted; the same command with --resume goes on") from None
    kept = folder / f"{config.training.keep}.ckpt"
    module.load_state_dict(torch.load(kept, map_location="cpu", weights_only=True)["state_dict"])
    return module.judged.cpu().eval()


def make_module(config: Config, examples: Sequence[data.Example]) -> BranchModule:
    """The module as the config's seed begins it, for these training clips."""
    lightning.seed_everything(config.seed, verbose=False)
    return BranchModule(config, _steps(config, len(examples)), [example.clip for example in examples])


def run(
    module: BranchModule,
    folder: Path,
    title: str,
    parts: Mapping[str, Sequence[data.Example]],
    share: devices.Share = devices.ALONE,
) -> None:
    """Fit a module in this process: all of it, or its share of it beside others that do the same.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    config, settings = module.config, module.config.training
    kind = devices.kind(config)
    narrow = kind == "cpu" and _narrow(module.network)
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
            precision="bf16-mixed" if settings.precision == "bf16" and not narrow else "32-true",
            accelerator=kind,
            devices=share.count,
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
            **(_together(kind) if share.count > 1 else {}),
        )
        last = folder / "last.ckpt"
        try:
            trainer.fit(
                module,
                _loader(config, parts["train"], True, share),
                _loader(config, parts["val"], False, share),
                ckpt_path=last if last.exists() else None,
                weights_only=False,  # our own file: it holds the optimizer's state
            )
        except SystemExit:
            if not trainer.interrupted:
                raise
            signal.signal(signal.SIGINT, signal.default_int_handler)  # lightning has switched it off
            raise KeyboardInterrupt from None


def _together(kind: str) -> dict[str, Any]:
    """How several processes, started by `devices.fit`, train as one."""
    environment = lightning.fabric.plugins.environments.LightningEnvironment()
    # a pooling may leave some parameters out of a batch
    strategy = lightning.pytorch.strategies.DDPStrategy(
        cluster_environment=environment, find_unused_parameters=True
    )
    return {
        "strategy": strategy,
        "use_distributed_sampler": False,  # the loaders share the batches out themselves
        "sync_batchnorm": kind == "gpu",  # which torch has for GPUs only
    }


def _narrow(network: torch.nn.Module) -> bool:
    """Whether a network has strided convolutions of fewer than 16 channels.

    torch's CPU kernels then write beyond their memory in bfloat16 (seen with 2.13: strided 3×3 convolutions from 4
    or 8 channels); such networks are quick in single precision.
    """
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels > 3]
    return any(max(c.stride) > 1 and min(c.in_channels, c.out_channels) < 16 for c in convolutions)


def _start_from(file: str, module: BranchModule, config: Config, protocol: str) -> None:
    """Begin with the weights of a trained branch; a classifier over other labels begins afresh."""
    branch = load_branch(config, file, protocol)
    weights = branch.network.state_dict()
    if branch.labels != label_set(config.labels):
        weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
    try:
        missing = module.network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{file}: does not fit the network of {config.name} ({error})") from None
    afresh = ("head.", "attend.")  # a pooling by attention may be learned on top of a network of pictures
    if missing.unexpected_keys or any(not name.startswith(afresh) for name in missing.missing_keys):
        raise ModelError(f"{file}: is another backbone than that of {config.name}")
    if module.average is not None:
        module.average.module.load_state_dict(module.network.state_dict())


def _keep_log(folder: Path) -> None:
    """Set the epochs that an interrupted run has logged aside: the logger starts its file afresh."""
    log = folder / "metrics.csv"
    if log.exists():
        log.rename(folder / f"metrics-{len(list(folder.glob('metrics*.csv')))}.csv")


def _steps(config: Config, clips: int) -> int:
    """Batches of an epoch of training: all of them whole, for one of a single picture has no batch statistics."""
    return max(1, clips // config.training.batch_size)


def _loader(
    config: Config, examples: Sequence[data.Example], training: bool, share: devices.Share
) -> torch.utils.data.DataLoader:
    dataset, size = data.ExampleDataset(examples, config, training), config.training.batch_size
    if share.count > 1:
        batches = SharedBatches(len(examples), config, training, share)
        return torch.utils.data.DataLoader(dataset, batch_sampler=batches, collate_fn=data.collate)
    return torch.utils.data.DataLoader(
        dataset,
        batch_size=size,
        shuffle=training,
        drop_last=training and len(examples) > size,
        collate_fn=data.collate,
    )


class SharedBatches(torch.utils.data.Sampler):
    """The batches of one process, where several share out each batch between them.

    All draw the same order, by the config's seed and the epoch, and every batch is as large as that of one process
    alone. Where a last batch in validation has too few clips for all, some get one that another has as well: all
    must take as many steps, and the figures count each clip once.
    """

    def __init__(self, clips: int, config: Config, training: bool, share: devices.Share) -> None:
        self.clips, self.config, self.training, self.share = clips, config, training, share
        self.epoch = 0
        self.sampler = self  # where lightning looks for who wants to know the epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        if self.training:
            return _steps(self.config, self.clips)
        return -(-self.clips // self.config.training.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.arange(self.clips)
        if self.training:
            chance = torch.Generator().manual_seed(self.config.seed * 10_007 + self.epoch)
            order = torch.randperm(self.clips, generator=chance)
        for whole in order.split(self.config.training.batch_size)[: len(self)]:
            own = whole[self.share.rank :: self.share.count]
            yield (own if len(own) else whole[:1]).tolist()
