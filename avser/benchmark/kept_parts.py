"""Parts of a long run that are kept on disk, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping

from avser import __version__
from avser.caching import cache_folder
from avser.files import replacing


def kept(settings: Mapping[str, object], make: Callable[[], dict]) -> dict:
    """Plain values that took long to make, from the cache if they were made with the same settings before.

    Args:
        settings: plain values that say all that the outcome depends on, contents of files by their `file_digest`.
    """
    text = json.dumps({"version": __version__, **settings}, sort_keys=True)
    path = cache_folder() / "benchmark" / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass  # not there yet, or cut short by a crash: made anew
    values = make()
    # a full or read-only disk costs speed, not the result
    with contextlib.suppress(OSError), replacing(path) as temporary:
        temporary.write_text(json.dumps(values), encoding="utf-8")
    return values
