"""What the command line shows of results and models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avser import checkpoint
from avser.palette import colour
from avser.results import Prediction, Result
from avser.wording import clock

MOST_ROWS = 200
"""Windows that are printed; of a longer file the rest is counted."""

MARKS = "¹²³⁴⁵⁶⁷⁸⁹"
"""For notes below a table; further ones share a star."""


def print_result(result: Result, out: Console) -> None:
    """A readable table: time, person where there are several, emotion, confidence, what voice and face say.

    The file as a whole comes last, and each person before it where there are several; below the table stand notes,
    and how much of the file is speech. It fits into 80 columns.
    """
    out.print(Text(str(result.path), style="italic"), soft_wrap=True)
    several = len({p.person for p in result.predictions} | {p.person for p in result.people}) > 1
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("time (s)", justify="right", no_wrap=True)
    if several:
        table.add_column("who", justify="right", no_wrap=True)
    table.add_column("emotion", no_wrap=True)
    table.add_column("" if several else "confidence", justify="right", no_wrap=True)
    table.add_column("voice says")
    table.add_column("face says")
    shown = result.predictions[:MOST_ROWS]
    overall = [result.overall] if len(result.predictions) > 1 else []
    if len(result.people) > 1:
        overall = [*(p.overall for p in result.people), *overall]
    notes = list(dict.fromkeys(p.note for p in (*shown, *overall) if p.note))
    for p in shown:
        table.add_row(*_cells(result.labels, p, f"{p.start:.1f} – {p.end:.1f}", several, notes))
    table.add_section()
    for p in overall:
        time = "whole file" if p is result.overall else "all windows"
        table.add_row(*_cells(result.labels, p, time, several, notes))
    out.print(table)
    for line in (*_below(result, len(shown)), *(f"{_mark(note, notes)} {note}" for note in notes)):
        out.print(Text(line, style="dim"))


def _below(result: Result, shown: int) -> Iterator[str]:
    """What stands below the table."""
    if shown < len(result.predictions):
        yield f"… and {len(result.predictions) - shown} more rows; -o writes them all"
    if result.speech:
        seconds = sum(end - start for start, end in result.speech)
        yield f"speech: {clock(seconds)} of {clock(result.overall.end)}"
    elif result.speech is not None:
        yield "speech: none"


def _cells(labels: Sequence[str], p: Prediction, time: str, several: bool, notes: Sequence[str]) -> list[Text]:
    """A row; where avser abstains, the reason stands in place of what the modalities say."""
    ahead = [Text(time)]
    if several:
        ahead.append(Text("" if p.person is None else str(p.person + 1)))
    if p.label is None:
        return [*ahead, Text("–"), Text(""), Text(p.reason or "", style="dim"), Text("")]
    name = Text(p.label, style=f"bold {colour(p.label).terminal}")
    if p.note:
        name.append(_mark(p.note, notes), style="not bold dim")
    return [*ahead, name, Text(f"{p.confidence:.0%}"), *(_said(labels, p, of) for of in ("audio", "face"))]


def _mark(note: str, notes: Sequence[str]) -> str:
    place = notes.index(note)
    return MARKS[place] if place < len(MARKS) else "*"


def _said(labels: Sequence[str], p: Prediction, name: str) -> Text:
    """The likeliest emotion of one modality and its weight, or a dash."""
    if name not in p.modalities:
        return Text("–", style="dim")
    probs = p.modalities[name]
    best = int(np.argmax(probs))
    text = Text(f"{labels[best]} {probs[best]:.0%}", style=colour(labels[best]).terminal)
    return text.append(f" ×{p.weights[name]:.2f}", style="dim")


def print_models() -> None:
    """Name, kind and labels of each shipped model."""
    out = Console()
    table = Table("model", "kind", "emotions", "licence", "size")
    for name, path in checkpoint.known_models().items():
        header = checkpoint.read_header(path)
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        table.add_row(name, header["kind"], ", ".join(header["labels"]), header.get("licence", ""), size)
    out.print(table)


def print_model(name: str) -> None:
    """What a model file says of itself."""
    path = checkpoint.find_model(name)
    header = checkpoint.read_header(path)
    out = Console()
    out.print(
        Text(f"{header.get('name', path.stem)} {header.get('version', '')}  ({header['kind']})", style="bold")
    )
    for key in ("description", "licence", "protocol"):
        if header.get(key):
            out.print(Text(f"{key}: {header[key]}"), soft_wrap=True)
    out.print(Text(f"emotions: {', '.join(header['labels'])}"))
    for branch, meta in header.get("branches", {header["kind"]: header}).items():
        config = meta["config"]
        out.print(
            Text(f"{branch}: {config['network']['name']} on {', '.join(meta['corpora'])}; {meta['protocol']}"),
            soft_wrap=True,
        )
    if held := header.get("held_out"):
        out.print(Text(f"held out: {json.dumps(held)}"), soft_wrap=True)
    table = Table("measured", "n", "UAR", "accuracy", "ECE")
    for what, figures in header.get("metrics", {}).items():
        cells = (_with_interval(figures, key) for key in ("uar", "accuracy"))
        table.add_row(what, str(figures["n"]), *cells, f"{figures['ece']:.3f}")
    out.print(table)
    card = path.with_suffix(".md")
    if card.exists():
        out.print(Text(f"model card: {card}"), soft_wrap=True)


def _with_interval(figures: dict, key: str) -> str:
    low, high = figures[f"{key}_interval"]
    return f"{figures[key]:.3f} ({low:.3f} to {high:.3f})"


def set_threads(threads: int) -> None:
    """Limit torch to so many CPU threads; 0 leaves its choice."""
    import torch

    if threads > 0:
        torch.set_num_threads(threads)
