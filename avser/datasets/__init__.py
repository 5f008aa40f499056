"""Corpora by name. Each module here is one corpus: its name, `scan(root) -> list[Clip]` and its terms.

To add a corpus, add a module; nothing else has to be edited. `scan` returns the clips in a fixed order without
opening any media, and may take keyword options. `EXPECTS`, a phrase that says which files it looks for and where
they come from, completes the message when there are none.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

from avser.datasets._files import IMAGE_SUFFIXES
from avser.datasets._pictures import load_image
from avser.types import Clip, DataError

__all__ = ["IMAGE_SUFFIXES", "load_image", "names", "scan"]


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
    expects = getattr(module, "EXPECTS", (module.__doc__ or name).strip().splitlines()[0])
    if not root.exists():
        raise DataError(f"there is no {root}: corpus {name!r} needs {expects}")
    clips = module.scan(root, **options)
    if not clips:
        raise DataError(f"nothing of corpus {name!r} lies in {root}: it needs {expects}")
    return clips


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
