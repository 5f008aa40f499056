"""The commands `avser models …`."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="List the shipped models; fetch the face networks that newer versions of mediapipe lack.")


@app.callback(invoke_without_command=True)
def models(ctx: typer.Context) -> None:
    """List the shipped models; fetch the face networks that newer versions of mediapipe lack."""
    if ctx.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models() -> None:
    """List the shipped models, and say where the face networks come from."""
    from avser import console
    from avser.faces import networks

    console.print_models()
    typer.echo(f"face networks: {networks.described()}")


@app.command()
def fetch(what: Annotated[str, typer.Argument(help="face: the networks that find faces.")]) -> None:
    """Fetch files that a newer mediapipe needs and does not bring, from where Google publishes them.

    They go into the folder that AVSER_FACE_MODELS names, else into the user's cache; what is there already stays.
    """
    from avser.faces import model_files

    if what not in model_files.FETCHABLE:
        raise typer.BadParameter(f"{what!r} is not known: choose from {', '.join(model_files.FETCHABLE)}")
    model_files.fetch(model_files.FETCHABLE[what], typer.echo)
