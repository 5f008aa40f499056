"""The description by OpenAPI is complete, and what the server does is what it says."""

from __future__ import annotations

import contextlib

import hypothesis
import pytest
from conftest import SAMPLE
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

pytest.importorskip("fastapi", reason="needs avser[app]")
pytest.importorskip("httpx", reason="needs httpx")

import httpx
from app_server import finished, serving

FEW = hypothesis.settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
"""Requests of each kind to each route."""


@pytest.fixture(scope="module")
def server(tmp_path_factory, cache_folder, small_models):
    folder = tmp_path_factory.mktemp("server") / "tmp"
    with serving(folder, "--model", small_models.fused, "--max-upload", 1, "--timeout", 20) as running:
        yield running


@pytest.fixture(scope="module")
def description(server) -> dict:
    return httpx.get(f"{server.address}/openapi.json").json()


def operations(description):
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_is_described(description):
    names = [name for name, _ in operations(description)]
    assert {"POST /predict", "GET /health", "GET /models", "POST /jobs", "GET /jobs/{id}"} <= set(names)
    for name, operation in operations(description):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert not [p for p in operation.get("parameters", []) if "title" not in p["schema"]], name


def test_every_answer_has_a_schema(description):
    for name, operation in operations(description):
        for status, answer in operation["responses"].items():
            if status == "204" or "application/octet-stream" in answer.get("content", {}):
                continue
            schema = answer["content"]["application/json"]["schema"]
            assert schema, (name, status)
            if status[0] in "45":
                assert schema == {"$ref": "#/components/schemas/Error"}, (name, status)
    assert "HTTPValidationError" not in description["components"]["schemas"]


def test_every_parameter_is_explained(description):
    for name, body in description["components"]["schemas"].items():
        if name.startswith("Body_"):
            for field, schema in body["properties"].items():
                assert schema.get("description") or field == "file", (name, field)


def test_answers_to_anything_are_as_described(server, description):
    """Requests made from the description by schemathesis, fit and unfit: all answers are as described."""
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
    from schemathesis.specs.openapi import checks

    wanted = [
        schemathesis.checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
        checks.unsupported_method,
    ]
    with httpx.Client(base_url=server.address, timeout=60) as client:
        sent = client.post("/jobs", files={"file": ("x.mp4", SAMPLE.read_bytes())}, data={"hop": 3})
        job = sent.json()["id"]
        assert finished(client, job)["state"] == "done"

        def ask(case, known):
            if isinstance(case.body, dict) and "" in case.body.values():
                return  # an empty field of a form counts as one that is not there
            if known and case.method != "DELETE" and "id" in case.path_parameters:
                case.path_parameters["id"] = job
            case.call_and_validate(base_url=server.address, checks=wanted, timeout=60)

        for found in schemathesis.openapi.from_dict(description).get_all_operations():
            for mode in schemathesis.GenerationMode:
                cases = found.ok().as_strategy(generation_mode=mode)
                known = st.just(mode is mode.POSITIVE)
                with contextlib.suppress(Unsatisfiable):  # nothing can be wrong where nothing is asked for
                    hypothesis.given(cases, known)(FEW(lambda case, known: ask(case, known)))()
        assert client.get("/health").json()["status"] == "ok"
        assert client.get(f"/jobs/{job}/result").status_code == 200
