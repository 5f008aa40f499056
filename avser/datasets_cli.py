"""The commands `avser datasets …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avser.exits import FAILED

app = typer.Typer(help="List the corpora; check a folder against one, or unpack its archives.")


@app.callback(invoke_without_command=True)
def corpora(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known as JSON.")] = False,
) -> None:
    """List the corpora with their pages, terms, sizes and layouts; check a folder, or unpack archives."""
    if ctx.invoked_subcommand is None:
        from avser.corpora import reports

        reports.print_corpora(as_json)


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="Folder of a corpus, or its table.")],
    corpus: Annotated[str | None, typer.Option(help="Name of its reader; by default found out.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Decode sound and films, not only headers.")] = False,
    labels: Annotated[str, typer.Option(help="Label set in which labels are to have a place.")] = "basic7",
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is found as JSON.")] = False,
) -> None:
    """Say what a folder lacks of a corpus, what is damaged or twice there; exit code 1 if anything is wrong."""
    from avser.corpora import reports

    if not reports.check(root, corpus, deep, labels, as_json):
        raise typer.Exit(FAILED)


@app.command()
def extract(
    archives: Annotated[list[Path], typer.Argument(metavar="ZIP…", help="Zip files of RAVDESS, as downloaded.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the corpus.")],
    audio: Annotated[bool, typer.Option("--audio", help="Also write the sound of videos, as mono WAV.")] = False,
    rate: Annotated[int, typer.Option(help="Samples a second of that sound.")] = 16000,
    workers: Annotated[int, typer.Option(help="Files at a time; 0: one a core.")] = 0,
) -> None:
    """Unpack RAVDESS, several files at a time; run again, it goes on where it was interrupted."""
    from avser.corpora import reports

    if not reports.extract(archives, output, rate if audio else None, workers):
        raise typer.Exit(FAILED)
