"""OpenCV and mediapipe: loaded when the first picture comes, in silence, and without what they load in vain."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import types
from collections.abc import Iterable, Iterator

from avser.types import AvserError

UNUSED = ("matplotlib", "matplotlib.pyplot", "sounddevice")
"""What mediapipe loads for functions that draw or record; it would take as long as all the rest of mediapipe."""


@functools.cache
def opencv():
    try:
        import cv2
    except ImportError as error:
        raise cannot_load(error) from error
    return cv2


def cannot_load(error: ImportError | OSError) -> AvserError:
    packages = "libgl1 and libglib2.0-0"
    if "libEGL" in str(error) or "libGLES" in str(error):  # what mediapipe from 1.0 on asks for
        packages = "libegl1 and libgles2"
    return AvserError(
        f"faces cannot be detected because a library does not load ({error}): on Linux install the system "
        f"packages {packages}, elsewhere reinstall avser"
    )


class _Later(types.ModuleType):
    """Stands for a module, which is loaded when something is taken from it; `others` stand in beside it."""

    def __init__(self, name: str, others: dict[str, _Later]) -> None:
        super().__init__(name)
        self._others = others

    def __getattr__(self, name: str):
        if name.startswith("__"):  # the import system asks for those
            raise AttributeError(name)
        _remove(self._others)  # they may stand there still, if another thread asks
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def later(names: Iterable[str]) -> Iterator[None]:
    """What is imported in this block gets stand-ins for these modules, unless they are loaded already."""
    standing: dict[str, _Later] = {}
    for name in sorted(names):  # packages come before their modules
        if name not in sys.modules:
            standing[name] = _Later(name, standing)
            parent, _, child = name.rpartition(".")
            if parent in standing:
                setattr(standing[parent], child, standing[name])
    sys.modules.update(standing)
    try:
        yield
    finally:
        _remove(standing)


def _remove(standing: dict[str, _Later]) -> None:
    for name, module in standing.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


_stderr_lock = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides what mediapipe's C++ parts print: they write to file descriptor 2 and know no other switch."""
    with _stderr_lock, contextlib.ExitStack() as stack:
        try:
            saved = os.dup(2)
        except OSError:  # the process has no stderr, so there is nothing to hide
            yield
            return
        stack.callback(os.close, saved)
        stack.callback(os.dup2, saved, 2)
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (a device, not a path)
            os.dup2(nowhere.fileno(), 2)
        yield
