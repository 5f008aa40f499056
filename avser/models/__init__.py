"""Networks of the branches, and the rules that fuse what they say.

The names of `avser.models.building` are imported on first use: the rules of fusion need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avser.models.building import (
        BACKBONES,
        AnyBranch,
        AudioBranch,
        Ensemble,
        FaceBranch,
        SingleBranch,
        UnitBranch,
        build_branch,
        build_ensemble,
        build_model,
    )

__all__ = [
    "BACKBONES",
    "AnyBranch",
    "AudioBranch",
    "Ensemble",
    "FaceBranch",
    "SingleBranch",
    "UnitBranch",
    "build_branch",
    "build_ensemble",
    "build_model",
]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'avser.models' has no attribute {name!r}")
    from avser.models import building

    return getattr(building, name)
