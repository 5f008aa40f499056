"""The examples in docstrings run as tests."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import avser

MODULES = ["avser", *(module.name for module in pkgutil.walk_packages(avser.__path__, "avser."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
