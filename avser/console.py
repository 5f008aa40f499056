"""What the command line shows of results and models."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avser import checkpoint
from avser.palette import colour
from avser.results import Prediction, Result


def print_result(result: Result, out: Console) -> None:
    """A readable table: time, emotion, confidence, what the voice says, what the face says."""
    out.print(Text(str(result.path), style="italic"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")  # fits into 80 columns
    table.add_column("time (s)", justify="right", no_wrap=True)
    table.add_column("emotion", no_wrap=True)
    table.add_column("confidence", justify="right", no_wrap=True)
    table.add_column("voice says")
    table.add_column("face says")
    for p in result.predictions:
        table.add_row(*_cells(result.labels, p))
    if len(result.predictions) > 1:
        table.add_section()
        table.add_row(*_cells(result.labels, result.overall, "whole file"))
    out.print(table)


def _cells(labels: Sequence[str], p: Prediction, time: str | None = None) -> list[Text]:
    said = [_said(labels, p, name) for name in ("audio", "face")]
    time = time or f"{p.start:.1f} – {p.end:.1f}"
    if p.label is None:
        return [Text(time), Text("–"), Text(""), Text(p.reason or "", style="dim"), Text("")]
    return [
        Text(time),
        Text(p.label, style=f"bold {colour(p.label).terminal}"),
        Text(f"{p.confidence:.0%}"),
        *said,
    ]


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
