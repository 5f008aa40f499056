"""The colour of each emotion and of each branch, the same everywhere: terminal, plots, report, video."""

from __future__ import annotations

from typing import NamedTuple


class Colour(NamedTuple):
    """`hex` for pictures and pages; `terminal`, a name that the user's terminal gives its own shade."""

    hex: str
    terminal: str


EMOTION_COLOURS: dict[str, Colour] = {
    "neutral": Colour("#656565", "white"),
    "calm": Colour("#50d8ff", "bright_cyan"),
    "happy": Colour("#ffdb2e", "yellow"),
    "sad": Colour("#0661d6", "blue"),
    "angry": Colour("#b84804", "red"),
    "fearful": Colour("#ae8ab0", "magenta"),
    "anxious": Colour("#735e3a", "bright_magenta"),
    "disgust": Colour("#13ba88", "green"),
    "surprised": Colour("#ce9b0d", "cyan"),
    "contempt": Colour("#90f074", "bright_black"),
    "bored": Colour("#745da3", "bright_blue"),
    "excited": Colour("#f0c5d0", "bright_yellow"),
    "frustrated": Colour("#5692e6", "bright_red"),
    "guilt": Colour("#4aaf55", "bright_green"),
}
"""Found by annealing from Okabe and Ito's palette, so that any two can be told apart, and those of one label set
best, with each kind of red-green blindness as simulated by Machado, Oliveira and Fernandes (2009).
"""

OTHER = Colour("#999999", "default")
"""For an emotion that has no colour of its own."""

BRANCHES = {"audio": ("voice", "#0072b2"), "face": ("face", "#e69f00"), "fused": ("fused", "#444444")}
"""What each branch is called, and its colour."""


def colour(emotion: str) -> Colour:
    """The colour of an emotion; grey for one that avser does not know.

    >>> colour("happy").hex, colour("bewildered").terminal
    ('#ffdb2e', 'default')
    """
    return EMOTION_COLOURS.get(emotion, OTHER)


def ink(background: str) -> str:
    """Black or white, whichever can be read better on a colour (by the contrast ratio of WCAG 2).

    >>> ink("#ffdb2e"), ink("#0661d6")
    ('#000000', '#ffffff')
    """
    return "#000000" if luminance(background) > 0.179 else "#ffffff"


def luminance(hex: str) -> float:
    """Relative luminance of a colour, 0 to 1, as WCAG 2 defines it."""
    parts = (int(hex[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
