"""Joint fine-tuning: both branches by gradient through the fusion rule that was fitted on them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from avser.config import Config
from avser.files import replacing
from avser.fusion.examples import Examples
from avser.models.fusion import FusionRule
from avser.training import data
from avser.training.fused_config import Joint

Score = tuple[float, float]
"""Fused UAR on validation clips, and their mean negative log-likelihood."""


@dataclasses.dataclass(frozen=True)
class Material:
    """The clips to learn from, which have both sound and face.

    Attributes:
        inputs: by branch, in the order of the rows of `examples`.
        examples: of their logits nothing is used; the evidence is that which the rule was fitted with.
    """

    inputs: Mapping[str, Sequence[data.Example]]
    examples: Examples


def fine_tune(
    settings: Joint,
    seed: int,
    rule: FusionRule,
    networks: Mapping[str, torch.nn.Module],
    configs: Mapping[str, Config],
    material: Material,
    validate: Callable[[], Score],
    folder: Path,
    title: str,
) -> int:
    """Move the networks to the epoch with the best validation figures, and tell its number; 0 if none was better.

    The rule stays as it is, and so do backbones that are frozen. A state beside the log `joint.csv` lets an
    interrupted run go on with the epoch that it had begun.
    """
    learning = [p for name, network in networks.items() for p in _learning(network, configs[name])]
    optimizer = torch.optim.AdamW(learning, settings.lr, weight_decay=settings.weight_decay)
    path = state_of(folder)
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        _restore(networks, state["networks"])
        optimizer.load_state_dict(state["optimizer"])
    else:
        score = validate()
        history = [{"epoch": 0, "loss": float("nan"), "val_uar": score[0], "val_nll": score[1]}]
        state = {"history": history, "best": _copy(networks)}
    history = state["history"]
    for epoch in range(len(history), settings.epochs + 1):
        loss = _train_epoch(settings, seed + epoch, rule, networks, configs, material, optimizer)
        uar, nll = validate()
        print(f"{title}  epoch {epoch}/{settings.epochs}  loss {loss:.3f}  val UAR {uar:.3f}", flush=True)
        if (uar, -nll) > max((row["val_uar"], -row["val_nll"]) for row in history):
            state["best"] = _copy(networks)
        history.append({"epoch": epoch, "loss": loss, "val_uar": uar, "val_nll": nll})
        state |= {"networks": _copy(networks), "optimizer": optimizer.state_dict()}
        with replacing(path) as temporary:
            torch.save(state, temporary)
        _write_log(folder / "joint.csv", history)
    _restore(networks, state["best"])
    return max(history, key=lambda row: (row["val_uar"], -row["val_nll"]))["epoch"]


def state_of(folder: Path) -> Path:
    """Where an interrupted fine-tuning keeps what it goes on from."""
    return folder / "joint.pt"


def _learning(network: torch.nn.Module, config: Config) -> list[torch.nn.Parameter]:
    for backbone in _frozen(network, config):
        backbone.requires_grad_(False)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _frozen(network: torch.nn.Module, config: Config) -> list[torch.nn.Module]:
    """The backbones, of all members of an ensemble, that a config leaves as they are."""
    backbones = (getattr(part, "backbone", None) for part in network.modules())
    return [backbone for backbone in backbones if config.training.freeze and backbone is not None]


def _train_epoch(
    settings: Joint,
    seed: int,
    rule: FusionRule,
    networks: Mapping[str, torch.nn.Module],
    configs: Mapping[str, Config],
    material: Material,
    optimizer: torch.optim.Optimizer,
) -> float:
    """One round over the clips; the mean loss. Order and augmentation follow from the seed alone."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    for name, network in networks.items():
        network.train()
        for backbone in _frozen(network, configs[name]):
            backbone.eval()  # its statistics stay as they are, too
    datasets = {name: data.ExampleDataset(found, configs[name], True) for name, found in material.inputs.items()}
    targets = torch.from_numpy(material.examples.targets)
    losses = []
    for rows in torch.randperm(len(targets)).split(settings.batch_size):
        if len(rows) < 2:  # has no batch statistics
            continue
        logs = []
        for name in rule.branches:
            batch = data.collate([datasets[name][row] for row in rows.tolist()])
            logits = networks[name](*data.network_inputs(batch, configs[name], training=True))
            logs.append(rule.calibrations[name](logits, rule.labels))
        present = torch.ones(len(rows), len(logs), dtype=torch.bool)
        lacking = torch.nonzero(torch.rand(len(rows)) < settings.drop).flatten()
        present[lacking, torch.randint(len(logs), lacking.shape)] = False
        known = {name: values[rows] for name, values in material.examples.evidence.items()}
        fused = rule(torch.stack(logs, 1), present, known)
        loss = torch.nn.functional.cross_entropy(fused, targets[rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 5.0)
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses)) if losses else float("nan")


def _copy(networks: Mapping[str, torch.nn.Module]) -> dict[str, dict[str, torch.Tensor]]:
    return {name: {key: x.clone() for key, x in net.state_dict().items()} for name, net in networks.items()}


def _restore(networks: Mapping[str, torch.nn.Module], states: Mapping[str, dict[str, torch.Tensor]]) -> None:
    for name, network in networks.items():
        network.load_state_dict(states[name])
        network.eval()


def _write_log(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: round(value, 5) for key, value in row.items()} for row in history)
