"""Pieces of picture for the annotated video: text, plates with names, the strip with the bars. RGB, by OpenCV."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from avser.annotated_video.instants import Instants
from avser.faces import opencv
from avser.palette import BRANCHES, colour, ink
from avser.results import Prediction, Result
from avser.wording import percent, person_name

BACKGROUND, TRACK, DIM, WHITE = (24, 24, 24), (58, 58, 58), (160, 160, 160), (255, 255, 255)
GREY = "#999999"
"""Colour of a person for whom avser abstains."""

MODALITIES = ("audio", "face", "fused")
MOST_STRIP = 0.8
"""Greatest height of the strip, as a share of the picture's, unless one row of people needs more."""

_FINER = 4  # text is drawn so many times larger and shrunk, which is smoother than OpenCV's own smoothing


def rgb(hex: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour like #ffdb2e."""
    return int(hex[1:3], 16), int(hex[3:5], 16), int(hex[5:7], 16)


@functools.lru_cache(maxsize=1024)
def _letters(text: str, height: int, bold: bool) -> np.ndarray:
    """Coverage (H, W) uint8 of a line of text whose capitals are `height` px high; the first row is their top."""
    cv2 = opencv()
    size = height * _FINER
    thick = max(1, round(size / (6.5 if bold else 9)))
    scale = (size - thick) / 21  # of these letters, capitals are 21 px high from the middle of a stroke to another
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    shape = (math.ceil(1.45 * height), math.ceil((width + thick) / _FINER) + 1)
    drawn = np.zeros((shape[0] * _FINER, shape[1] * _FINER), np.uint8)
    cv2.putText(
        drawn, text, (thick // 2, size - thick // 2), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA
    )
    return cv2.resize(drawn, shape[::-1], interpolation=cv2.INTER_AREA)


def text_width(text: str, height: int, bold: bool = False) -> int:
    """Width of a line of text, px."""
    return _letters(text, height, bold).shape[1]


def write_text(image: np.ndarray, x: int, y: int, text: str, height: int, tone: Sequence[int], bold=False) -> int:
    """Write a line into a picture, the top of its capitals at `y`; the x where it ends."""
    letters = _letters(text, height, bold)[: image.shape[0] - y, : image.shape[1] - x]
    part = image[y : y + letters.shape[0], x : x + letters.shape[1]]
    share = letters[..., None] / 255
    part[:] = (part * (1 - share) + np.array(tone) * share + 0.5).astype(np.uint8)
    return x + letters.shape[1]


def shortened(text: str, height: int, width: int, bold: bool = False) -> str:
    """A text that is at most so wide, with two dots where some of it is missing."""
    if text_width(text, height, bold) <= width:
        return text
    while text and text_width(f"{text}..", height, bold) > width:
        text = text[:-1]
    return f"{text.rstrip()}.."


def wrapped(text: str, height: int, width: int, most: int) -> list[str]:
    """A text in at most so many lines of at most such a width."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, height) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    kept = lines[:most]
    if len(lines) > most:
        kept[-1] = " ".join(lines[most - 1 :])
    return [shortened(line, height, width) for line in kept]


def answer(prediction: Prediction) -> str:
    """The emotion with its probability, or that there is none."""
    if prediction.confidence is None:
        return "no answer"
    return f"{prediction.label} {percent(prediction.confidence)}"


def hue(prediction: Prediction | None) -> str:
    """The colour of an answer, as hex."""
    return GREY if prediction is None or prediction.label is None else colour(prediction.label).hex


@functools.lru_cache(maxsize=256)
def plate(text: str, hex: str, unit: float) -> np.ndarray:
    """A name plate (H, W, 3) of even size, in a colour."""
    height = round(10 * unit)
    pad = round(3 * unit)
    width = text_width(text, height, True) + 2 * pad
    below = round(4 * unit)  # for the tails of letters
    image = np.full((_even(height + pad + below), _even(width), 3), rgb(hex), np.uint8)
    write_text(image, pad, pad, text, height, rgb(ink(hex)), True)
    return image


class Strip:
    """What stands below the picture: the whole file, and a block of bars for each person in the window.

    Attributes:
        height: of the strip, px, even.

    Args:
        width, height: of the picture above, px.
        unit: size of a pixel of the layout, which is made for pictures of 360 px.
    """

    def __init__(self, result: Result, instants: Instants, width: int, height: int, unit: float) -> None:
        self._labels, self._overall = result.labels, result.overall
        self._width, self._unit = width, unit
        given = {name for p in (*result.predictions, result.overall) for name in p.modalities}
        self._shown = [name for name in MODALITIES if name in given or (name == "fused" and len(given) != 1)]
        self._notes = any(p.note for p in result.predictions)
        self._names = max(text_width(label, self._px(8), True) for label in result.labels) + self._px(5)
        self._head, self._row, self._title = self._px(17), self._px(12), self._px(17)
        extra = self._row * (1 + self._notes)
        self._block = self._title + extra + self._row * len(result.labels) + self._px(6)
        self._everybody = sorted({p.person for p in result.predictions}, key=_voice_last)
        most = max((len(group) for group in instants.groups), default=1)
        across = max(1, width // (self._names + self._px(32) * len(self._shown) + self._px(16)))
        down = max(1, int(MOST_STRIP * height / self._block))
        self._slots = min(most, across * down)
        rows = math.ceil(self._slots / across)
        self._across = math.ceil(self._slots / rows)
        self.height = _even(self._head + rows * self._block)

    def draw(self, group: Sequence[Prediction], speakers: frozenset[int | None]) -> np.ndarray:
        """The strip (H, W, 3) for what is said of everybody; `speakers` are those who speak now."""
        image = np.full((self.height, self._width, 3), BACKGROUND, np.uint8)
        by_person = {p.person: p for p in group}
        people = self._everybody
        if len(people) > self._slots:
            chosen = sorted(by_person, key=lambda person: (person not in speakers, *_voice_last(person)))
            people = sorted(chosen[: self._slots], key=_voice_last)
        self._draw_head(image, len(by_person) - sum(person in by_person for person in people))
        wide = min(self._width // self._across, self._px(300))
        for slot, person in enumerate(people):
            row, column = divmod(slot, self._across)
            y, x = self._head + row * self._block, column * wide
            block = image[y : y + self._block, x + self._px(6) : x + wide - self._px(4)]
            self._draw_block(block, person_name(person), by_person.get(person), person in speakers)
        return image

    def _draw_head(self, image: np.ndarray, left_out: int) -> None:
        size, x, y = self._px(8), self._px(6), self._px(4)
        image[: max(1, self._px(1))] = TRACK
        if left_out:
            more = f"+ {left_out} more"
            write_text(image, self._width - text_width(more, size) - x, y, more, size, DIM)
        x = write_text(image, x, y, "Whole file", size, DIM) + self._px(5)
        said = answer(self._overall) + (f": {self._overall.reason}" if self._overall.reason else "")
        square = image[y : y + size, x : x + size]
        square[:] = rgb(hue(self._overall))
        x += size + self._px(4)
        write_text(
            image, x, y, shortened(said, size, self._width - x - self._px(60) * bool(left_out)), size, WHITE
        )

    def _draw_block(self, block: np.ndarray, name: str, prediction: Prediction | None, speaks: bool) -> None:
        width, size = block.shape[1], self._px(8)
        if prediction is None:
            write_text(block, 0, self._px(3), shortened(name, size, width), size, (96, 96, 96))
            return
        block[self._px(2) : self._px(4) + size, : self._px(3)] = rgb(hue(prediction))
        x = write_text(block, self._px(6), self._px(3), name, size, WHITE, True)
        said = (" speaks  " if speaks else "  ") + answer(prediction)
        write_text(block, x, self._px(3), shortened(said, size, width - x), size, WHITE)
        y = self._title
        if prediction.probs is None:
            size = self._px(8)
            most = (self._block - y) // self._row
            for line in wrapped(prediction.reason or "", size, width, most):
                write_text(block, 0, y, line, size, DIM)
                y += self._row
            return
        y = self._draw_bars(block, prediction, prediction.probs, y)
        if prediction.note:
            write_text(block, 0, y, shortened(prediction.note, self._px(8), width), self._px(8), DIM)

    def _draw_bars(self, block: np.ndarray, prediction: Prediction, fused: np.ndarray, y: int) -> int:
        """A row an emotion, a column a modality, of which absent ones stay empty; the y below."""
        size, gap = self._px(8), self._px(6)
        wide = (block.shape[1] - self._names) // len(self._shown) - gap
        places = [self._names + column * (wide + gap) for column in range(len(self._shown))]
        for name, x in zip(self._shown, places, strict=True):
            head = BRANCHES[name][0]
            weight = prediction.weights.get(name, 1.0)
            if weight < 1 and text_width(f"{head} {percent(weight)}", size) <= wide:
                head = f"{head} {percent(weight)}"
            write_text(block, x, y, shortened(head, size, wide), size, DIM)
        y += self._row
        bars = {**prediction.modalities, "fused": fused}
        for i, label in enumerate(self._labels):
            best = label == prediction.label
            write_text(block, 0, y, label, size, WHITE if best else DIM, best)
            for name, x in zip(self._shown, places, strict=True):
                if name in bars:
                    bar = block[y : y + size, x : x + wide]
                    bar[:] = TRACK
                    bar[:, : round(float(bars[name][i]) * wide)] = rgb(colour(label).hex)
            y += self._row
        return y

    def _px(self, units: float) -> int:
        return round(units * self._unit)


def _voice_last(person: int | None) -> tuple[bool, int]:
    return person is None, person or 0


def _even(size: int) -> int:
    return size + size % 2
