"""Settings of a model and its training: one YAML file, dotted overrides, and no key that is not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from avser import settings
from avser.labels import label_set
from avser.signals import AudioInput, FaceInput
from avser.types import ConfigError


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Corpus(_Section):
    """One corpus: the name of its reader, its folder under the data root, options of the reader."""

    name: str
    root: str
    options: dict[str, Any] = {}
    only: dict[str, list[str]] = {}


class Network(_Section):
    """A backbone by name with its options; for faces, how frames are pooled and whether mirror images help.

    `attention` is a pooling that learns which frames count, for clips of many frames.
    """

    name: str
    options: dict[str, Any] = {}
    dropout: float = pydantic.Field(0.3, ge=0, lt=1)
    pool: Literal["mean", "confidence", "expression", "attention"] = "expression"
    mirror: bool = False


KIND = "noise|stretch|shift|pitch|picture"


class Augment(_Section):
    """Augmentation, applied to training clips only. Zero switches a kind off.

    Sound: `speed` largest relative change of tempo and pitch; `noise` share of clips with added noise at 5 to
    30 dB; `band` share of clips low-passed (codecs, telephones); `time_masks`, `freq_masks` (SpecAugment, Park
    et al. 2019) of at most `time_width` s and `freq_width` bands.
    Faces: `flip`; `rotate` degrees; `shift` and `scale` relative; `light` (brightness, contrast) relative; `blur`
    share of pictures reduced and enlarged again; `erase` share with a random patch removed (Zhong et al. 2020);
    `background` share whose surroundings become one grey, as before a plain wall; `grain` share with noise; `jpeg`
    share compressed at a low quality.
    `cutmix` alpha of the Beta distribution of CutMix (Yun et al. 2019): a patch of another face.
    Both: `mixup` alpha of the Beta distribution (Zhang et al. 2018).
    `copies` adds that many varied copies of each training clip once and for all, as some papers do; `copy_kinds`
    says how the first, the second… differ, and then the first again: by `noise`, `stretch`, `shift`, `pitch` (of
    the sound), `picture` (shift, zoom and flip), or several one after the other (`stretch+pitch`).
    """

    mixup: float = pydantic.Field(0.0, ge=0)
    cutmix: float = pydantic.Field(0.0, ge=0)
    speed: float = 0.0
    noise: float = 0.0
    band: float = 0.0
    time_masks: int = 0
    time_width: float = 0.3
    freq_masks: int = 0
    freq_width: int = 10
    flip: bool = False
    rotate: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    light: float = 0.0
    blur: float = 0.0
    erase: float = 0.0
    background: float = 0.0
    grain: float = 0.0
    jpeg: float = 0.0
    copies: int = pydantic.Field(0, ge=0)
    copy_kinds: list[Annotated[str, pydantic.Field(pattern=rf"^({KIND})(\+({KIND}))*$")]] = []


class Training(_Section):
    """How the network is fitted. `patience` counts epochs without a better validation UAR; 0 never stops early.
    `momentum` is that of `sgd` (Nesterov's; 0 is plain descent).

    `votes` is the share of the annotators' votes in the target where a corpus has them, the rest is its label.
    `average` is the decay of the moving average of the weights that is validated and kept; 0 takes the weights as
    they are. `keep` takes the epoch with the best validation UAR, or the last one. `side_tasks` names facts of a
    clip (`gender`, `statement`, `intensity`, `corpus`; `label`, the corpus's own where the target is votes…) that
    further heads learn beside the emotion, at `side_weight` of its loss; they are not part of the model. `freeze`
    leaves the backbone as `init_from` has it: only the classifier learns. `refit` fits once more, with the
    validation clips, after these have told temperature and weights of members. `teachers` are model files whose
    averaged answers make up `teacher_share` of each target (distillation).

    `precision` is single (`32`) or mixed with bfloat16 (`bf16`); `auto` takes the latter where processors have it,
    and the run's settings keep which. `accelerator` is where: `auto` takes a GPU if there is one. `devices` tells
    how many GPUs, or processes on the CPU, share each batch; `auto` is one.
    """

    epochs: int = pydantic.Field(30, ge=1)
    batch_size: int = pydantic.Field(32, ge=1)
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "adagrad"] = "adamw"
    momentum: float = pydantic.Field(0.9, ge=0, lt=1)
    lr: float = pydantic.Field(1e-3, gt=0)
    weight_decay: float = pydantic.Field(1e-2, ge=0)
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    label_smoothing: float = pydantic.Field(0.0, ge=0, lt=1)
    votes: float = pydantic.Field(0.5, ge=0, le=1)
    average: float = pydantic.Field(0.0, ge=0, lt=1)
    patience: int = pydantic.Field(0, ge=0)
    keep: Literal["best", "last"] = "best"
    precision: Literal["32", "bf16", "auto"] = "32"
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int | Literal["auto"] = "auto"
    side_tasks: list[str] = []
    side_weight: float = pydantic.Field(0.2, ge=0)
    refit: bool = False
    freeze: bool = False
    teachers: list[str] = []
    teacher_share: float = pydantic.Field(0.5, ge=0, le=1)

    @pydantic.field_validator("devices", mode="before")
    @classmethod
    def _some_devices(cls, value: Any) -> Any:
        if value != "auto" and (type(value) is not int or value < 1):
            raise ValueError(f"is a whole number from 1 on, or auto, not {value!r}")
        return value

    @pydantic.model_validator(mode="after")
    def _enough_for_all(self) -> Training:
        if self.devices != "auto" and self.devices > 1 and self.batch_size < 2 * self.devices:
            raise ValueError(
                f"batch_size: {self.batch_size} clips are too few for devices={self.devices}, which share them; "
                "each needs two"
            )
        return self


class Config(_Section):
    """One model: which branch, which labels, which data under which protocol, which network, how trained.

    `exclude` names subjects that protocol `final` holds out; `validation` is the number of validation subjects;
    `init_from` is a model file whose branch the weights start from. `seed` draws weights, order and augmentation,
    `split_seed` the folds and validation subjects. `ensemble` lists further members of a model, each by the
    keys in which it differs from the first (`network.options.deltas: true` changes one key, `network: {…}` all).
    """

    name: str
    branch: Literal["audio", "face"]
    labels: str
    corpora: list[Corpus]
    protocol: str
    folds: list[int] | None = None
    exclude: list[str] = []
    validation: int = pydantic.Field(4, ge=1)
    audio: AudioInput = AudioInput()
    face: FaceInput = FaceInput()
    network: Network
    augment: Augment = Augment()
    training: Training = Training()
    init_from: str | None = None
    seed: int = 0
    split_seed: int = 0
    ensemble: list[dict[str, Any]] = []

    @pydantic.field_validator("labels")
    @classmethod
    def _known_labels(cls, name: str) -> str:
        try:
            label_set(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None  # which pydantic turns into an error that names the key
        return name

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Config:
        crops = self.signal == "crops"
        if self.ensemble and crops:
            raise ValueError("ensemble: is for the audio branch and for action units only")
        if self.augment.cutmix and not crops:
            raise ValueError("augment.cutmix: is for the face branch only, on crops; others take augment.mixup")
        if self.training.refit and (self.training.keep != "last" or self.training.patience):
            raise ValueError("training.refit: leaves no clips to choose an epoch by; set keep=last and patience=0")
        if self.training.freeze and self.init_from is None:
            raise ValueError("training.freeze: keeps the backbone as it is; name a model to start from, init_from")
        return self

    @property
    def signal(self) -> str:
        """What the branch takes: `sound`, `crops` of faces or `action_units`."""
        return "sound" if self.branch == "audio" else self.face.input

    @property
    def transductive(self) -> bool:
        """Whether a clip is judged by the help of the person's other clips; figures must be named so."""
        return self.branch == "face" and self.face.centre == "subject"

    @property
    def protocol_name(self) -> str:
        """The protocol as figures name it."""
        return f"{self.protocol}, transductive" if self.transductive else self.protocol


def find_config(path: Path) -> Path:
    """A YAML file as given, or one that came with the package, by its name (`audio_ravdess8`)."""
    if path.exists():
        return path
    package = Path(__file__).parent
    shipped = [*package.glob("configs/**/*.yaml"), *package.parent.glob("configs/**/*.yaml")]
    return next((found for found in shipped if found.stem == path.name.removesuffix(".yaml")), path)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file and lay `key.sub=value` overrides over it (values are read as YAML).

    Raises:
        ConfigError: the file cannot be read, or a key or value is not valid.
    """
    values = read_config(path, overrides)
    if values.get("branch") == "fused":
        raise ConfigError(
            f"{path}: is of a fused model, which 'avser train' and 'avser audit' take; give that of a branch"
        )
    return parse_config(values, str(path))


def read_config(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The values of a YAML file with overrides laid over them, not yet checked.

    Raises:
        ConfigError: the file cannot be read, or an override is not of the form key=value.
    """
    path = Path(path)
    values = settings.read_mapping(path, "config", "no such config file")
    values.setdefault("name", path.stem)
    for override in overrides:
        _override(values, override)
    return values


def parse_config(values: Mapping[str, Any], source: str) -> Config:
    """Settings from plain values; `source` is named in the error.

    Raises:
        ConfigError: a key is unknown or a value is not valid.
    """
    return settings.parse(Config, values, source)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not of the form key=value, for instance training.epochs=10")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"override {override!r}: {text!r} is not a YAML value") from None
    set_key(values, key, value, f"override {override!r}")


def set_key(values: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set a dotted key of nested settings, in place; `source` is named in the error.

    Raises:
        ConfigError: a part of the key holds a value, not further settings.
    """
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {parent!r} holds no further settings")
    values[last] = value
