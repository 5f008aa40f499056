"""Models as ONNX graphs."""

from __future__ import annotations

import importlib.util

from avser.errors import MissingExtraError

KEY = "avser"
"""Under which a graph's metadata says what it is."""


def need(*packages: str) -> None:
    """Stop with one sentence where a package is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        what = " and ".join(missing)
        raise MissingExtraError(f"this needs {what}, which is not installed: pip install 'avser[onnx]'")
