"""What a benchmark is to measure: one YAML file, in which no key is unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic

from avser import settings
from avser.benchmark.degradation import DEGRADATIONS
from avser.fusion.fusing import AUTO
from avser.labels import LABEL_SETS
from avser.models.fusion import FUSION_RULES


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Tables(_Section):
    """Files of out-of-fold logits of the two branches, one row a clip; both may be the same file."""

    audio: Path
    face: Path


class Clips(_Section):
    """Clips of a corpus: the name of its reader, its folder, the reader's options, and which clips to keep.

    The folder is looked for under the data root, if there is one, and else from where the command runs.
    """

    corpus: str
    root: Path
    options: dict[str, Any] = {}
    only: dict[str, list[str]] = {}


class Plan(_Section):
    """One benchmark. It needs `tables`, or `clips` with a `model`, or both.

    Attributes:
        title: of the report.
        tables: out-of-fold logits, fused by `rules` under `protocol` over `labels`, as `avser fuse` does.
        rules: names of fusion rules, or `auto`; the first is the one that pictures show.
        clips, model: real clips, and the model that judges them whole and with sound and picture degraded: the
            name of a shipped model, a model file, or the folder of a run, whose folds judge what they held out.
        babble: where the voices of babble come from; by default from other people's clips among `clips`.
        degradations: names of `degradation.DEGRADATIONS`; by default all of them. An empty list leaves them out.
        window: of the timeline on which an offset of sound and picture is measured, in s; one begins every half.
        seed: draws noise and what is left out.
    """

    title: str
    tables: Tables | None = None
    protocol: str | None = None
    labels: str | None = None
    rules: list[str] = ["weighted"]
    clips: Clips | None = None
    model: str = "av-base"
    babble: Clips | None = None
    degradations: list[str] = list(DEGRADATIONS)
    window: float = pydantic.Field(1.0, gt=0)
    seed: int = 0

    @pydantic.field_validator("rules", "degradations")
    @classmethod
    def _known(cls, names: list[str], info: pydantic.ValidationInfo) -> list[str]:
        choices = [*FUSION_RULES, AUTO] if info.field_name == "rules" else list(DEGRADATIONS)
        odd = next((name for name in names if name not in choices), None)
        if odd is not None:
            raise ValueError(f"unknown name {odd!r}, choose from {', '.join(choices)}")
        if len(set(names)) < len(names):
            raise ValueError("names something twice")
        if not names and info.field_name == "rules":
            raise ValueError("names no fusion rule")
        return names

    @pydantic.field_validator("labels")
    @classmethod
    def _known_labels(cls, name: str | None) -> str | None:
        if name is not None and name not in LABEL_SETS:
            raise ValueError(f"unknown label set {name!r}, choose from {', '.join(LABEL_SETS)}")
        return name

    @pydantic.model_validator(mode="after")
    def _measures_something(self) -> Plan:
        if self.tables is None and self.clips is None:
            raise ValueError("there is nothing to measure: give tables of logits, or clips, or both")
        return self


def load_plan(path: Path) -> Plan:
    """Read a plan; a title that is not given is the file's name.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is not valid.
    """
    path = Path(path)
    missing = "no such plan of a benchmark; 'papers' prints the published systems"
    values = settings.read_mapping(path, "plan", missing)
    return settings.parse(Plan, {"title": path.stem, **values}, str(path))
