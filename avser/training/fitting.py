"""One branch as a Lightning module: loss, moving average of the weights, schedule, validation, a line an epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from avser import metrics, torchlibs
from avser.config import Config
from avser.models import SingleBranch, build_branch
from avser.training import augment, data
from avser.types import Clip, ConfigError

if TYPE_CHECKING:
    import lightning
else:
    lightning = torchlibs.import_lightning()

OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


class SideTasks(torch.nn.Module):
    """Heads for other facts of the training clips, so that the features learn what else is in a voice.

    A clip of which a fact is not known has nothing to learn there.

    Raises:
        ConfigError: of no clip the fact is known.
    """

    facts: torch.Tensor

    def __init__(self, clips: Sequence[Clip], tasks: Sequence[str], features: int) -> None:
        super().__init__()
        columns = []
        self.sizes: list[int] = []
        for task in tasks:
            facts = [_fact(clip, task) for clip in clips]
            values = sorted({fact for fact in facts if fact is not None})
            if not values:
                known = sorted({"corpus", "label", *(fact for clip in clips for fact in clip.info)})
                raise ConfigError(
                    f"training.side_tasks: no training clip tells its {task!r}; they tell {', '.join(known)}"
                )
            columns.append(torch.tensor([[float(fact == value) for value in values] for fact in facts]))
            self.sizes.append(len(values))
        self.register_buffer("facts", torch.cat(columns, 1), persistent=False)  # (clips, sum of sizes)
        self.heads = torch.nn.Linear(features, sum(self.sizes))

    def loss(self, features: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Cross-entropy summed over the tasks: features (B, D), facts (B, sum of sizes), mixed or not."""
        parts = zip(self.heads(features.float()).split(self.sizes, 1), facts.split(self.sizes, 1), strict=True)
        losses: list[Any] = [torch.nn.functional.cross_entropy(logits, fact) for logits, fact in parts]
        return sum(losses)


def _fact(clip: Clip, task: str) -> str | None:
    return getattr(clip, task) if task in ("corpus", "label") else clip.info.get(task)


class BranchModule(lightning.LightningModule):
    """One branch in training: soft-target cross-entropy, mixup, and a moving average of the weights."""

    def __init__(self, config: Config, steps: int, clips: Sequence[Clip] = ()) -> None:
        """`clips` are those of the training batches, by the batches' `index`; side tasks need them."""
        super().__init__()
        self.config = config
        self.steps = steps
        self.batch = min(config.training.batch_size, len(clips))  # clips of all devices
        self.network: SingleBranch = build_branch(config)
        # 2D convolutions are faster so
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = None
        if config.training.average:
            self.average = AveragedModel(
                self.network, multi_avg_fn=_moving_average(config.training.average), use_buffers=True
            ).requires_grad_(False)
        if config.training.freeze:
            self.network.backbone.requires_grad_(False)
        tasks = config.training.side_tasks
        self.side = SideTasks(clips, tasks, self.network.backbone.features) if tasks else None
        self.seen: list[tuple[np.ndarray, ...]] = []

    @property
    def judged(self) -> torch.nn.Module:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average.module

    def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if self.config.training.freeze:
            self.network.backbone.eval()  # lightning has put it back to training: its statistics stay as they are
        inputs, other = data.network_inputs(batch, self.config, training=True)
        targets = classes = batch["targets"]
        if self.side is not None:
            targets = torch.cat([targets, self.side.facts[batch["index"]]], 1)
        inputs, other, targets = augment.blend(inputs, other, targets, self.config.augment)
        targets, facts = targets[:, : classes.shape[1]], targets[:, classes.shape[1] :]
        side: torch.Tensor | float = 0.0
        if self.side is None:
            logits = self.network(inputs, other)
        else:
            features = self.network.backbone(inputs, other)  # (B, D)
            # frames of a video are classified one by one and pooled after that
            several = self.config.branch == "face" and inputs.shape[1] > 1
            logits = self.network(inputs, other) if several else self.network.head(features.float())
            side = self.config.training.side_weight * self.side.loss(features, facts)
        smoothing = self.config.training.label_smoothing
        loss = side + torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
        self._log_epoch("loss", loss, len(targets))
        hits = (logits.argmax(1) == targets.argmax(1)).float().mean()  # while dropout and augmentation are at work
        self._log_epoch("train_accuracy", hits, len(targets))
        return loss * self._weight(len(targets))

    def _log_epoch(self, name: str, value: torch.Tensor, clips: int) -> None:
        self.log(name, value, on_step=False, on_epoch=True, batch_size=clips, sync_dist=True)

    def _weight(self, clips: int) -> float:
        """What the loss of a share of a batch counts: devices that have fewer clips of it count less."""
        count = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        return 1.0 if count == 1 else clips * count / self.batch

    def on_train_batch_end(self, *_: object) -> None:
        if self.average is not None:
            self.average.update_parameters(self.network)

    def validation_step(self, batch: dict[str, torch.Tensor], index: int) -> None:
        inputs, other = data.network_inputs(batch, self.config, training=False)
        logits = self.judged(inputs, other).float()
        self.seen.append(tuple(x.cpu().numpy() for x in (batch["index"], logits, batch["targets"].argmax(1))))

    def on_validation_epoch_end(self) -> None:
        index, logits, targets = (np.concatenate(part) for part in zip(*_of_all_devices(self.seen), strict=True))
        self.seen.clear()
        order = np.unique(index, return_index=True)[1]  # devices may have the same clip
        logits, targets = logits[order], targets[order]
        probs = metrics.softmax(logits)
        self.log("val_uar", metrics.uar(probs, targets))
        self.log("val_accuracy", metrics.accuracy(probs, targets))
        self.log("val_nll", metrics.nll(logits, targets))

    def configure_optimizers(self) -> Any:
        settings = self.config.training
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        parameters = [*learning, *(self.side.parameters() if self.side is not None else ())]
        if settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                parameters,
                settings.lr,
                momentum=settings.momentum,
                nesterov=settings.momentum > 0,
                weight_decay=settings.weight_decay,
            )
        else:
            optimizer = OPTIMIZERS[settings.optimizer](parameters, settings.lr, weight_decay=settings.weight_decay)
        total = self.steps * settings.epochs
        schedule: torch.optim.lr_scheduler.LRScheduler
        if settings.schedule == "onecycle":
            rise = max(0.2, 1.5 / (total + 1))  # a rise of exactly one step would be a division by zero
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                settings.lr,
                total_steps=total + 1,
                pct_start=rise,
                cycle_momentum=settings.optimizer not in ("rmsprop", "adagrad")  # they are without momentum
                and (settings.optimizer != "sgd" or settings.momentum > 0),
            )
        elif settings.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        else:
            return {"optimizer": optimizer}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _of_all_devices(seen: list[tuple[np.ndarray, ...]]) -> list[tuple[np.ndarray, ...]]:
    """What the processes that train together have seen, put together in each of them."""
    if not torch.distributed.is_initialized():
        return seen
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, seen)
    return [part for parts in gathered for part in parts]


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


class EpochLine(lightning.pytorch.callbacks.Callback):
    """One line an epoch: how far, how good, how long still."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began, self.first = time.monotonic(), 0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.began, self.first = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        done, epochs = trainer.current_epoch + 1, module.config.training.epochs
        left = (time.monotonic() - self.began) / (done - self.first) * (epochs - done)
        facts = {name: float(value) for name, value in trainer.callback_metrics.items()}
        print(
            f"{self.title}  epoch {done}/{epochs}  loss {facts.get('loss', float('nan')):.3f}  "
            f"val UAR {facts['val_uar']:.3f}  val accuracy {facts['val_accuracy']:.3f}  "
            f"{left / 60:.0f} min left",
            flush=True,
        )
