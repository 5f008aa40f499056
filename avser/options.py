"""The settings of a prediction, the same for one file, many files, live, and the command line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avser.errors import ConfigError

MODALITIES = ("fused", "audio", "face")


@dataclass(frozen=True)
class Options:
    """How a file is to be read.

    Attributes:
        modality: fused, audio or face; None for all that the model has.
        window: length of a window, s.
        hop: from one window to the next, s.
        smooth: time constant of the smoothing over windows, s; 0 for none (see `avser.timeline`).
        vad: whether the voice counts only where speech is found (voice activity detection); else all sound counts,
            and with several faces nobody is found to be the one who speaks.
        max_faces: most people followed at the same time, the largest first.
        min_face: smallest side of a face that is followed, in px of the picture as it is looked at (720 px high).

    Raises:
        ConfigError: a value is out of range.
    """

    modality: str | None = None
    window: float = 3.0
    hop: float = 1.0
    smooth: float = 0.0
    vad: bool = True
    max_faces: int = 8
    min_face: int = 24

    def __post_init__(self) -> None:
        if self.modality is not None and self.modality not in MODALITIES:
            raise ConfigError(f"unknown modality {self.modality!r}: choose from {', '.join(MODALITIES)}")
        if not (0 < self.window < math.inf and 0 < self.hop < math.inf):
            raise ConfigError(f"window ({self.window:g} s) and hop ({self.hop:g} s) must be above zero")
        if not 0 <= self.smooth < math.inf:
            raise ConfigError(f"smooth ({self.smooth:g} s) must not be below zero")
        if self.max_faces < 1 or self.min_face < 1:
            raise ConfigError(
                f"max_faces ({self.max_faces}) and min_face ({self.min_face} px) must be one or more"
            )


def read_options(values: Mapping[str, Any]) -> Options:
    """Settings by name.

    Raises:
        ConfigError: one is unknown or out of range.
    """
    known = [field.name for field in dataclasses.fields(Options)]
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}: choose from {', '.join(known)}")
    return Options(**values)
