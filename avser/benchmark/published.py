"""Published systems beside what their configs measure here, under their protocol and with people kept apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from avser import checkpoint
from avser.logits import read_logits
from avser.metrics import Report
from avser.types import DataError

MEASURES = ("accuracy", "uar")


@dataclass(frozen=True)
class Measured:
    """A figure of ours: the protocol, the file of logits it is computed from, and the report of it."""

    protocol: str
    file: str
    report: Report


@dataclass(frozen=True)
class Published:
    """One system.

    Attributes:
        system, paper, config: what it is, the paper's title, the config that trains it.
        figure, measure, protocol: what the paper reports, `accuracy` or `uar`, and how it was measured there.
        same: ours under the paper's protocol; None where its data is not at hand or it was not run.
        disjoint: ours with people kept apart; None where it was not run.
        why: the difference explained.
    """

    system: str
    paper: str
    config: str
    figure: float
    measure: str
    protocol: str
    same: Measured | None
    disjoint: Measured | None
    why: str

    def value(self, measured: Measured | None) -> float | None:
        """A figure of ours in the paper's measure."""
        return None if measured is None else getattr(measured.report, self.measure)


def results_folder() -> Path:
    """Where the logits behind the table lie: beside the shipped weights.

    Raises:
        DataError: they are not there.
    """
    for folder in checkpoint.weight_folders():
        if (folder / "results" / "papers" / "published.yaml").is_file():
            return folder / "results" / "papers"
    raise DataError("the results of the published systems are not installed: run this from a checkout")


def read_published(folder: Path | None = None) -> list[Published]:
    """The table, with every figure of ours recomputed from its file of logits.

    Raises:
        DataError: the table or one of its files is damaged or missing.
    """
    folder = folder or results_folder()
    path = folder / "published.yaml"
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [
            Published(
                **{
                    **row,
                    "same": _measured(folder, row.get("same")),
                    "disjoint": _measured(folder, row.get("disjoint")),
                }
            )
            for row in rows
        ]
    except (OSError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is not the table of published systems ({' '.join(str(error).split())})"
        ) from None


def _measured(folder: Path, given: dict | None) -> Measured | None:
    if given is None:
        return None
    return Measured(given["protocol"], given["file"], read_logits(folder / given["file"]).report())


def markdown(rows: list[Published]) -> str:
    """The table as Markdown, as the README shows it."""
    lines = [
        "| system, config | paper | here, its protocol | here, people apart | why they differ |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"{row.system}, `{row.config}`",
            f"{row.figure:.3f} ({row.protocol})",
            *(_cell(row, measured) for measured in (row.same, row.disjoint)),
            row.why,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(row: Published, measured: Measured | None) -> str:
    if measured is None:
        return "–"
    low, high = getattr(measured.report, f"{row.measure}_interval")
    return f"{row.value(measured):.3f} ({low:.3f} to {high:.3f}), {measured.protocol}"
