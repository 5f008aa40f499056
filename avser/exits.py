"""How the program ends: its exit codes, and what Ctrl-C says."""

from __future__ import annotations

from typing import Any

import typer
import typer.core

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit codes: some file failed; the request makes no sense; Ctrl-C."""

UsageError: Any = typer.BadParameter.__base__


class Commands(typer.core.TyperGroup):
    """Says what Ctrl-C stopped, where typer, by its version, ends in silence or with another exit code."""

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            typer.echo(f"avser: {str(stop) or 'interrupted'}", err=True)
            raise typer.Exit(INTERRUPTED) from None
