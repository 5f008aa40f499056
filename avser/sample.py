"""The clips that come with avser, to try it on: a public-domain portrait that moves, with synthetic voices."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

from avser.errors import AvserError
from avser.files import replacing

CLIPS = {"sample": "one person who speaks, 5.7 s", "conversation": "two people, one after the other, 7.4 s"}
"""Their names and what they show."""


def sample_clip(name: str = "sample") -> Path:
    """One of the clips of `CLIPS`: inside the installed package, or among the tests of a checkout.

    Raises:
        AvserError: there is no clip of that name, or it is in neither place.
    """
    if name not in CLIPS:
        raise AvserError(f"{name}: no sample clip; there are {' and '.join(CLIPS)}")
    package = Path(str(resources.files("avser")))
    places = (package / f"{name}.mp4", package.parent / "tests" / "data" / f"{name}.mp4")
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise AvserError(f"{places[0]}: the sample clip is not there; install avser again")
    return found


def copy_sample(path: Path, name: str = "sample") -> Path:
    """Write a sample clip to a file, which appears under its name only when it is complete.

    Raises:
        AvserError: the file cannot be written, or there is no such clip.
    """
    source = sample_clip(name)
    try:
        if path.exists() and path.samefile(source):
            return path
        with replacing(path) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise AvserError(f"{path}: cannot be written ({error.strerror or error}); choose another -o") from None
    return path
