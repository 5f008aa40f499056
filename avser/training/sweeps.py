"""The same config over a grid of settings, compared on validation and on held-out clips."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avser.config import load_config
from avser.logits import LogitTable, read_logits
from avser.metrics import Report
from avser.training import runs
from avser.types import ConfigError


@dataclass(frozen=True)
class Trial:
    """One point of the grid: what was set, where the run lies, figures on validation and on held-out clips."""

    changes: dict[str, str]
    folder: Path
    validation: Report
    test: Report


def sweep(
    path: Path,
    overrides: Sequence[str],
    axes: Sequence[str],
    data_root: Path | None = None,
    output: Path = Path("runs"),
    resume: bool = False,
) -> list[Trial]:
    """Train a config once for each combination of values.

    Args:
        axes: like overrides, with values parted by commas: `training.lr=0.001,0.005`.

    Raises:
        ConfigError: an axis has no values, or a setting does not fit (before anything is trained).
    """
    keys, values = zip(*(_axis(axis) for axis in axes), strict=True)
    grid = [dict(zip(keys, choice, strict=True)) for choice in itertools.product(*values)]
    base = load_config(path, overrides).name
    configs = []
    for changes in grid:
        name = "-".join([base, *(re.sub(r"[^\w.]+", "_", value) for value in changes.values())])
        settings = [f"{key}={value}" for key, value in changes.items()]
        configs.append(load_config(path, [*overrides, *settings, f"name={name}"]))
    trials = []
    for changes, config in zip(grid, configs, strict=True):
        outcome = runs.train(config, data_root, output, resume)
        if outcome.report is None:
            raise ConfigError(f"{config.name}: {config.protocol} holds out nothing to compare settings on")
        tables = [read_logits(file) for file in sorted(outcome.folder.glob("fold*/val_logits.csv"))]
        trials.append(Trial(changes, outcome.folder, LogitTable.join(tables).report(), outcome.report))
    return trials


def _axis(text: str) -> tuple[str, list[str]]:
    key, equals, values = text.partition("=")
    chosen = [value for value in values.split(",") if value]
    if not equals or not chosen:
        raise ConfigError(f"sweep {text!r} is not of the form KEY=VALUE,VALUE, for instance training.lr=1e-3,1e-2")
    return key, chosen
