"""Models as ONNX graphs."""

from __future__ import annotations

import importlib.util
import os

from avser.errors import MissingExtraError

KEY = "avser"
"""Under which a graph's metadata says what it is."""


def need(*packages: str) -> None:
    """Stop with one sentence where a package is not installed; called before one of them is imported.

    ONNX Runtime is kept from reporting its use to its makers, as some builds of it would from their import on.

    Raises:
        MissingExtraError: it is not.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        what = " and ".join(missing)
        raise MissingExtraError(f"this needs {what}, which is not installed: pip install 'avser[onnx]'")
