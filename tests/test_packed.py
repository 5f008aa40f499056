"""Predictions as columns are equal to those that were put in."""

from __future__ import annotations

import dataclasses
import pickle
import tracemalloc

import numpy as np
import pytest
from made_results import make_result, make_scene

from avser.packed import Packed
from avser.results import Prediction


def same(one: Prediction, other: Prediction) -> bool:
    """Whether all fields are equal."""
    one, other = dataclasses.asdict(one), dataclasses.asdict(other)
    arrays = [[v.pop("probs"), *map(v["modalities"].pop, sorted(v["modalities"]))] for v in (one, other)]
    return one == other and all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))


@pytest.mark.parametrize("made", [make_result(), make_scene()])
@pytest.mark.parametrize("through", [lambda packed: packed, lambda packed: pickle.loads(pickle.dumps(packed))])
def test_what_comes_out_is_what_went_in(made, through):
    packed = through(Packed(iter(made.predictions), len(made.labels)))
    assert len(packed) == len(made.predictions)
    assert all(map(same, packed, made.predictions))
    assert all(map(same, packed[1:9:2], made.predictions[1:9:2]))
    assert same(packed[-1], made.predictions[-1])
    assert [list(p.modalities) for p in packed] == [list(p.modalities) for p in made.predictions]
    with pytest.raises(IndexError):
        packed[len(packed)]


def test_none_at_all():
    assert list(Packed([], 3)) == []
    assert Packed([], 3)[:5] == ()


def test_hours_take_little_memory():
    scene = make_scene(600)
    windows = (dataclasses.replace(p) for p in scene.predictions * 12)
    tracemalloc.start()
    packed = Packed(windows, len(scene.labels))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(packed) < 350
