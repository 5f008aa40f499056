"""What a report shows, in order, and how it is written: as Markdown, and as one HTML page with its pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """A title of level 1 to 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Words:
    """A paragraph, or points of a list."""

    text: str = ""
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Grid:
    """A table; its first column is names, the others figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG in the folder of the report."""

    file: str
    caption: str


Block = Heading | Words | Grid | Picture


def to_markdown(blocks: Sequence[Block]) -> str:
    """Blocks as Markdown, pictures by the names of their files."""
    return "\n\n".join(_MARKDOWN[type(block)](block) for block in blocks) + "\n"


def _markdown_grid(grid: Grid) -> str:
    lines = [grid.header, ["---", *["---:"] * (len(grid.header) - 1)], *grid.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


_MARKDOWN = {
    Heading: lambda block: f"{'#' * block.level} {block.text}",
    Words: lambda block: block.text or "\n".join(f"- {point}" for point in block.points),
    Grid: _markdown_grid,
    Picture: lambda block: f"![{block.caption}]({block.file})\n\n*{block.caption}*",
}

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { margin-top: 2.5rem; font-size: 1.3rem; }
h3 { font-size: 1.05rem; }
h1, h2, h3 { overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; } figcaption { color: #555; font-size: .9rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
p, li { overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) {
  body, th:first-child, td:first-child { color: #e6e6e6; background: #16181c; }
  figcaption { color: #aaa; } th, td { border-color: #3a3d44; }
}
"""


def to_page(blocks: Sequence[Block], folder: Path, title: str) -> str:
    """Blocks as one HTML page; nothing of it comes from elsewhere.

    Args:
        folder: where the pictures lie.
    """
    body = "\n".join(_html(block, folder) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Words):
        if block.text:
            return f"<p>{html.escape(block.text)}</p>"
        return "<ul>" + "".join(f"<li>{html.escape(point)}</li>" for point in block.points) + "</ul>"
    if isinstance(block, Picture):
        code = base64.b64encode((folder / block.file).read_bytes()).decode("ascii")
        caption = html.escape(block.caption)
        image = f'<img src="data:image/png;base64,{code}" alt="{caption}" loading="lazy">'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
    rows = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in block.rows]
    header = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.header)
    return f'<div class="wide"><table><thead><tr>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def number(value: float | None, digits: int = 3) -> str:
    """A figure as text; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def span(values: Sequence[float | None], signed: bool = False) -> str:
    """A figure with its interval, (figure, low, high)."""
    if values[0] is None:
        return "–"
    sign = "+" if signed else ""
    value, low, high = (f"{x:{sign}.3f}" for x in values)
    return f"{value} ({low} to {high})"


def level_text(level: Mapping) -> str:
    """A level of degradation as text."""
    return f"{level['level']:g}" if isinstance(level["level"], float) else str(level["level"])
