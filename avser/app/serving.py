"""Running the server from beginning to end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from avser import checkpoint
from avser.app.api import build
from avser.app.jobs import Desk
from avser.app.settings import Settings
from avser.app.view import model_facts
from avser.errors import AvserError, ConfigError
from avser.files import is_gone

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
    with _listening(settings) as listener, temporary_folder() as folder:
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


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for recordings that is gone in the end. Those of servers that were killed go as well."""
    for left in Path(tempfile.gettempdir()).glob("avser-app-*-*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"avser-app-{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether a folder belongs to a server of this user's that runs no more."""
    number = re.fullmatch(r"avser-app-(\d+)-.*", folder.name)
    if not number or os.name != "posix" or folder.lstat().st_uid != os.getuid():
        return False
    return is_gone(int(number[1]))
