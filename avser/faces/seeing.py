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

import numpy as np

from avser.types import AvserError

UNUSED = ("matplotlib", "matplotlib.pyplot", "sounddevice")
"""What mediapipe loads for functions that draw or record; it would take as long as all the rest of mediapipe."""


@functools.cache
def opencv():
    try:
        import cv2
    except ImportError as error:
        raise _cannot_load(error) from error
    return cv2


def network_of(module: str, name: str, **settings):
    """One of mediapipe's networks, with what it prints hidden: its class `name` in `mediapipe.python.solutions`.

    Raises:
        AvserError: mediapipe or OpenCV cannot be loaded.
    """
    opencv()
    try:
        with quiet():
            with _later(UNUSED):
                solution = importlib.import_module(f"mediapipe.python.solutions.{module}")
            network = getattr(solution, name)(**settings)
            # Its threads report to stderr until the first picture is through.
            network.process(np.zeros((8, 8, 3), np.uint8))
    except ImportError as error:
        raise _cannot_load(error) from error
    return network


def _cannot_load(error: ImportError) -> AvserError:
    return AvserError(
        f"faces cannot be detected because a library does not load ({error}): on Linux install the system "
        "packages libgl1 and libglib2.0-0, elsewhere reinstall avser"
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
def _later(names: Iterable[str]) -> Iterator[None]:
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
