"""Where the files of the face networks lie, and how they come: from a server of this machine, here."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import importlib.metadata
import threading

import pytest

from avser.errors import ModelError
from avser.faces import model_files
from avser.faces.model_files import FACE, FETCHABLE, SHORT_RANGE_FILE, ModelFile, fetch, find, folder, needed
from avser.files import cache_folder

CONTENT = b"a network" * 100


@pytest.fixture
def places(monkeypatch, tmp_path):
    """The folder of the files."""
    monkeypatch.setenv("AVSER_FACE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> ModelFile:
    """A file that a server publishes."""
    root = tmp_path_factory.mktemp("www")
    (root / "net.tflite").write_bytes(CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/net.tflite"
    yield ModelFile("net.tflite", address, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_comes_once(served, places):
    said = []
    assert find(served) is None
    (path,) = fetch([served], said.append)
    assert path == places / "net.tflite" == find(served) == needed(served)
    assert path.read_bytes() == CONTENT
    fetch([served], said.append)
    assert said == [f"fetched: {path}", f"is there: {path}"]
    assert list(places.iterdir()) == [path]


def test_a_damaged_file_is_replaced(served, places):
    places.mkdir()
    (places / "net.tflite").write_bytes(CONTENT[:-1])
    fetch([served])
    assert (places / "net.tflite").read_bytes() == CONTENT


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"size": 7}])
def test_another_file_is_refused_and_not_kept(served, places, change):
    with pytest.raises(ModelError, match=r"another file .* get it by hand from http://127\.0\.0\.1") as error:
        fetch([dataclasses.replace(served, **change)])
    assert str(places / "net.tflite") in str(error.value)
    assert not places.exists()


@pytest.mark.parametrize("address", ["{}.gone", "http://127.0.0.1:1/net.tflite"])
def test_what_cannot_be_had_says_where_to_put_it_by_hand(served, places, address):
    file = dataclasses.replace(served, address=address.format(served.address))
    with pytest.raises(ModelError) as error:
        fetch([file])
    assert str(places / "net.tflite") in str(error.value)
    assert f"get it by hand from {file.address} and put it there" in str(error.value)
    assert not places.exists()


def test_a_folder_that_cannot_be_written(served, places):
    places.write_text("a file")
    with pytest.raises(ModelError, match=r"cannot be (written|fetched)"):
        fetch([served])


def test_the_folder_is_named_or_in_the_cache(places, monkeypatch):
    assert folder() == places
    monkeypatch.setenv("AVSER_FACE_MODELS", "~/models")
    assert folder().is_absolute()
    monkeypatch.setenv("AVSER_FACE_MODELS", "")
    assert folder() == cache_folder() / "face_models"
    monkeypatch.delenv("AVSER_FACE_MODELS")
    assert folder() == cache_folder() / "face_models"


def test_a_missing_file_is_named_with_what_to_do(places):
    with pytest.raises(ModelError) as error:
        needed(SHORT_RANGE_FILE)
    version = importlib.metadata.version("mediapipe")
    for said in (version, str(places / SHORT_RANGE_FILE.name), "avser models fetch face", "AVSER_FACE_MODELS"):
        assert said in str(error.value)


def test_what_is_fetched_is_pinned():
    for file in FACE:
        assert file.address.startswith("https://storage.googleapis.com/mediapipe-")
        assert len(file.digest) == 64
        assert int(file.digest, 16)
    assert len({file.name for file in FACE}) == len(FACE)
    assert FETCHABLE["face"] == FACE


def test_models_fetch(avser_command, served, places, monkeypatch):
    monkeypatch.setitem(model_files.FETCHABLE, "face", (served,))
    done = avser_command("models", "fetch", "face")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"fetched: {places / 'net.tflite'}\n"
    monkeypatch.setitem(model_files.FETCHABLE, "face", (dataclasses.replace(served, size=1, name="b"),))
    done = avser_command("models", "fetch", "face")
    assert done.code == 2
    assert "another file" in done.complaint
    assert avser_command("models", "fetch", "voice").code == 2


def test_models_list_says_where_the_face_networks_are(avser_command):
    done, alone = avser_command("models", "list"), avser_command("models")
    assert (done.code, done.err) == (0, "")
    assert done.out == alone.out
    assert f"mediapipe {importlib.metadata.version('mediapipe')}" in done.out
