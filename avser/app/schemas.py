"""What the HTTP interface takes and answers, for its description by OpenAPI."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Form, Query
from pydantic import BaseModel, ConfigDict, Field

from avser.options import Options

Modality = Literal["fused", "audio", "face"]
Distribution = Annotated[dict[str, float], Field(description="Probability of each emotion.")]
Span = Annotated[list[float], Field(min_length=2, max_length=2, description="Start and end, s.")]
Windows = Annotated[list[float | None], Field(description="One entry a window.")]


class Answer(BaseModel):
    """Base of what is answered: nothing but what is described."""

    model_config = ConfigDict(extra="forbid")


class Error(Answer):
    """Why there is no answer."""

    error: str = Field(description="One sentence: what is wrong, and what to do.")


class Limits(Answer):
    """What the server takes."""

    upload_bytes: int = Field(description="Largest upload.")
    seconds: float = Field(description="Longest recording.")
    waiting: int = Field(description="Most jobs in the queue.")
    keep_minutes: float = Field(description="How long a recording and its result are kept.")


class Health(Answer):
    """How the server is."""

    status: Literal["ok", "starting"] = Field(description="`starting` until a model is loaded.")
    version: str = Field(description="Of avser.")
    workers: int = Field(description="Processes that predict.")
    waiting: int = Field(description="Jobs in the queue.")
    limits: Limits


class Fusion(Answer):
    """How a model fuses voice and face."""

    rule: str
    voice: float | None = Field(description="Share of the voice; null: the rule has no such single number.")
    sharpness: float = Field(description="Factor of the mean log-probabilities where both are present.")


class Model(Answer):
    """A model that can be chosen."""

    name: str
    version: str
    description: str
    licence: str
    labels: list[str]
    modalities: list[Modality] = Field(description="What can be asked of it, the first by default.")
    fusion: Fusion | None


class Format(Answer):
    """A format in which results can be had."""

    name: str
    available: bool
    needs: str | None = Field(description="The extra of avser that brings it where it is not available.")


class JobState(Answer):
    """How far a job is."""

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    name: str = Field(description="Of the recording.")
    model: str
    position: int | None = Field(description="Jobs before it in the queue; null: it does not wait.")
    second: float | None = Field(description="Second of the recording that has been reached.")
    duration: float | None = Field(description="Length of the recording, s; null: not known yet.")
    warnings: list[str] = Field(description="What the reader said of the file.")
    error: str | None = Field(description="Why it failed, in one sentence.")
    status: int | None = Field(description="The status of HTTP that fits the error.")


class Prediction(Answer):
    """What one person expresses in one window, or the recording as a whole."""

    start: float
    end: float
    person: int | None = Field(description="Who is seen; null: a voice without a face, or the whole recording.")
    label: str | None = Field(description="null: avser abstains, see `reason`.")
    category: str | None
    confidence: float | None = Field(description="Probability of the label.")
    probs: Distribution | None
    modalities: dict[Literal["audio", "face"], Distribution]
    weights: dict[Literal["audio", "face"], float] = Field(description="Share in the fusion.")
    face_frames: int
    speech: float | None = Field(description="Share of the window in which somebody speaks.")
    speaking: float | None = Field(description="Score that this person speaks.")
    reason: str | None
    note: str | None


class Person(Answer):
    """Somebody whose face was followed."""

    person: int
    spans: list[Span]
    frames: int
    overall: Prediction


class Segment(Answer):
    """A stretch of one emotion."""

    start: float
    end: float
    person: int | None
    label: str
    confidence: float


class ModelName(Answer):
    """Which model answered."""

    name: str
    version: str


class Media(Answer):
    """What the file holds."""

    duration: float | None
    has_audio: bool
    has_video: bool
    width: int | None
    height: int | None
    fps: str | None
    video_codec: str | None
    audio_codec: str | None
    audio_rate: int | None
    audio_channels: int | None


class Result(Answer):
    """Everything that was found in a recording: the JSON of `avser predict`."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
    schema_: int = Field(alias="schema")
    file: str
    model: ModelName
    modality: Modality
    settings: dict[str, float | int | bool | str | None] = Field(description="Window, hop (s) and the like.")
    labels: list[str]
    media: Media
    overall: Prediction
    people: list[Person]
    speech: list[Span] | None
    cuts: list[float]
    segments: list[Segment]
    predictions: list[Prediction]


class Row(Answer):
    """A strip of the timeline."""

    key: Literal["fused", "audio", "face"]
    name: str


class Lane(Answer):
    """One person's share of the timeline; lists have one entry a window."""

    name: str
    title: str
    face: str | None
    times: list[float] = Field(description="Start and end of each window without overlaps, s.")
    probs: dict[Literal["fused", "audio", "face"], list[list[int] | None]] = Field(description="Thousandths.")
    weights: dict[Literal["audio", "face"], Windows] = Field(description="Thousandths.")
    speech: Windows
    speaking: Windows
    reasons: Windows
    notes: Windows
    segments: list[Annotated[list[float], Field(min_length=3, max_length=3)]]
    centres: list[float] = Field(description="Of the windows, s.")
    logs: dict[Literal["audio", "face"], list[list[float] | None]] = Field(description="Log-probabilities.")


class View(Answer):
    """What the page draws, and fuses again with other weights (see `avser.app.view`)."""

    end: float
    hop: float
    labels: list[str]
    colours: list[list[str]]
    rows: list[Row]
    speech: list[Span] | None
    cuts: list[float]
    words: list[str]
    lanes: list[Lane]
    name: str
    model: str
    about: str
    settings: str
    warnings: list[str]
    modality: Modality
    smooth: float
    fusion: Fusion | None
    overall: list[Lane]
    faces: dict[str, str]


_DEFAULT = Options()

NameForm = Annotated[str | None, Form(max_length=200, description="Name of a model; by default the first.")]
ModalityForm = Annotated[Modality | None, Form(description="By default all that the model has.")]
WindowForm = Annotated[float, Form(ge=0.5, le=60, description="Length of a window, s.")]
HopForm = Annotated[float, Form(ge=0.1, le=60, description="From one window to the next, s.")]
SmoothForm = Annotated[float, Form(ge=0, le=600, description="Time constant of the smoothing, s; 0: none.")]
VadForm = Annotated[bool, Form(description="Whether the voice counts only where speech is found.")]
MaxFacesForm = Annotated[int, Form(ge=1, le=20, description="Most people followed at the same time.")]
MinFaceForm = Annotated[int, Form(ge=8, le=720, description="Smallest face, px of a picture 720 px high.")]

VoiceQuery = Annotated[
    float | None, Query(ge=0, le=1, description="Fuse anew with this share of the voice; by default as the model.")
]
WithoutQuery = Annotated[Literal["audio", "face"] | None, Query(description="Leave this modality out.")]


def asked(
    modality: ModalityForm = None,
    window: WindowForm = _DEFAULT.window,
    hop: HopForm = _DEFAULT.hop,
    smooth: SmoothForm = _DEFAULT.smooth,
    vad: VadForm = _DEFAULT.vad,
    max_faces: MaxFacesForm = _DEFAULT.max_faces,
    min_face: MinFaceForm = _DEFAULT.min_face,
) -> Options:
    """The settings in a form."""
    return Options(modality, window, hop, smooth, vad, max_faces, min_face)
