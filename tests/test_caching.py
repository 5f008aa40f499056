"""What is kept on disk: many arrays in one file, memory-mapped, whatever happens to that file."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from avser import caching
from avser.caching import Pack, Shelf, write_pack
from avser.types import Clip, DataError

SETTINGS = "squares"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache for each test."""
    monkeypatch.setenv("AVSER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def clips(tmp_path) -> list[Clip]:
    """Three files, of which the last is there twice."""
    paths = [tmp_path / f"{name}.bin" for name in "abcd"]
    for path, content in zip(paths, (b"1", b"2", b"3", b"3"), strict=True):
        path.write_bytes(content)
    return [Clip(path, "happy", None, "made") for path in paths]


def take(clips: list[Clip], settings: str = SETTINGS, varied: str = "") -> tuple[list[np.ndarray], int]:
    """What a shelf has of clips, and how much had to be made for it."""
    made = 0

    def make(clip: Clip) -> np.ndarray:
        nonlocal made
        made += 1
        return np.full((2, int(clip.path.read_bytes())), int(clip.path.read_bytes()) ** 2, np.int16)

    with Shelf(settings) as shelf:
        keys = [shelf.keep(clip, varied, lambda clip=clip: make(clip)) for clip in clips]
    return [shelf[key] for key in keys], made


def packs(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.pack"))


# Packs


@given(
    st.dictionaries(
        st.text("0123456789abcdef", min_size=1, max_size=48),
        st.sampled_from(["u1", "<i2", "<f4", "<f8"]).flatmap(
            lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
        ),
    )
)
def test_a_pack_gives_back_what_was_put_in(tmp_path_factory, given):
    path = tmp_path_factory.mktemp("pack") / "a.pack"
    write_pack(path, given)
    pack = Pack(path)
    assert pack.keys() == given.keys()
    for key, array in given.items():
        assert (pack[key].dtype, pack[key].shape) == (array.dtype, array.shape)
        assert pack[key].tobytes() == array.tobytes()


def test_what_is_written_to_an_array_stays_in_this_process(tmp_path):
    write_pack(tmp_path / "a.pack", {"a": np.arange(5)})
    array = Pack(tmp_path / "a.pack")["a"]
    array[:] = 7
    assert Pack(tmp_path / "a.pack")["a"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [0, 5, 60, -1])
def test_a_pack_cut_short_is_refused(tmp_path, size):
    path = tmp_path / "a.pack"
    write_pack(path, {"a": np.arange(50), "b": np.ones(3)})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r".+"):
        Pack(path)


def test_no_damage_goes_unseen(tmp_path):
    path = tmp_path / "a.pack"
    given = {"a": np.arange(50, dtype=np.int16), "b": np.ones((2, 3), np.float32)}
    write_pack(path, given)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.unlink()
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            pack = Pack(path)
            said = {key: pack[key] for key in given}
        except ValueError:
            continue
        assert 100 <= place < 128  # between the arrays, where nothing is told
        assert all((said[key] == given[key]).all() for key in given)


# Shelves


def test_arrays_are_made_once_and_mapped(clips, cache):
    first, made = take(clips)
    assert made == 3  # one content is there twice
    assert [x.tolist() for x in first] == [[[1], [1]], [[4, 4], [4, 4]], *[[[9, 9, 9], [9, 9, 9]]] * 2]
    assert len(packs(cache)) == 1
    again, made = take(clips)
    assert made == 0
    assert all((x == y).all() for x, y in zip(first, again, strict=True))
    assert not any(x.flags.owndata for x in again)


def test_a_shelf_goes_by_content_settings_and_piece(clips, cache):
    take(clips[:1])
    clips[1].path.write_bytes(b"1")  # the same content under another name
    assert take(clips[1:2])[1] == 0
    clips[0].path.write_bytes(b"5")
    assert take(clips[:1])[0][0].tolist() == [[25] * 5] * 2
    assert take(clips[:1], settings="others")[1] == 1
    assert take(clips[:1], varied="copy 1")[1] == 1
    piece = Clip(clips[0].path, "happy", None, "made", start=1.0)
    row = Clip(clips[0].path, "happy", None, "made", row=3)
    assert take([piece, row, clips[0]])[1] == 2


def test_more_is_added_beside_what_is_there(clips, cache):
    take(clips[:1])
    assert take(clips)[1] == 2
    assert len(packs(cache)) == 2
    assert take(clips)[1] == 0


@pytest.mark.parametrize("where", ["array", "end", "empty", "foreign"])
def test_a_damaged_pack_is_made_anew(clips, cache, where):
    wanted, _ = take(clips)
    (path,) = packs(cache)
    raw = bytearray(path.read_bytes())
    if where == "array":
        raw[0] ^= 1
    damaged = {"array": raw, "end": raw[:-9], "empty": b"", "foreign": b"PK\x03\x04" * 40}[where]
    path.unlink()  # it is mapped: nobody writes into it
    path.write_bytes(damaged)
    found, made = take(clips)
    assert made > 0
    assert all((x == y).all() for x, y in zip(found, wanted, strict=True))
    take(clips)
    assert take(clips)[1] == 0


def test_where_nothing_can_be_written_arrays_stay_in_memory(clips, cache):
    cache.write_text("a file where the folder would be")
    found, made = take(clips)
    assert (len(found), made) == (4, 3)
    assert cache.read_text().startswith("a file")


def test_what_was_made_before_an_interruption_is_kept(clips, cache):
    def stop() -> np.ndarray:
        raise KeyboardInterrupt

    def make_two() -> None:
        with Shelf(SETTINGS) as shelf:
            shelf.keep(clips[0], "", lambda: np.ones(3))
            shelf.keep(clips[1], "", stop)

    with pytest.raises(KeyboardInterrupt):
        make_two()
    assert take(clips[:1])[1] == 0


def test_much_is_written_in_between(clips, cache, monkeypatch):
    monkeypatch.setattr(caching, "LARGEST_PACK", 3)
    take(clips)
    assert len(packs(cache)) == 3
    assert take(clips)[1] == 0


def test_a_file_that_cannot_be_read_is_one_sentence(clips):
    clips[0].path.unlink()
    with pytest.raises(
        DataError, match=r"a.bin: cannot be read \(No such file or directory\); get the file again"
    ):
        take(clips)


def test_several_processes_share_a_shelf(clips, cache):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(take, [clips] * 6)
    for arrays_, _ in found:
        assert [x.max() for x in arrays_] == [1, 4, 9, 9]
    assert take(clips)[1] == 0
