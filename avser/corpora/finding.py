"""Which corpus lies in a folder, found out by asking all of their readers."""

from __future__ import annotations

from pathlib import Path

from avser import datasets
from avser.types import AvserError, Clip, DataError


def corpus_in(root: str | Path) -> str:
    """The name of the corpus that lies in a folder, or in a table.

    Readers that take files of any name are asked last.

    Raises:
        DataError: there is none, there are several, or what there is cannot be read.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise DataError(f"there is no {root}: name the folder of a corpus")
    found, errors = {}, {}
    for name in datasets.names():
        try:
            found[name] = datasets.look(name, root)
        except AvserError as error:
            errors[name] = error
    found = {name: clips for name, clips in found.items() if clips}
    own = {name: clips for name, clips in found.items() if not datasets.facts(name).any_names}
    likeliest = _likeliest(own, root)
    others = [name for name in found if name not in own]
    if likeliest and not any(len(found[name]) > 2 * len(own[likeliest]) for name in others):
        return likeliest
    if own and not others:
        raise DataError(
            f"{root} may hold {' or '.join(sorted(own))}: name the folder of one, or say which by --corpus"
        )
    if others:
        return others[0]
    errors = {name: error for name, error in errors.items() if not datasets.facts(name).any_names}
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        meant = " or ".join(errors)
        raise DataError(
            f"{root} holds nothing that can be read; it may be meant as {meant}: say which by --corpus"
        )
    raise DataError(f"{root} holds no corpus that avser knows: choose from {', '.join(datasets.names())}")


def _likeliest(found: dict[str, list[Clip]], root: Path) -> str | None:
    """The one corpus whose files hold those of all others; of several, the one named in the path or complete."""
    paths = {name: {clip.path for clip in clips} for name, clips in found.items()}
    every = set().union(*paths.values())
    whole = [name for name in found if paths[name] == every]
    if len(whole) > 1:
        named = [name for name in whole if any(name in str(path).lower() for path in (root, *paths[name]))]
        official = {name: {part.clips for part in datasets.facts(name).parts.values()} for name in whole}
        complete = [name for name in whole if len(found[name]) in official[name]]
        whole = complete if len(complete) == 1 else named
    return whole[0] if len(whole) == 1 else None
