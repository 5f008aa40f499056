"""What the server says no to: a status of HTTP, and JSON with one sentence."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from avser.errors import AvserError


class Refusal(HTTPException):
    """An answer other than the one that was asked for.

    Args:
        sentence: what is wrong and what to do.
        wait: seconds after which it may be tried again.
    """

    def __init__(self, status: HTTPStatus | int, sentence: str, wait: int | None = None) -> None:
        headers = None if wait is None else {"Retry-After": str(wait)}
        super().__init__(int(status), " ".join(sentence.split()), headers)


def as_json(error: HTTPException) -> JSONResponse:
    """A refusal as JSON."""
    sentence = error.detail or HTTPStatus(error.status_code).phrase
    return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)


def add_handlers(app: FastAPI) -> None:
    """Have all errors answered as JSON with one sentence."""

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> JSONResponse:
        return as_json(error)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return as_json(Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}"))

    @app.exception_handler(AvserError)
    def unfit(request: Request, error: AvserError) -> JSONResponse:
        return as_json(Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)))

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> JSONResponse:
        sentence = f"avser itself failed ({type(error).__name__}): please report this with the file"
        return as_json(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, sentence))
