"""The report's cards: what is expressed over all, by whom, and what voice and face have to do with it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from avser.faces import opencv
from avser.palette import BRANCHES, colour, ink
from avser.results import Person, Prediction, Result
from avser.wording import clock, likeliest, percent, person_name, printable
from avser.writers.lanes import distribution, modalities


def html_text(text: str) -> str:
    """Any text as HTML."""
    return escape(printable(text))


def chip(label: str, words: str) -> str:
    """Words on the colour of an emotion."""
    shade = colour(label).hex
    return f'<span class="name" style="background:{shade};color:{ink(shade)}">{html_text(words)}</span>'


def time_button(time: float) -> str:
    """A time that can be gone to."""
    return f'<button data-t="{time:.3f}" title="go there">{clock(time)}</button>'


def cards(result: Result) -> str:
    """One for everybody together, and one a person."""
    name = "Everybody together" if len(result.people) > 1 else "The whole file"
    everybody = _card(name, result.overall, result, "", "")
    return everybody + "".join(_person(person, result) for person in result.people)


def _person(person: Person, result: Result) -> str:
    picture = ""
    if person.thumbnail is not None:
        picture = (
            f'<img id="face-{person.person}" src="{data_uri(person.thumbnail)}" alt="" width="72" height="72">'
        )
    seconds = sum(end - start for start, end in person.spans)
    stretches = "one stretch" if len(person.spans) == 1 else f"{len(person.spans)} stretches"
    seen = f"<p class=dim>Seen for {clock(seconds)} in {stretches}, from {time_button(person.spans[0][0])}</p>"
    return _card(person_name(person.person), person.overall, result, picture, seen)


def _card(name: str, overall: Prediction, result: Result, picture: str, more: str) -> str:
    said = _emotion(overall)
    rows = {row: probs for row in modalities(result) if (probs := distribution(overall, row)) is not None}
    bars = "".join(
        f"<b>{BRANCHES[row][0]}</b>{_bar(probs, result.labels)}"
        f"<span>{_said(overall, row, probs, result.labels)}</span>"
        for row, probs in rows.items()
    )
    table = _probabilities(rows, result.labels) if rows else ""
    note = f"<p class=dim>{html_text(overall.note)}</p>" if overall.note else ""
    return (
        f'<div class="card"><header>{picture}<div><h3>{name}</h3>{said}</div></header>'
        f'<div class="said">{bars}</div>{note}{more}{table}</div>'
    )


def _emotion(p: Prediction) -> str:
    if p.label is None or p.confidence is None:
        return f"<span>abstains: {html_text(p.reason or 'no reason given')}</span>"
    return chip(p.label, f"{p.label} {percent(p.confidence)}")


def _bar(probs: np.ndarray, labels: Sequence[str]) -> str:
    parts = (
        f'<i style="width:{100 * float(p):.1f}%;background:{colour(label).hex}" '
        f'title="{html_text(label)} {percent(float(p))}"></i>'
        for label, p in zip(labels, probs, strict=True)
    )
    return f'<div class="bar">{"".join(parts)}</div>'


def _said(p: Prediction, row: str, probs: np.ndarray, labels: Sequence[str]) -> str:
    weight = f", weight {percent(p.weights[row])}" if row in p.weights else ""
    return html_text(likeliest(labels, probs) + weight)


def _probabilities(rows: Mapping[str, np.ndarray], labels: Sequence[str]) -> str:
    header = "".join(f'<th class="number">{BRANCHES[row][0]}</th>' for row in rows)
    lines = "".join(
        f"<tr><td>{html_text(label)}</td>"
        + "".join(f'<td class="number">{percent(float(probs[i]))}</td>' for probs in rows.values())
        + "</tr>"
        for i, label in enumerate(labels)
    )
    table = f"<table><thead><tr><th>emotion</th>{header}</tr></thead><tbody>{lines}</tbody></table>"
    return f"<details><summary>Probabilities</summary>{table}</details>"


def data_uri(image: np.ndarray) -> str:
    """A picture (H, W, 3) RGB as the address of a JPEG."""
    cv2 = opencv()
    coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")
