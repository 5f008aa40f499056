"""What a job is about: what is found by every way to name files, each once, and how its results are named."""

from __future__ import annotations

import io
import os
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avser.batch.naming import LONGEST_NAME, stems
from avser.batch.sources import Found, Source, find
from avser.options import Options
from avser.types import ConfigError


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """The current folder, with media (empty, as nobody opens them) and other things in it."""
    names = (
        "in/a.mp4",
        "in/deep/a.wav",
        "in/deep/.hidden.wav",
        "in/notes.txt",
        "in/b[1].mp4",
        "in/x.dat",
        "c.mp4",
    )
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def look(*names: str | Path, **settings) -> Found:
    return find(names, Options(), **settings)


def paths(found: Found) -> list[str]:
    return [Path(source.path).as_posix() for source in found.sources]


def names(found: Found) -> list[str]:
    return [Path(source.stem).as_posix() for source in found.sources]


def stdin(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


# Paths, folders and patterns


def test_folders_are_searched_and_keep_their_structure(tree):
    found = look("in")
    assert paths(found) == ["in/a.mp4", "in/b[1].mp4", "in/deep/a.wav"]
    assert names(found) == ["a", "b[1]", "deep/a"]


@pytest.mark.parametrize(
    ("pattern", "wanted", "stem"),
    [
        ("in/**/*.wav", ["in/deep/a.wav"], "deep/a"),
        ("in/**", ["in/a.mp4", "in/b[1].mp4", "in/deep/a.wav"], "a"),
        ("in/*", ["in/a.mp4", "in/b[1].mp4", "in/deep/a.wav"], "a"),
        ("in/?.mp4", ["in/a.mp4"], "a"),
        ("*/x.d?t", [], None),
        ("in/*.dat", ["in/x.dat"], "x"),
        ("[c].mp4", ["c.mp4"], "c"),
        ("in/b[1].mp4", ["in/b[1].mp4"], "b[1]"),
    ],
)
def test_patterns(tree, pattern, wanted, stem):
    found = look(pattern)
    if not wanted:
        (source,) = found.sources
        assert source.error == f"no media files match {pattern}: check the pattern"
        return
    assert paths(found) == wanted
    assert names(found)[0] == stem


def test_a_pattern_from_the_root(tree):
    assert paths(look(f"{tree}/i*/*.mp4")) == [f"{tree.as_posix()}/in/a.mp4", f"{tree.as_posix()}/in/b[1].mp4"]


def test_a_path_object_is_no_pattern_and_no_list(tree):
    assert [s.error for s in look(Path("in/*.mp4"), Path("@list")).sources] == [
        "there is no file in/*.mp4: check the name",
        "there is no file @list: check the name",
    ]


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_each_file_once_by_whatever_way(tree):
    (tree / "link").symlink_to("in")
    found = look("in/a.mp4", "./in/../in/a.mp4", tree / "in" / "a.mp4", "link", "in", "in/*.mp4")
    assert paths(found) == ["in/a.mp4", "link/b[1].mp4", "link/deep/a.wav"]


def test_what_is_not_there_costs_only_itself(tree):
    found = look("none.mp4", "c.mp4", "", "in/notes.txt")
    assert [source.error is None for source in found.sources] == [False, True, False, True]
    assert found.sources[0].error == "there is no file none.mp4: check the name"


def test_sizes(tree):
    (tree / "c.mp4").write_bytes(b"12345")
    assert look("c.mp4").sources[0].size == 5


def test_nothing_at_all(tree):
    (tree / "list").write_text("\n# nothing\n")
    with pytest.raises(ConfigError, match="no files are named"):
        look("@list")


# Lists


def test_a_list_is_relative_to_its_folder(tree):
    (tree / "in" / "list.txt").write_text("# mine\r\na.mp4\r\n\r\ndeep\r\n../c.mp4\r\n", newline="")
    found = look("@in/list.txt")
    assert [os.path.normpath(path) for path in paths(found)] == ["in/a.mp4", "in/deep/a.wav", "c.mp4"]
    assert names(found) == ["a", "deep/a", "c"]
    assert look(list_file="in/list.txt") == found


def test_a_list_from_standard_input(tree, monkeypatch):
    stdin(monkeypatch, b"\xef\xbb\xbfin/a.mp4\nc.mp4")
    assert names(look(list_file="-")) == ["in/a", "c"]


@pytest.mark.skipif(sys.platform != "linux", reason="such names are not possible")
def test_zero_bytes_part_names_that_hold_anything(tree, monkeypatch):
    odd = os.fsdecode(b"# a\nb\xe9.mp4")
    (tree / odd).touch()
    stdin(monkeypatch, os.fsencode(odd) + b"\0c.mp4\0")
    assert paths(look(list_file="-")) == [odd, "c.mp4"]


def test_a_file_may_look_like_a_list(tree):
    (tree / "@a.mp4").touch()
    assert paths(look("@a.mp4")) == ["@a.mp4"]


@pytest.mark.parametrize("kind", ["list_file", "manifest"])
def test_a_list_that_cannot_be_read(tree, kind):
    with pytest.raises(ConfigError, match=r"none\.txt: the (list|manifest) cannot be read \(No such file"):
        look(**{kind: "none.txt"})


# Manifests


def manifest(tree: Path, text: str) -> Found:
    (tree / "in" / "m.csv").write_text(text, encoding="utf-8")
    return look(manifest="in/m.csv")


def test_a_manifest(tree):
    found = manifest(
        tree,
        "path,window,modality,output,who,label\n"
        'a.mp4,2.5,audio,res/one.json,"Anna, B.",sad\n'
        "deep,,,,,\n"
        "\n"
        "../c.mp4\n",
    )
    assert found.columns == ("who", "label")
    one, two, three = found.sources
    assert one == Source(
        "in/a.mp4", Options(modality="audio", window=2.5), "res/one.json", extra=("Anna, B.", "sad")
    )
    assert two == Source("in/deep/a.wav", Options(), "deep/a", extra=("", ""))
    assert (three.stem, three.options) == ("c", Options())


def test_one_file_with_two_settings_is_two(tree):
    found = manifest(tree, "path;window\na.mp4;1\na.mp4;2\na.mp4;1.0\n")
    assert [source.options.window for source in found.sources] == [1.0, 2.0]
    assert names(found) == ["a.mp4", "a.mp4-2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "m.csv: has no column 'path'"),
        ("file\na.mp4\n", "m.csv: has no column 'path'"),
        ("path,path\na.mp4,\n", "m.csv: has two columns 'path'"),
        ("path,window\na.mp4,long\n", "m.csv, line 2: window is 'long'; Input should be a valid number"),
        ("path,window\na.mp4,1\na.mp4,0\n", "m.csv, line 3: window (0 s) and hop (1 s) must be above zero"),
        ("path,modality\na.mp4,smell\n", "m.csv, line 2: unknown modality 'smell'"),
        ("path,output\na.mp4,../b\n", "m.csv, line 2: output '../b' is no name below the output folder"),
        ("path,output\na.mp4,/b\n", "m.csv, line 2: output '/b' is no name below the output folder"),
        ("path,who\na.mp4,b,c\n", "m.csv, line 2: has more cells than the first line"),
        ("path,who\n,b\n", "m.csv, line 2: names no path"),
        ('path,who\na.mp4,"b"c\n', "m.csv, line 2: is no CSV"),
    ],
)
def test_manifests_that_make_no_sense(tree, text, said):
    with pytest.raises(ConfigError) as caught:
        manifest(tree, text)
    assert said in str(caught.value)


# Names of results


def named(*wanted: str, reserved: tuple[str, ...] = ()) -> list[str]:
    return list(stems([os.path.splitext(path) for path in wanted], reserved))  # noqa: PTH122


def test_same_stem_with_other_suffixes():
    assert named("x/a.mp4", "x/a.wav") == ["x/a.mp4", "x/a.wav"]


def test_same_name_in_two_places():
    assert named("a.mp4", "a.mp4", "b.mp4", "b.v2.mov") == ["a.mp4", "a.mp4-2", "b", "b.v2"]


def test_names_that_differ_in_case_or_coding_only():
    for one, other in (("a.mp4", "A.mp4"), ("\u00e9.mp4", "e\u0301.mp4")):
        assert named(one, other) == [one, f"{other}-2"]


def test_reserved_names():
    assert named("summary.mp4", "x/summary.mp4", reserved=("summary",)) == ["summary-2", "x/summary"]


def test_long_names_leave_room_for_suffixes():
    found = named("x/" + "é" * 125 + ".mp4", "x/" + "é" * 124 + "e.mp4")
    assert len({*found}) == 2
    assert all(len(os.fsencode(Path(name).name)) <= LONGEST_NAME for name in found)


PARTS = st.sampled_from(["a", "A", "b", "a.mp4", "a.mp4-2", "a-2"])
SUFFIXES = st.sampled_from([".mp4", ".MP4", ".wav", ""])
FOLDERS = st.sampled_from(["", "x/", "X/", "x/y/"])


@given(st.lists(st.tuples(st.builds("{}{}".format, FOLDERS, PARTS), SUFFIXES), max_size=12))
def test_no_two_results_share_a_name(wanted):
    found = list(stems(wanted))
    assert len({stem.casefold() for stem in found}) == len(wanted)
    for (stem, _), final in zip(wanted, found, strict=True):
        assert final.startswith(stem)


def test_very_many_files(tree, monkeypatch):
    """All of one name, which is the worst case."""
    count = 20_000
    stdin(monkeypatch, b"".join(b"/nowhere/%d/video.mp4\n" % n for n in range(count)))
    tracemalloc.start()
    began = time.process_time()
    found = look(list_file="-")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.sources) == count
    assert kept / count < 600  # bytes a file
    assert time.process_time() - began < 30
    assert len(set(stems([("video", ".mp4")] * count))) == count
