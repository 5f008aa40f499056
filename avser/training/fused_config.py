"""Settings of a fused model that is trained end to end: data, protocol, both branches, rule, fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from avser import settings
from avser.config import Config, Corpus, parse_config, read_config
from avser.members import members
from avser.models.fusion import FUSION_RULES
from avser.training.estimators import ESTIMATORS
from avser.types import ConfigError

BRANCHES = ("audio", "face")
SHARED = ("labels", "corpora", "protocol", "folds", "exclude", "validation", "split_seed")
"""What both branches take from the fused config."""
APART = ("actor6", "luna5", "loso", "subject5", "subject10", "pooled5", "final")
"""Protocols that keep people apart, which a fusion on out-of-fold logits needs."""

if TYPE_CHECKING:
    BranchName = str
    ProtocolName = str
    RuleName = str
else:
    BranchName, ProtocolName, RuleName = Literal[BRANCHES], Literal[APART], Literal[tuple(FUSION_RULES)]


class Joint(pydantic.BaseModel, extra="forbid", frozen=True):
    """Fine-tuning of both branches through the fitted rule.

    `drop` is the share of training clips that lack one branch, by chance, so that each stays good by itself. The
    epoch is that with the best fused UAR on validation subjects; none at all if no epoch is better.
    """

    epochs: int = pydantic.Field(5, ge=1)
    lr: float = pydantic.Field(1e-4, gt=0)
    batch_size: int = pydantic.Field(16, ge=2)
    weight_decay: float = pydantic.Field(1e-2, ge=0)
    drop: float = pydantic.Field(0.3, ge=0, le=1)


class FusedConfig(pydantic.BaseModel, extra="forbid", frozen=True):
    """A fused model: clips with sound and picture, both branches, how they are fused.

    `branches.audio` and `branches.face` hold what a config of that branch alone would (`network`, `audio` or
    `face`, `augment`, `training`, `init_from`, `ensemble`, `seed`). The people of a fold's training part are dealt
    into `inner` groups; each group's logits come from networks trained without it, and `rule` is fitted on them.
    `joint` fine-tunes after that. Of the other keys see `Config`.
    """

    name: str
    branch: Literal["fused"]
    labels: str
    corpora: list[Corpus]
    protocol: ProtocolName
    folds: list[int] | None = None
    exclude: list[str] = []
    validation: int = pydantic.Field(4, ge=1)
    split_seed: int = 0
    seed: int = 0
    inner: int = pydantic.Field(4, ge=2)
    rule: RuleName = "head"
    branches: dict[BranchName, dict[str, Any]]
    joint: Joint | None = None

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> FusedConfig:
        for name in BRANCHES:
            try:
                self._check(name)
            except ConfigError as error:
                raise ValueError(str(error)) from None  # which pydantic turns into an error that names the file
        return self

    def _check(self, name: str) -> None:
        if name not in self.branches:
            raise ConfigError(f"branches.{name}: is missing; a fused model has both {' and '.join(BRANCHES)}")
        if own := [key for key in (*SHARED, "name", "branch") if key in self.branches[name]]:
            raise ConfigError(f"branches.{name}.{own[0]}: both branches share it; set {own[0]} itself")
        config = self.of_branch(name)
        if config.signal == "action_units":
            raise ConfigError("branches.face.face.input: a fused model looks at pictures; set it to crops")
        if config.network.name in ESTIMATORS:
            raise ConfigError(f"branches.{name}.network.name: {config.network.name} leaves no model to fuse")
        if config.augment.copies:
            raise ConfigError(f"branches.{name}.augment.copies: a fused model is trained on the clips themselves")
        if self.joint and any(member.training.refit for member in members(config)):
            raise ConfigError(
                f"branches.{name}.training.refit: leaves joint fine-tuning no clips to choose its epoch by; "
                "drop one of the two"
            )

    def of_branch(self, name: str) -> Config:
        """The config of one branch by itself.

        Raises:
            ConfigError: a key of it is unknown or a value is not valid.
        """
        shared = self.model_dump(include=set(SHARED))
        own = {"seed": self.seed, **self.branches[name]}
        return parse_config({**own, **shared, "name": f"{self.name}-{name}", "branch": name}, f"branches.{name}")


def load_any(path: str | Path, overrides: Iterable[str] = ()) -> Config | FusedConfig:
    """The config of a branch or of a fused model that a YAML file describes, with overrides laid over it.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not valid.
    """
    values = read_config(path, overrides)
    if values.get("branch") == "fused":
        return settings.parse(FusedConfig, values, str(path))
    return parse_config(values, str(path))
