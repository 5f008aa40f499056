"""Corpora by name. Each module here is one corpus: its name, `scan(root) -> list[Clip]` and its `FACTS`.

To add a corpus, add a module; nothing else has to be edited. `scan` returns the clips in a fixed order without
opening any media, and may take keyword options. `FACTS` says where the corpus is found, under which terms, which
files `scan` looks for, and what a complete copy holds.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

from avser.datasets._facts import Facts, Part
from avser.datasets._files import IMAGE_SUFFIXES, MEDIA_SUFFIXES, find
from avser.datasets._pictures import load_image
from avser.types import Clip, DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "MEDIA_SUFFIXES",
    "Facts",
    "Part",
    "about",
    "facts",
    "find",
    "load_image",
    "look",
    "names",
    "scan",
]


def names() -> list[str]:
    """The names of all corpora, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def scan(name: str, root: str | Path, **options: object) -> list[Clip]:
    """The clips of a corpus, in a fixed order.

    Args:
        name: a corpus, see `names`.
        root: the folder that holds it (for corpora that come as one table, the table will do).
        options: what the corpus takes besides, for instance `subject` for `folder`.

    Raises:
        DataError: no such corpus, option or folder, or nothing of the corpus in it.
    """
    module = _module(name)
    root = Path(root).expanduser()
    _check_options(name, module, options)
    expects = module.FACTS.expects
    if not root.exists():
        raise DataError(f"there is no {root}: corpus {name!r} needs {expects}")
    clips = module.scan(root, **options)
    if not clips:
        raise DataError(f"nothing of corpus {name!r} lies in {root}: it needs {expects}")
    return clips


def look(name: str, root: Path) -> list[Clip]:
    """The clips of a corpus as `scan` finds them, or none.

    Raises:
        DataError: there is no such corpus, or what there is of it is damaged.
    """
    return _module(name).scan(root)


def facts(name: str) -> Facts:
    """What is official about a corpus.

    Raises:
        DataError: no such corpus.
    """
    return _module(name).FACTS


def about(name: str) -> str:
    """A corpus in one sentence.

    Raises:
        DataError: no such corpus.
    """
    return (_module(name).__doc__ or name).strip().splitlines()[0]


def _module(name: str) -> ModuleType:
    if name not in names():
        raise DataError(f"unknown corpus {name!r}: choose from {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def _check_options(name: str, module: ModuleType, options: dict[str, object]) -> None:
    known = list(inspect.signature(module.scan).parameters)[1:]
    for option in options:
        if option not in known:
            choices = f"choose from {', '.join(known)}" if known else "it takes none"
            raise DataError(f"corpus {name!r} has no option {option!r}: {choices}")
