"""The report: one HTML page with the player, the timeline, people, segments, and what could not be said.

Nothing of it comes from elsewhere but the video itself, which it finds by its place relative to the page.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from avser.palette import colour
from avser.results import Result
from avser.types import MediaInfo
from avser.wording import clock, percent, person_name, settings_words
from avser.writers.lanes import duration, lanes, runs
from avser.writers.page_cards import cards, chip, html_text, time_button
from avser.writers.page_data import join_count, page_data, to_script

MOST_ROWS = 2000
"""Rows of a table; where there are more, the longest stretches are shown."""

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "media-src 'self' file: blob:"
)
"""What the page may load: itself, and a media file from where it lies or as it is picked."""


def write_html(result: Result, path: Path, progress: Callable[[float], None]) -> None:
    """Write the report; the video's address is relative to the folder of `path`."""
    path.write_text(page(result, path.parent), encoding="utf-8")


def page(result: Result, folder: Path) -> str:
    """The report as HTML.

    Args:
        folder: where the page will lie.
    """
    name = html_text(result.path.name)
    body = [
        f"<header><h1>{name}</h1><p class=dim>{html_text(media_facts(result.media))}</p></header>",
        f'<main class="stage"><section class="player">{_player(result, folder)}</section>',
        f'<section class="timeline">{_timeline(result)}</section>',
        '<section class="now"><h2>At this moment</h2><div id="now" class="cards"></div></section></main>',
        f'<h2>Over the whole file</h2><div class="cards">{cards(result)}</div>',
        _segments(result),
        _unsaid(result),
        _speech(result),
        _made(result),
        f'<script type="application/json" id="data">{to_script(page_data(result))}</script>',
        f"<script>{_part('page.js')}</script>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}: expressed emotions</title>\n<style>{_part('page.css')}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


@functools.cache
def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def media_address(path: Path, folder: Path) -> str:
    """Address of a media file for a page in a folder: relative, or absolute where the two share no root."""
    try:
        place = os.path.relpath(path, folder)
    except ValueError:  # on another drive
        return path.absolute().as_uri()
    return quote(os.fsencode(place.replace(os.sep, "/")))


def media_facts(media: MediaInfo) -> str:
    """Length, picture and sound of a file in words."""
    facts = [] if media.duration is None else [clock(media.duration)]
    if media.has_video:
        rate = f", {float(media.fps):.5g} fps" if media.fps else ""
        facts.append(f"{media.width} × {media.height}{rate}, {media.video_codec or 'unknown codec'}")
    if media.has_audio:
        facts.append(f"sound {media.audio_rate} Hz, {media.audio_codec or 'unknown codec'}")
    return " · ".join(facts) or "no facts known"


def _player(result: Result, folder: Path) -> str:
    kind = "video" if result.media.has_video else "audio"
    source = escape(media_address(result.path, folder))
    return (
        f'<{kind} id="media" controls preload="metadata" src="{source}"></{kind}>'
        '<p id="lost" hidden>The browser cannot play the file: it lies elsewhere, or is of a kind that no browser '
        "plays. The timeline works without it.</p>"
        '<details><summary>Play the file from another place</summary><p><input type="file" id="pick" '
        'accept="video/*,audio/*" aria-label="The file to play"></p></details>'
    )


def _timeline(result: Result) -> str:
    legend = "".join(
        f'<li><i style="background:{colour(label).hex}"></i>{html_text(label)}</li>' for label in result.labels
    )
    joined = join_count(len(result.predictions))
    averaged = f" Every {joined} windows are averaged to one." if joined > 1 else ""
    return (
        '<h2>Timeline</h2><div class="tools"><output id="clock">0:00.0</output>'
        '<button id="closer" aria-label="Zoom in">+</button><button id="wider" aria-label="Zoom out">−</button>'
        '<button id="all">All</button></div>'
        '<div id="timeline" tabindex="0" role="slider" aria-label="Time" aria-valuemin="0" '
        f'aria-valuemax="{duration(result):.1f}" aria-valuenow="0"><canvas></canvas><div id="cursor"></div></div>'
        '<input type="range" id="pan" min="0" value="0" hidden aria-label="Part of the timeline that is shown">'
        f'<ul class="legend">{legend}<li><i class="hatch"></i>abstains</li></ul>'
        '<p class="dim">Bands: how probable each emotion is. Rows: the most probable one by modality. Dotted: the '
        f"shot changes.{averaged} Click or drag to go there; keys: arrows, Home, End, space to play, + and − to "
        "zoom."
        "</p><noscript><p>The timeline needs JavaScript; the tables below do not.</p></noscript>"
    )


# Tables


def _segments(result: Result) -> str:
    longest = _longest(result.segments, lambda s: (s.start, s.end))
    lines = "".join(
        f'<tr data-from="{s.start:.3f}" data-to="{s.end:.3f}" data-who="{person_name(s.person)}">'
        f"<td>{time_button(s.start)}</td><td>{clock(s.end)}</td><td>{person_name(s.person)}</td>"
        f'<td>{chip(s.label, s.label)}</td><td class="number">{percent(s.confidence)}</td></tr>'
        for s in longest
    )
    people = list(dict.fromkeys(person_name(s.person) for s in result.segments))
    choice = ""
    if len(people) > 1:
        options = "".join(f"<option>{name}</option>" for name in people)
        choice = (
            f'<p><label>Show <select id="whose"><option value="">everybody</option>{options}</select></label></p>'
        )
    header = '<th>from</th><th>to</th><th>who</th><th>emotion</th><th class="number">mean</th>'
    shown = choice + _wide("segments", header, lines) if lines else "<p>There is none.</p>"
    return "<h2>Stretches of one emotion</h2>" + _cut_short(len(result.segments), "stretches") + shown


def _unsaid(result: Result) -> str:
    """Where avser abstains, and what else is to be known."""
    stretches = []
    for lane in lanes(result):
        for said in (lambda p: p.reason if p.label is None else None, lambda p: p.note):
            stretches += [(start, end, lane.whose, why) for start, end, why in runs(lane.moments, said)]
    longest = _longest(stretches, lambda stretch: stretch[:2])
    lines = "".join(
        f'<tr data-from="{start:.3f}" data-to="{end:.3f}"><td>{time_button(start)}</td><td>{clock(end)}</td>'
        f"<td>{'–' if whose is None else person_name(whose)}</td><td>{html_text(why)}</td></tr>"
        for start, end, whose, why in longest
    )
    shown = _wide("unsaid", "<th>from</th><th>to</th><th>who</th><th>why</th>", lines) if lines else "<p>None.</p>"
    return "<h2>Abstentions and notes</h2>" + _cut_short(len(stretches), "stretches") + shown


def _speech(result: Result) -> str:
    if result.speech is None:
        return "<h2>Speech</h2><p>It was not looked for.</p>"
    total = sum(end - start for start, end in result.speech)
    share = percent(min(1.0, total / duration(result)))
    said = f"<p>{clock(total)} of speech, {share} of the file, in {len(result.speech)} stretches.</p>"
    lines = "".join(
        f'<tr data-from="{start:.3f}" data-to="{end:.3f}"><td>{time_button(start)}</td><td>{clock(end)}</td></tr>'
        for start, end in _longest(result.speech, lambda span: span)
    )
    table = _wide("speech", "<th>from</th><th>to</th>", lines) if lines else ""
    listed = (
        f"<details><summary>All stretches</summary>{_cut_short(len(result.speech), 'stretches')}{table}</details>"
    )
    return f"<h2>Speech</h2>{said}{listed if lines else ''}"


def _longest(rows: Sequence, span: Callable) -> list:
    """The longest rows, as many as a table may have, in order of time."""
    kept = sorted(rows, key=lambda row: span(row)[0] - span(row)[1])[:MOST_ROWS]
    return sorted(kept, key=lambda row: span(row)[0])


def _cut_short(count: int, what: str) -> str:
    if count <= MOST_ROWS:
        return ""
    return f'<p class="dim">The longest {MOST_ROWS} of {count} {what}; the JSON and the tables hold all.</p>'


def _wide(name: str, header: str, lines: str) -> str:
    table = f'<table id="{name}"><thead><tr>{header}</tr></thead><tbody>{lines}</tbody></table>'
    return f'<div class="wide" tabindex="0">{table}</div>'


def _made(result: Result) -> str:
    facts = {
        "model": f"{result.model} {result.model_version}",
        "looked at": {"fused": "voice and face, fused", "audio": "the voice", "face": "the face"}[result.modality],
        "windows": f"{settings_words(result.options)}; {len(result.predictions)} in all",
        "emotions": ", ".join(result.labels),
    }
    return (
        "<h2>How it was made</h2>"
        + _list(facts.items())
        + ('<p class="dim">These are guesses at what a voice and a face express, not at what anybody feels.</p>')
    )


def _list(facts: Iterable[tuple[str, str]]) -> str:
    return (
        "<dl>" + "".join(f"<dt>{html_text(key)}</dt><dd>{html_text(value)}</dd>" for key, value in facts) + "</dl>"
    )
