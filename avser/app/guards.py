"""What stands before the routes: limits on what is received, who may ask, and headers for the browser."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avser.app.errors import Refusal, as_json
from avser.app.settings import STALL, Settings

AROUND = 100_000
"""Bytes of a request besides the file: the borders of its parts and the settings."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cache-Control": "no-store",
}


class Guard:
    """Wraps the application.

    Args:
        app: what is asked if nothing is wrong.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            await as_json(refusal)(scope, receive, send_guarded)
            return
        await self.app(scope, self._limited(receive), send_guarded)

    def _check(self, scope: Scope) -> None:
        """Refuse what is too large by its own word, and what another site's page asks for."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        own = {"localhost", "127.0.0.1", "::1", self.settings.host}
        if self.settings.is_local and _name(f"//{host}") not in own:
            # a name of somebody else's that leads here would make this server part of their site
            raise Refusal(HTTPStatus.BAD_REQUEST, "this server answers to localhost and 127.0.0.1 only")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and origin and urlsplit(origin).netloc != host:
            raise Refusal(HTTPStatus.FORBIDDEN, "pages of other sites must not use this server")
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self.settings.upload_bytes + AROUND:
            raise self._too_large()

    def _limited(self, receive: Receive) -> Receive:
        """Receive no more than the limit, and not for ever."""
        received, more = 0, True

        async def receive_limited() -> Message:
            nonlocal received, more
            if not more:  # what is awaited now is that the client goes away
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), STALL)
            except asyncio.TimeoutError:
                sentence = f"nothing came for {STALL:g} s: send the recording again"
                raise Refusal(HTTPStatus.REQUEST_TIMEOUT, sentence) from None
            received += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
            if received > self.settings.upload_bytes + AROUND:
                raise self._too_large()
            return message

        return receive_limited

    def _too_large(self) -> Refusal:
        limit = f"{self.settings.max_upload:g} MB"
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the recording is larger than {limit}: shorten it")


def _name(address: str) -> str:
    """The host of an address, without its port."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # such as an unclosed bracket
        return ""
