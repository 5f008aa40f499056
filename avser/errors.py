"""The one error type that users see, and its few children. Apart from the values, so that it loads at once."""

from __future__ import annotations


class AvserError(Exception):
    """What went wrong, where, and what to do about it, in one sentence."""


class MediaError(AvserError):
    """A media file cannot be read or written."""


class ConfigError(AvserError):
    """A setting is unknown or has no valid value."""


class ModelError(AvserError):
    """A model file is missing, damaged, foreign or unfit for the request."""


class DataError(AvserError):
    """A corpus, a fold or a table of results is not as it must be."""


class MissingExtraError(AvserError):
    """A command needs packages that the core install does not hold."""


def own_fault(file: str, error: Exception) -> str:
    """The sentence on a fault of avser itself, with which a file costs no more than itself."""
    said = " ".join(str(error).split())
    return f"{file}: avser itself failed ({type(error).__name__}: {said}); please report this with the file"
