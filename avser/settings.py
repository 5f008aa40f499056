"""Settings from YAML files, checked by pydantic, and one sentence for what is wrong in them."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from avser.types import ConfigError

Settings = TypeVar("Settings", bound=pydantic.BaseModel)


def read_mapping(path: Path, kind: str, missing: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        kind: what the file is to be, named in errors: `config`.
        missing: what is said where there is no such file.

    Raises:
        ConfigError: there is none, it cannot be read, or it is something else.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: {missing}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a {kind} ({error})") from None
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2024-99-99 is a ValueError
        raise ConfigError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; a {kind} is a YAML mapping")
    return values


def parse(section: type[Settings], values: Mapping[str, Any], source: str) -> Settings:
    """Settings from plain values; `source` is named in the error.

    Raises:
        ConfigError: a key is unknown or a value is not valid.
    """
    try:
        return section.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{source}: {_sentence(error, section)}") from None


def _sentence(error: pydantic.ValidationError, root: type[pydantic.BaseModel]) -> str:
    errors = error.errors()
    # A misspelt key leaves the one that was meant missing: the spelling is what to tell.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        said = first["msg"].removeprefix("Value error, ")
        return f"{where}: {said}" if where else said
    known = _known_keys(root, first["loc"][:-1])
    close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known keys are {', '.join(known)}"
    return f"unknown key {where!r}; {hint}"


def _known_keys(section: type[pydantic.BaseModel], parents: Iterable[str | int]) -> list[str]:
    found: type[pydantic.BaseModel] | None = section
    for parent in parents:
        if found and not isinstance(parent, int):  # which is a place in a list
            found = _section_in(found.model_fields[parent].annotation)
    return list(found.model_fields) if found else []


def _section_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """The model in an annotation: itself, in a list, or where it may be None."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _section_in(part))), None)
