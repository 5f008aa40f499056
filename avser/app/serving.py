"""Running the server from beginning to end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from avser import checkpoint
from avser.app.api import build
from avser.app.jobs import Desk
from avser.app.settings import Settings
from avser.app.view import model_facts
from avser.errors import AvserError, ConfigError
from avser.scratch import temporary_folder

FOLDER = "avser-app-"
"""Beginning of the name of the temporary folder that holds recordings."""
GRACE = 3
"""How long requests under way may go on after Ctrl-C, s."""


def run(settings: Settings) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ModelError: a model cannot be used.
        AvserError: the address cannot be listened at.
    """
    signal.signal(signal.SIGTERM, _leave)  # the server ends in order and raises it again
    models = find_models(settings.models)
    facts = {name: model_facts(name, path) for name, path in models.items()}
    with _listening(settings) as listener, temporary_folder(FOLDER) as folder:
        desk = Desk(settings, models, folder)
        try:
            config = uvicorn.Config(
                build(desk, settings, facts),
                log_level="warning",
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=GRACE,
                limit_concurrency=settings.queue * 4 + 100,
            )
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(
                f"avser app: http://{shown}:{port} (Ctrl-C ends it, and deletes what was uploaded)",
                flush=True,
            )
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            desk.close()


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def find_models(names: tuple[str, ...]) -> dict[str, Path]:
    """Paths of models by the names under which they can be chosen: all shipped ones by default.

    Raises:
        ModelError: there is no such model.
        ConfigError: two have one name, or there is none.
    """
    if not names:
        shipped = checkpoint.known_models()
        names = tuple(sorted(shipped, key=lambda name: name != "av-base"))
    found: dict[str, Path] = {}
    for name in names:
        path = checkpoint.find_model(name)
        shown = path.stem
        if found.get(shown, path) != path:
            raise ConfigError(f"{path}: another model is called {shown!r} as well; rename one of the files")
        found[shown] = path
    if not found:
        raise ConfigError("no model is installed: give one by --model")
    return found


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """A socket at the address that was asked for."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listener:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            listener.listen()  # who asks from now on waits until the server is there
        except OSError as error:
            why = error.strerror or error
            raise AvserError(
                f"{settings.host}:{settings.port} cannot be listened at ({why}); choose another --host or --port"
            ) from None
        yield listener
