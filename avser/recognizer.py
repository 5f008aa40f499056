"""Recognizer: a media file in, a `Result` out. It streams; what it keeps is a few numbers a frame."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from avser import checkpoint, media, timeline
from avser import runtime as engines
from avser.beside import Beside
from avser.branches import Faces, Progress, Voice, listen, look
from avser.checkpoint import Checkpoint
from avser.deciding import Decider
from avser.models.fusion import FusionRule
from avser.options import MODALITIES, Options, read_options
from avser.packed import Packed
from avser.results import Result
from avser.story import Story
from avser.types import MediaInfo, ModelError
from avser.windows import window_grid


def load_model(name: str | Path = "av-base", runtime: str = "auto") -> Recognizer:
    """A recognizer with the weights of a shipped model (by name) or of a model file (by path).

    Args:
        runtime: what runs its networks: torch, onnx (ONNX Runtime), auto, the faster of those that are ready, or
            the path of a branch's graph, `FILE.onnx` (see `avser.runtime`).

    Raises:
        ModelError: there is no such model, its file is damaged or foreign, or does not go into ONNX.
        ConfigError: the runtime is unknown.
        MissingExtraError: a package that the runtime needs is not installed.
    """
    return Recognizer(checkpoint.describe(name), runtime)


class Recognizer:
    """Predicts expressed emotions with one loaded model; arguments and errors are as for `load_model`.

    Attributes:
        name, version: of the model.
        labels: the emotions, in the order of every distribution.
    """

    def __init__(self, model: Checkpoint, runtime: str = "auto") -> None:
        self.checkpoint = model = engines.ready(model, runtime)
        self.name: str = model.meta.get("name", model.path.stem)
        self.version: str = model.meta.get("version", "")
        self.decider = Decider(model)
        self.fusion: FusionRule = self.decider.fusion
        self.labels: tuple[str, ...] = self.decider.labels

    @property
    def modalities(self) -> tuple[str, ...]:
        """What can be asked of this model."""
        return MODALITIES if self.checkpoint.kind == "fused" else (self.checkpoint.kind,)

    def predict(
        self, path: str | Path, modality: str | None = None, *, progress: Progress | None = None, **options
    ) -> Result:
        """Find the emotions expressed in a media file.

        Each window of `window` s, one every `hop` s, gets a distribution per modality and a fused one, for each
        person who is seen in it. The file as a whole gets, per modality, the average of log-probabilities over its
        windows (voice) or frames (face), fused in the same way; so does each person. Where there is nothing to go
        by, the label is None and the reason is given.

        Args:
            path: a video or audio file.
            modality: fused, audio or face; by default all that the model has.
            progress: called with the second of the file that has been reached; it never goes back.
            options: other settings of `avser.options.Options`, for instance window=3.0, hop=1.0.

        Raises:
            MediaError: the file cannot be read.
            ModelError: the model does not have this modality, or takes action units, which no video holds.
            ConfigError: a setting is unknown or out of range.
        """
        return self.run(path, self.check(read_options({"modality": modality, **options})), progress)

    @engines.plain_products
    def run(
        self,
        path: str | Path,
        options: Options,
        progress: Progress | None = None,
        info: MediaInfo | None = None,
    ) -> Result:
        """As `predict`, with settings that `check` has passed, and `info` if the file was probed already."""
        path = Path(path)
        if options.modality != "audio" and self.checkpoint.branches["face"].config.signal == "action_units":
            raise ModelError(
                f"model {self.name!r} takes action units, which avser cannot measure in {path}; choose a model "
                "that takes pictures, or measure it on tables of OpenFace by 'avser evaluate --corpus openface'"
            )
        info = info or media.probe(path)
        faces, voice = self._perceive(path, info, options, progress or (lambda second: None))
        duration = max(faces.end if faces else 0.0, voice.end if voice else 0.0)
        if duration <= 0:
            duration = info.duration or 0.0
        # the windows that were listened to, if any: a grid made anew could differ from them in the last bit
        grid = list(voice.logits) if voice and voice.logits else window_grid(duration, options.window, options.hop)
        story = Story(self.decider, info, options, faces, voice)
        windows = (prediction for start, end in grid for prediction in story.window(start, end))
        raw = Packed(windows, len(self.labels))
        predictions = timeline.smooth(raw, self.labels, options.smooth)
        return Result(
            path=path,
            media=info if info.duration else dataclasses.replace(info, duration=round(duration, 3)),
            labels=self.labels,
            predictions=predictions,
            overall=story.overall(duration),
            model=self.name,
            model_version=self.version,
            options=options,
            people=tuple(story.people(raw)),
            segments=tuple(timeline.segments(predictions)),
            speech=voice.speech if voice else None,
            cuts=faces.cuts if faces else (),
            sightings=faces.sightings if faces else None,
        )

    def check(self, options: Options) -> Options:
        """The settings as `predict` uses them with this model: the modality is filled in.

        Raises:
            ModelError: the model does not have this modality.
        """
        if options.modality is None:
            return dataclasses.replace(options, modality=self.modalities[0])
        if options.modality not in self.modalities:
            raise ModelError(
                f"model {self.name!r} knows the {self.checkpoint.kind} only; choose a fused model for "
                f"{options.modality!r}"
            )
        return options

    def _perceive(
        self, path: Path, info: MediaInfo, options: Options, report: Progress
    ) -> tuple[Faces | None, Voice | None]:
        branches, modality = self.checkpoint.branches, options.modality
        if modality == "face":
            return look(branches["face"], path, info, options, report), None
        listening = functools.partial(listen, branches["audio"], path, info, options, needs=self.decider.needs)
        if modality == "audio":
            return None, listening(seen=lambda: 0.0, report=report)
        if not (info.has_video and info.has_audio):
            faces = look(branches["face"], path, info, options, report)
            return faces, listening(seen=lambda: faces.end, report=report)
        with Beside(listening) as voice:
            faces = look(branches["face"], path, info, options, voice.reporting(report))
            return faces, voice.result(faces.end)
