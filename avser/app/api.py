"""The HTTP interface: routes, and how each of them is described."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from avser import __version__
from avser import results as values
from avser.app import errors, files, guards, schemas
from avser.app.choices import Choice, revised
from avser.app.errors import Refusal
from avser.app.jobs import Desk, Job
from avser.app.settings import Settings
from avser.app.view import view
from avser.options import Options
from avser.sample import CLIPS, sample_clip
from avser.writers import WRITERS

ABOUT = """Expressed emotions in a video or sound file: from the voice, the face, and both fused.

`POST /predict` takes a file and answers when it is done. `POST /jobs` answers at once; ask `GET /jobs/{id}` how
far it is, and `GET /jobs/{id}/result` for what was found. Errors are JSON with one sentence."""

PAGE = Path(__file__).with_name("page")
REPORT = Path(__file__).parent.parent / "writers"
ASSETS = {path.name: path for path in PAGE.iterdir()} | {
    "timeline.js": REPORT / "page.js",  # the page of `-f html` and this one draw alike
    "timeline.css": REPORT / "page.css",
}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
GLANCE = 0.05
"""How often `POST /predict` looks whether its job is done, s."""

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(WRITERS)]
Asked = Annotated[Options, Depends(schemas.asked)]

_REASONS = {
    400: "The request makes no sense.",
    403: "Another site's page asks.",
    404: "There is no such thing, or it has expired.",
    408: "The upload came to a halt.",
    409: "The job is not done yet.",
    410: "The recording is deleted.",
    413: "The upload is too large.",
    422: "The settings or the file are not as they must be.",
    500: "The worker died, or avser itself failed.",
    501: "The format needs an extra of avser.",
    503: "The queue is full.",
    504: "It took too long.",
    507: "The disk is full.",
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {n: {"model": schemas.Error, "description": _REASONS[n]} for n in sorted({400, *statuses})}


_ABOUT_JOB = _errors(404, 422)
_RECEIVES = _errors(403, 408, 413, 422, 503, 507)
_FAILS = _errors(404, 409, 410, 422, 500, 504)


def build(desk: Desk, settings: Settings, models: Mapping[str, Mapping]) -> guards.Guard:
    """The application.

    Args:
        models: facts on each model by its name (see `avser.app.view.model_facts`), the first by default.
    """
    app = FastAPI(title="avser", version=__version__, description=ABOUT, docs_url=None, redoc_url=None)
    errors.add_handlers(app)
    _add_facts(app, desk, settings, models)
    _add_predict(app, desk, settings, models)
    _add_jobs(app, desk, settings, models)
    _add_results(app, desk, settings, models)
    _add_page(app)
    return guards.Guard(app, settings)


def _add_facts(app: FastAPI, desk: Desk, settings: Settings, models: Mapping[str, Mapping]) -> None:
    @app.get("/health", tags=["server"], response_model=schemas.Health, responses=_errors())
    def health() -> dict:
        """How the server is, and what it takes."""
        limits = {
            "upload_bytes": settings.upload_bytes,
            "seconds": 60 * settings.max_minutes,
            "waiting": settings.queue,
            "keep_minutes": settings.keep,
        }
        return {
            "status": "ok" if desk.ready else "starting",
            "version": __version__,
            "workers": settings.workers,
            "waiting": desk.waiting,
            "limits": limits,
        }

    @app.get("/models", tags=["server"], response_model=list[schemas.Model], responses=_errors())
    def list_models() -> list:
        """Models that can be chosen; the first is taken by default."""
        return list(models.values())

    @app.get("/formats", tags=["server"], response_model=list[schemas.Format], responses=_errors())
    def list_formats() -> list:
        """Formats in which a result can be had."""
        return files.formats()


def _add_predict(app: FastAPI, desk: Desk, settings: Settings, models: Mapping[str, Mapping]) -> None:
    @app.post(
        "/predict",
        tags=["prediction"],
        response_model=schemas.Result,
        responses=_RECEIVES | _errors(500, 504),
    )
    async def predict(
        request: Request, file: UploadFile, options: Asked, model: schemas.NameForm = None
    ) -> Response:
        """Predict on a file and answer when it is done. Nothing is kept."""
        job = await run_in_threadpool(_begin, desk, models, file, model, options)
        try:
            await _wait(request, job, settings.timeout)
            return JSONResponse(_to_dict(job, _result(job)))
        finally:
            desk.drop(job)


def _add_jobs(app: FastAPI, desk: Desk, settings: Settings, models: Mapping[str, Mapping]) -> None:
    state = functools.partial(_state, desk)

    @app.post("/jobs", tags=["jobs"], status_code=202, response_model=schemas.JobState, responses=_RECEIVES)
    def begin(file: UploadFile, options: Asked, model: schemas.NameForm = None) -> dict:
        """Put a file in the queue."""
        return state(_begin(desk, models, file, model, options))

    @app.post(
        "/jobs/{id}/again",
        tags=["jobs"],
        status_code=202,
        response_model=schemas.JobState,
        responses=_errors(403, 404, 410, 422, 503),
    )
    def again(id: str, options: Asked, model: schemas.NameForm = None) -> dict:
        """Put the same recording in the queue once more, with another model or other settings."""
        name = _checked(models, model, options)
        return state(desk.submit(desk.find(id).recording, name, options))

    @app.get("/jobs/{id}", tags=["jobs"], response_model=schemas.JobState, responses=_ABOUT_JOB)
    def look(id: str) -> dict:
        """How far a job is."""
        return state(desk.find(id))

    @app.delete("/jobs/{id}", tags=["jobs"], status_code=204, responses=_ABOUT_JOB | _errors(403))
    def drop(id: str) -> None:
        """Stop a job, and delete its result; the recording goes with the last job on it."""
        desk.drop(desk.find(id))


def _add_results(app: FastAPI, desk: Desk, settings: Settings, models: Mapping[str, Mapping]) -> None:
    def sharpness(job: Job) -> float:
        fusion = models[job.model]["fusion"]
        return fusion["sharpness"] if fusion else 1.0

    def chosen(job: Job, voice: float | None, without: str | None) -> values.Result:
        return revised(_result(job), Choice(voice, without), sharpness(job))

    @app.get("/jobs/{id}/result", tags=["results"], response_model=schemas.Result, responses=_FAILS)
    def result(id: str, voice: schemas.VoiceQuery = None, without: schemas.WithoutQuery = None) -> Response:
        """What was found; fused anew if wanted."""
        job = desk.find(id)
        return JSONResponse(_to_dict(job, chosen(job, voice, without)))

    @app.get("/jobs/{id}/view", tags=["results"], response_model=schemas.View, responses=_FAILS)
    def drawn(id: str) -> Response:
        """What the page draws, with the log-probabilities of both branches."""
        job = desk.find(id)
        return JSONResponse(view(job, _result(job), models[job.model]["fusion"]))

    @app.get(
        "/jobs/{id}/files/{format}",
        tags=["results"],
        response_class=FileResponse,
        responses={200: {"content": {"application/octet-stream": {}}, "description": "The file."}}
        | _FAILS
        | _errors(501, 503),
    )
    def download(
        id: str, format: FormatName, voice: schemas.VoiceQuery = None, without: schemas.WithoutQuery = None
    ) -> Response:
        """A result as a file; fused anew if wanted."""
        job = desk.find(id)
        needs = next(f["needs"] for f in files.formats() if f["name"] == format)
        if needs:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, f"the server cannot write {format}: it lacks {needs}")
        return files.as_file(job, chosen(job, voice, without), format, desk.folder, settings.timeout)


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return FileResponse(PAGE / "index.html", media_type="text/html")

    @app.get("/page/{name}", include_in_schema=False)
    def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return FileResponse(ASSETS[name], media_type=TYPES[ASSETS[name].suffix])

    @app.get("/examples/{name}.mp4", include_in_schema=False)
    def example(name: str) -> Response:
        if name not in CLIPS:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return FileResponse(sample_clip(name), media_type="video/mp4")


def _checked(models: Mapping[str, Mapping], model: str | None, options: Options) -> str:
    """The name of the model that is asked for, if it can do what is wanted."""
    name = model or next(iter(models))
    if name not in models:
        choices = ", ".join(models)
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"unknown model {name!r}: choose from {choices}")
    able = models[name]["modalities"]
    if options.modality not in (None, *able):
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"model {name!r} has no modality {options.modality!r}: choose from {', '.join(able)}",
        )
    return name


def _begin(
    desk: Desk, models: Mapping[str, Mapping], file: UploadFile, model: str | None, options: Options
) -> Job:
    name = _checked(models, model, options)
    return desk.submit(desk.receive(file.file, file.filename), name, options)


async def _wait(request: Request, job: Job, limit: float) -> None:
    """Wait until a job is done, while anybody waits for the answer."""
    deadline = time.monotonic() + limit
    while not job.done.is_set():
        if time.monotonic() > deadline:
            raise Refusal(
                HTTPStatus.GATEWAY_TIMEOUT,
                f"no answer after {limit:g} s: try again, or ask for it as a job",
            )
        if await request.is_disconnected():
            raise Refusal(HTTPStatus.GONE, "the client has gone")
        await asyncio.sleep(GLANCE)


def _state(desk: Desk, job: Job) -> dict:
    answer = job.answer
    failure = answer if answer is not None and answer.result is None else None
    return {
        "id": job.id,
        "state": job.state,
        "name": job.recording.name,
        "model": job.model,
        "position": desk.position(job),
        "second": job.second,
        "duration": job.duration,
        "warnings": job.warnings,
        "error": None if failure is None else failure.error,
        "status": None if failure is None else failure.status,
    }


def _result(job: Job) -> values.Result:
    """The result of a job that is done.

    Raises:
        Refusal: it is not, or it failed.
    """
    if job.answer is None:
        raise Refusal(HTTPStatus.CONFLICT, f"{job.recording.name} is not done yet: ask again in a moment")
    if job.answer.result is None:
        raise Refusal(job.answer.status, job.answer.error or "it failed")
    return job.answer.result


def _to_dict(job: Job, result: values.Result) -> dict:
    return dataclasses.replace(result, path=Path(job.recording.name)).to_dict()
