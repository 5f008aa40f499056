"""The clip that comes with avser, to try it on: a public-domain portrait that moves, with a synthetic voice."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

from avser.errors import AvserError
from avser.files import replacing


def sample_clip() -> Path:
    """The sample clip, 5.7 s: inside the installed package, or among the tests of a checkout.

    Raises:
        AvserError: it is in neither place.
    """
    package = Path(str(resources.files("avser")))
    places = (package / "sample.mp4", package.parent / "tests" / "data" / "sample.mp4")
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise AvserError(f"{places[0]}: the sample clip is not there; install avser again")
    return found


def copy_sample(path: Path) -> Path:
    """Write the sample clip to a file, which appears under its name only when it is complete.

    Raises:
        AvserError: the file cannot be written, or there is no sample clip.
    """
    source = sample_clip()
    try:
        if path.exists() and path.samefile(source):
            return path
        with replacing(path) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise AvserError(f"{path}: cannot be written ({error.strerror or error}); choose another -o") from None
    return path
