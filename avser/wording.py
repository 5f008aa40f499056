"""People, shares and times in words, the same wherever avser writes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avser.options import Options


def person_name(person: int | None) -> str:
    """What a person is called; None is a voice without a face.

    >>> person_name(0), person_name(None)
    ('Person 1', 'Voice')
    """
    return "Voice" if person is None else f"Person {person + 1}"


def percent(share: float) -> str:
    """A share from 0 to 1.

    >>> percent(0.816)
    '82 %'
    """
    return f"{100 * share:.0f} %"


def clock(seconds: float) -> str:
    """A time, to the tenth of a second.

    >>> clock(3.04), clock(3599.96)
    ('0:03.0', '1:00:00.0')
    """
    tenths = round(max(0.0, seconds) * 10)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    ahead = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{ahead}:{rest // 10:02d}.{rest % 10}"


def line(text: str) -> str:
    """Text on one line.

    >>> line("two\\n lines")
    'two lines'
    """
    return " ".join(text.split())


def printable(text: str) -> str:
    """Text on one line, with what no screen can show (control characters, bytes that are no text) spelt out.

    >>> printable("caf\\udce9\\x07.mp4")
    'caf\\\\udce9\\\\x07.mp4'
    """
    kept = (c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line(text))
    return "".join(kept)


def likeliest(labels: Sequence[str], probs: np.ndarray) -> str:
    """The most probable emotion of a distribution (C,), and how probable it is."""
    best = int(np.argmax(probs))
    return f"{labels[best]} {percent(float(probs[best]))}"


def settings_words(options: Options) -> str:
    """The settings that decide how fine a timeline is.

    >>> settings_words(Options(smooth=2.0))
    'windows of 3 s, one every 1 s, smoothed over 2 s'
    """
    smoothed = f", smoothed over {options.smooth:g} s" if options.smooth else ""
    return f"windows of {options.window:g} s, one every {options.hop:g} s{smoothed}"
