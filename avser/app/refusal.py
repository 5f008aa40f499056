"""What the server says no to: a status of HTTP and one sentence."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException


class Refusal(HTTPException):
    """An answer other than the one that was asked for.

    Args:
        sentence: what is wrong and what to do.
        wait: seconds after which it may be tried again.
    """

    def __init__(self, status: HTTPStatus | int, sentence: str, wait: int | None = None) -> None:
        headers = None if wait is None else {"Retry-After": str(wait)}
        super().__init__(int(status), " ".join(sentence.split()), headers)

    @property
    def sentence(self) -> str:
        return str(self.detail)
