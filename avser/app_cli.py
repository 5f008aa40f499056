"""The command `avser app`."""

from __future__ import annotations

from typing import Annotated

import typer

from avser.errors import MissingExtraError
from avser.exits import INTERRUPTED

EPILOG = (
    "For programs: [bold]curl -F file=@talk.mp4 -F hop=0.5 http://127.0.0.1:8000/predict[/bold] answers with the "
    "JSON of avser predict; the description by OpenAPI is at /openapi.json."
)


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0: all of this machine's, for anybody who reaches it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.")] = 8000,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="Offer this model, by name or file; repeatable; by default all shipped ones."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Recordings that are worked on at the same time.")] = 1,
    queue: Annotated[int, typer.Option(help="Most recordings that may wait.")] = 20,
    max_upload: Annotated[float, typer.Option(help="Largest upload, MB.")] = 200.0,
    max_minutes: Annotated[float, typer.Option(help="Longest recording.")] = 30.0,
    keep: Annotated[float, typer.Option(help="Minutes after which an upload and its result are deleted.")] = 30.0,
    timeout: Annotated[float, typer.Option(help="Longest time of work on one recording, s.")] = 600.0,
) -> None:
    """Serve a web page to try avser on, and an HTTP interface, until Ctrl-C."""
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"the page needs {error.name}, which is not installed: pip install 'avser[app]'"
        ) from None
    from avser.app import serving
    from avser.app.settings import Settings

    settings = Settings(host, port, tuple(models or ()), workers, queue, max_upload, max_minutes, keep, timeout)
    try:
        serving.run(settings)
    except KeyboardInterrupt:
        typer.echo("avser app has ended; what was uploaded is deleted", err=True)
        raise typer.Exit(INTERRUPTED) from None
