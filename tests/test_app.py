"""The HTTP interface: what it answers, what it refuses and how, and that it leaves nothing behind."""

from __future__ import annotations

import csv
import io
import json
import signal
import sys
from pathlib import Path

import pytest
from conftest import SAMPLE

pytest.importorskip("fastapi", reason="needs avser[app]")
pytest.importorskip("uvicorn", reason="needs avser[app]")
pytest.importorskip("httpx", reason="needs httpx")

from app_server import finished, serving

from avser.app import schemas
from avser.app.jobs import shown_name
from avser.recognizer import load_model
from avser.writers import WRITERS


@pytest.fixture(scope="module")
def server(tmp_path_factory, cache_folder):
    with serving(tmp_path_factory.mktemp("server") / "tmp", "--max-upload", 1, "--max-minutes", 0.5) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with server.client() as asking:
        yield asking


@pytest.fixture(scope="module")
def job(client) -> str:
    """The id of a job on the sample clip that is done."""
    answer = client.post("/jobs", files={"file": ("my talk.mp4", SAMPLE.read_bytes())}, data={"hop": "1.5"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] in ("waiting", "running")
    assert finished(client, answer.json()["id"])["state"] == "done"
    return answer.json()["id"]


def sentence(answer) -> str:
    """The error of an answer, which is JSON with one sentence."""
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert list(said) == ["error"]
    assert said["error"]
    assert "\n" not in said["error"]
    assert "/tmp" not in said["error"]
    return said["error"]


def test_what_there_is(client):
    health = client.get("/health").json()
    assert health["limits"] == {"upload_bytes": 1_000_000, "seconds": 30, "waiting": 20, "keep_minutes": 30}
    models = client.get("/models").json()
    assert models[0]["name"] == "av-base"
    assert 0 < models[0]["fusion"]["voice"] < 1
    assert [f["name"] for f in client.get("/formats").json()] == list(WRITERS)


def test_predict_answers_as_the_library_does(client, server):
    before = server.kept()
    answer = client.post(
        "/predict", files={"file": ("a b.mp4", SAMPLE.read_bytes())}, data={"window": 2, "hop": 2}
    )
    assert answer.status_code == 200, answer.text
    expected = load_model().predict(SAMPLE, window=2.0, hop=2.0).to_dict() | {"file": "a b.mp4"}
    assert answer.json() == json.loads(json.dumps(expected))
    schemas.Result.model_validate(answer.json())
    assert server.kept() == before


@pytest.mark.parametrize("modality", ["audio", "face"])
def test_one_modality(client, modality):
    sent = {"file": ("x.mp4", SAMPLE.read_bytes())}
    answer = client.post("/predict", files=sent, data={"modality": modality, "hop": 3})
    assert {name for p in answer.json()["predictions"] for name in p["modalities"]} == {modality}


def test_every_format_can_be_downloaded(client, job):
    for entry in client.get("/formats").json():
        answer = client.get(f"/jobs/{job}/files/{entry['name']}")
        if not entry["available"]:
            assert answer.status_code == 501
            assert entry["needs"] in sentence(answer)
            continue
        assert answer.status_code == 200, answer.text
        assert f"my%20talk.{entry['name']}" in answer.headers["content-disposition"]
        assert answer.content
    assert client.get(f"/jobs/{job}/files/json").json()["file"] == "my talk.mp4"
    assert 'src="my%20talk.mp4"' in client.get(f"/jobs/{job}/files/html").text


def test_downloads_follow_the_choice(client, job):
    plain = client.get(f"/jobs/{job}/result").json()
    schemas.Result.model_validate(plain)
    other = client.get(f"/jobs/{job}/result", params={"voice": 1}).json()
    assert other["overall"]["weights"] == {"audio": 1, "face": 0}
    assert other["overall"]["probs"] != plain["overall"]["probs"]
    rows = client.get(f"/jobs/{job}/files/csv", params={"without": "audio"}).text
    assert all(not row["audio_neutral"] for row in csv.DictReader(io.StringIO(rows)))
    schemas.View.model_validate(client.get(f"/jobs/{job}/view").json())
    assert client.get(f"/jobs/{job}/result", params={"voice": 2}).status_code == 422


def test_another_model_on_the_same_recording(client, server):
    before = set(server.kept())
    first = client.post("/jobs", files={"file": ("x.mp4", SAMPLE.read_bytes())}, data={"hop": 3}).json()
    recording = set(server.kept()) - before
    again = client.post(f"/jobs/{first['id']}/again", data={"model": "audio-ravdess8", "hop": 3})
    assert again.status_code == 202
    assert finished(client, first["id"])["state"] == "done"
    assert client.delete(f"/jobs/{first['id']}").status_code == 204
    state = finished(client, again.json()["id"])
    assert (state["state"], state["model"]) == ("done", "audio-ravdess8")
    assert client.get(f"/jobs/{state['id']}/result").json()["labels"][1] == "calm"
    assert recording <= set(server.kept())
    assert client.delete(f"/jobs/{state['id']}").status_code == 204
    assert set(server.kept()) == before
    assert client.get(f"/jobs/{state['id']}").status_code == 404


@pytest.mark.parametrize(
    ("name", "content", "status", "words"),
    [
        ("notes.txt", b"only words\n" * 50, 422, "notes.txt is damaged or no media file"),
        ("empty.mp4", b"", 422, "empty.mp4 is empty"),
        ("cut.mp4", SAMPLE.read_bytes()[:20000], 422, "cut.mp4"),
        ("big.mp4", bytes(1_200_000), 413, "larger than 1 MB"),
        ("../../etc/passwd", b"x", 422, "passwd is damaged or no media file"),
        ("a\u202eb\n<i>.mp4", b"x", 422, "is damaged or no media file"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(client, name, content, status, words):
    answer = client.post("/predict", files={"file": (name, content)})
    assert answer.status_code == status
    assert words in sentence(answer)


def test_too_long_a_recording(client, make_media):
    path = make_media("long.ogg", "-f", "lavfi", "-i", "sine=f=300:r=8000:d=40", "-c:a", "flac")
    answer = client.post("/predict", files={"file": ("long.ogg", path.read_bytes())})
    assert answer.status_code == 422
    assert "long.ogg lasts longer than 0.5 min" in sentence(answer)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"window": "0"}, "window"),
        ({"hop": "nan"}, "hop"),
        ({"model": "nothing"}, "unknown model 'nothing': choose from av-base"),
        ({"model": "audio-ravdess8", "modality": "face"}, "no modality 'face'"),
        ({"modality": "smell"}, "modality"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(client, data, words):
    answer = client.post("/predict", files={"file": ("x.mp4", b"x")}, data=data)
    assert answer.status_code == 422
    assert words in sentence(answer)


def test_a_job_that_fails_says_why(client):
    id = client.post("/jobs", files={"file": ("notes.txt", b"words")}).json()["id"]
    state = finished(client, id)
    assert (state["state"], state["status"]) == ("failed", 422)
    assert "no media file" in state["error"]
    assert client.get(f"/jobs/{id}/result").status_code == 422
    client.delete(f"/jobs/{id}")


def test_what_is_not_there(client):
    for path in ("/jobs/x", "/jobs/x/result", "/jobs/x/files/json", "/page/../api.py", "/page/nothing", "/docs"):
        answer = client.get(path)
        assert answer.status_code == 404
        sentence(answer)
    assert client.post("/predict").status_code == 422
    assert client.put("/predict").status_code == 405


def test_headers_against_sniffing_and_framing(client):
    for path in ("/", "/health", "/page/app.js", "/jobs/x"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]


def test_other_sites_cannot_use_it(client):
    answer = client.get("/health", headers={"Host": "example.org"})
    assert answer.status_code == 400
    assert "localhost" in sentence(answer)
    answer = client.post("/jobs", files={"file": ("x", b"x")}, headers={"Origin": "http://example.org"})
    assert answer.status_code == 403
    assert "other sites" in sentence(answer)


def test_upload_of_unknown_length_stops_at_the_limit(client, server):
    before = server.kept()

    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(30):
            yield bytes(100_000)

    answer = client.post("/jobs", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413
    assert "larger than 1 MB" in sentence(answer)
    assert server.kept() == before


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_in_the_end(tmp_path, small_models, how, code):
    with serving(tmp_path / "tmp", "--model", small_models.fused) as server, server.client() as client:
        assert client.get("/models").json()[0]["name"] == "fused"
        client.post("/jobs", files={"file": ("x.mp4", SAMPLE.read_bytes())})
        assert any(path.name == "recording.mp4" for path in server.kept())
        assert server.stop(how) == code
        assert server.kept() == []


def test_many_at_once(server, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "tools")
    import load_test

    figures = load_test.load(server.address, SAMPLE, 3, 4, {"modality": "audio", "hop": "3"})
    assert figures["failures"] == 0
    assert figures["statuses"] == {"200": 4}
    assert set(figures["latency"]) == {"p50", "p90", "p99", "max"}
    sys.modules.pop("load_test")


def test_wrong_use_is_one_sentence(avser_command, server):
    port = server.address.rpartition(":")[2]
    assert "cannot be listened at" in avser_command("app", "--port", port).complaint
    assert "no such model" in avser_command("app", "--model", "nothing").complaint
    assert "keep (0) must be above zero" in avser_command("app", "--keep", "0").complaint
    assert "curl -F file=@talk.mp4" in avser_command("app", "--help").out


@pytest.mark.parametrize("name", ["", "..", ".", "a/b\\..\\", None, "x" * 500 + ".mp4", "a\0b"])
def test_a_name_is_never_a_path(name):
    shown = shown_name(name)
    assert shown
    assert not set(shown) & set("/\\\0\n")
    assert shown.strip(".")
    assert len(shown) < 130
