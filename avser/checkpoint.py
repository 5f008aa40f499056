"""Model files: safetensors with everything that prediction needs to know in the header.

A file loads without executing anything. Its header holds, under the key `avser`, JSON with

```
format      int     version of this layout
kind        str     audio | face | fused
name, version, licence, description   str
labels      [str]
corpora     [str]   what it was trained on
protocol    str     how it was trained and measured
metrics     {str: number | {…}}
config      {…}     the branch's settings (audio and face): labels, preprocessing, network, training
temperature float   of the branch, fitted on validation subjects
log_prior   [float] log-frequency of the labels in training
branches    {"audio": {…}, "face": {…}}   the same keys for each branch (fused)
fusion      {…}     rule and its settings (fused)
```
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors

from avser.config import Config, parse_config
from avser.files import replacing
from avser.labels import label_set
from avser.models.fusion import FusionRule, build_fusion
from avser.types import ConfigError, ModelError

if TYPE_CHECKING:
    import torch

    from avser.models import AnyBranch

FORMAT = 1
SUFFIX = ".safetensors"


Runner = Callable[..., np.ndarray]
"""Inputs of a branch to logits (N, C): (mel, lengths), (faces,) of single pictures, or (units, mask)."""


@dataclass(frozen=True)
class Branch:
    """A trained branch with what describes it.

    Attributes:
        build: gives its network, which is not built before it is asked for.
        path: of the file it was loaded from, if it was.
        runner: what runs the network; None for torch (see `avser.runtime`).
    """

    build: Callable[[], AnyBranch]
    config: Config
    meta: dict
    path: Path | None = None
    runner: Runner | None = None

    @property
    def network(self) -> AnyBranch:
        """The network in torch, for training and explaining.

        Raises:
            ModelError: weights and description do not fit.
        """
        return self.build()

    @property
    def file(self) -> Path:
        """The file it was loaded from.

        Raises:
            ModelError: there is none.
        """
        if self.path is None:
            raise ModelError("a network that was not loaded from a file runs by torch only; save it first")
        return self.path

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.meta["labels"])

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """Logits (N, C) float64 of what the branch takes, see `Runner`."""
        return (self.runner or self.run_by_torch)(*inputs).astype(np.float64)

    def run_by_torch(self, *inputs: np.ndarray) -> np.ndarray:
        """Logits (N, C) by the network."""
        import torch

        network: Any = self.network
        if self.config.signal == "crops":
            network = network.frames
        with torch.inference_mode():
            return network(*map(torch.from_numpy, inputs)).numpy()


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model file: its branches by name, the fusion rule (kind `fused`), and its whole header."""

    path: Path
    meta: dict
    branches: dict[str, Branch]
    fusion: FusionRule | None

    @property
    def kind(self) -> str:
        return self.meta["kind"]


def save_branch(path: Path, network: torch.nn.Module, config: Config, meta: dict, half: bool = False) -> None:
    """Write one branch; `meta` adds to (or overrides) the header's keys, `half` is as in `save_fused`."""
    header = {"format": FORMAT, "kind": config.branch, "config": config.model_dump(mode="json"), **meta}
    _write(path, _halved(network.state_dict()) if half else dict(network.state_dict()), header)


def save_fused(
    path: Path, branches: dict[str, Branch], fusion: FusionRule, meta: dict, half: bool = False
) -> None:
    """Write branches and the rule that fuses them as one model.

    Args:
        half: keep the weights of layers in half precision, which halves the file; they are computed with in full.
    """
    tensors = {
        f"{name}.{key}": tensor
        for name, branch in branches.items()
        for key, tensor in branch.network.state_dict().items()
    }
    tensors = _halved(tensors) if half else tensors
    header = {
        "format": FORMAT,
        "kind": "fused",
        "labels": list(fusion.labels),
        "branches": {name: branch.meta for name, branch in branches.items()},
        "fusion": fusion.settings(),
        **meta,
    }
    _write(path, tensors, header)


def _halved(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # statistics of batch norm and of features stay as they are: they are few, and their range is wide
    return {key: t.half() if t.is_floating_point() and t.ndim > 1 else t for key, t in tensors.items()}


def _write(path: Path, tensors: dict[str, torch.Tensor], header: dict) -> None:
    import safetensors.torch

    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with replacing(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"avser": json.dumps(header)})


def save_header(path: Path, header: dict) -> None:
    """Give a model file another header, as `read_header` tells it; its weights stay as they are."""
    import safetensors.torch

    _write(path, safetensors.torch.load_file(path), header)


def weight_folders() -> list[Path]:
    """Where models are found by name: inside the installed package, or beside it in a checkout."""
    package = Path(str(resources.files("avser")))
    return [folder for folder in (package / "weights", package.parent / "weights") if folder.is_dir()]


def known_models() -> dict[str, Path]:
    """Shipped models by name."""
    found: dict[str, Path] = {}
    for folder in weight_folders():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found.setdefault(path.stem, path)
    return found


def find_model(name: str | Path) -> Path:
    """The file of a model given by name or by path.

    Raises:
        ModelError: there is no such model.
    """
    models = known_models()
    if str(name) in models:
        return models[str(name)]
    path = Path(name)
    if path.is_file():
        return path
    choices = ", ".join(models) or "none installed"
    raise ModelError(f"{name}: no such model file, and no model of this name; shipped models: {choices}")


def read_header(path: Path) -> dict:
    """The header of a model file.

    Raises:
        ModelError: the file is damaged, is no avser model, or comes from a newer avser.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("avser")
    except OSError as error:
        raise ModelError(f"{path}: cannot be opened ({error.strerror or error})") from None
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path}: is not a model file, or is cut short ({error}); copy it again") from None
    if text is None:
        raise ModelError(f"{path}: holds weights, but not of avser; train one with 'avser train'")
    try:
        header = json.loads(text)
        number, kind = int(header["format"]), header["kind"]
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{path}: its description is damaged; copy the file again") from None
    if number > FORMAT:
        raise ModelError(f"{path}: written by a newer avser (format {number}); update avser")
    if kind not in ("audio", "face", "fused"):
        raise ModelError(f"{path}: unknown kind of model {kind!r}; update avser")
    return header


_UNFIT: tuple[type[Exception], ...] = (safetensors.SafetensorError, ConfigError, ModelError, OSError)
_UNFIT += (AttributeError, KeyError, TypeError, ValueError, RuntimeError)  # of a header that is not as it must be


def load(name: str | Path) -> Checkpoint:
    """Load a model by name or path, its networks included.

    Raises:
        ModelError: there is no such model, or its file is damaged or foreign.
    """
    model = describe(name)
    for branch in model.branches.values():
        branch.build()
    return model


def describe(name: str | Path) -> Checkpoint:
    """A model by name or path, without its networks: they are built when they are asked for, and need torch.

    Raises:
        ModelError: there is no such model, or its file is damaged or foreign.
    """
    path = find_model(name)
    header = read_header(path)
    with _fitting(path):
        if header["kind"] != "fused":
            return Checkpoint(path, header, {header["kind"]: _branch(header, path)}, None)
        branches = {key: _branch(meta, path, f"{key}.") for key, meta in header["branches"].items()}
        return Checkpoint(path, header, branches, build_fusion(header["fusion"]))


def _branch(meta: dict, path: Path, prefix: str = "") -> Branch:
    """A branch whose tensors have names that begin with `prefix`."""
    config = parse_config(meta["config"], str(path))
    if tuple(meta["labels"]) != label_set(config.labels):
        raise ValueError(f"its labels are not those of {config.labels}")

    @functools.cache
    def build() -> AnyBranch:
        from avser.models import build_model

        with _fitting(path):
            network = build_model(config)
            with safetensors.safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (no mapping)
                network.load_state_dict({name[len(prefix) :]: file.get_tensor(name) for name in names})
            return network.eval()

    return Branch(build, config, meta, path)


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Whatever does not fit in a file is one sentence."""
    try:
        yield
    except _UNFIT as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: weights and description do not fit ({reason}); copy the file again") from None
