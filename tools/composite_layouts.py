"""What the composites of `make_composites` show: who is where on the screen, and when.

A layout is a function from names of people and a length in s to a `Plan`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 1280, 720
SHOT = 3.0  # length of a shot in the layouts that cut, s
GAP = 1.5  # length of a black gap, s

Box = tuple[float, float, float, float]
FULL: Box = (0, 0, WIDTH, HEIGHT)
LOWER: Box = (160, 60, WIDTH - 60, HEIGHT - 60)


@dataclass(frozen=True)
class Part:
    """A person's picture on the screen from `start` to `end` (s), moving evenly from one box to another."""

    person: str
    start: float
    end: float
    first: Box
    last: Box

    def box(self, time: float) -> np.ndarray:
        share = (time - self.start) / (self.end - self.start)
        return (1 - share) * np.array(self.first) + share * np.array(self.last)


@dataclass(frozen=True)
class Plan:
    """What a composite shows: parts (later ones in front), hard cuts and black stretches, in s."""

    duration: float
    parts: tuple[Part, ...]
    shots: tuple[float, ...] = ()
    black: tuple[tuple[float, float], ...] = ()


def tile(number: int, tiles: int) -> Box:
    """The box of one of several tiles."""
    columns = {1: 1, 2: 2, 4: 2, 6: 3}[tiles]
    rows = tiles // columns
    width, height = WIDTH / columns, HEIGHT / rows
    x, y = number % columns * width, number // columns * height
    return (x, y, x + width, y + height)


def tiles(count: int) -> Callable[[list[str], float], Plan]:
    def plan(people: list[str], seconds: float) -> Plan:
        shown = people[:count]
        boxes = [tile(i, count) for i in range(count)]
        return Plan(seconds, tuple(Part(p, 0, seconds, b, b) for p, b in zip(shown, boxes, strict=False)))

    return plan


def cuts(people: list[str], seconds: float) -> Plan:
    """One after another, everybody at least twice: a b c … a b c …"""
    count = max(2 * len(people), math.ceil(seconds / SHOT))
    boxes = [FULL if i // len(people) % 2 == 0 else LOWER for i in range(count)]
    parts = [Part(people[i % len(people)], i * SHOT, (i + 1) * SHOT, b, b) for i, b in enumerate(boxes)]
    return Plan(count * SHOT, tuple(parts), tuple(part.start for part in parts[1:]))


def gaps(people: list[str], seconds: float) -> Plan:
    """As `cuts`, with black and silence between any two."""
    count = max(2 * len(people), math.ceil(seconds / (SHOT + GAP)))
    starts = [i * (SHOT + GAP) for i in range(count)]
    parts = [Part(people[i % len(people)], s, s + SHOT, FULL, FULL) for i, s in enumerate(starts)]
    black = [(s + SHOT, s + SHOT + GAP) for s in starts[:-1]]
    shots = sorted([start for start, _ in black] + starts[1:])
    return Plan(starts[-1] + SHOT, tuple(parts), tuple(shots), tuple(black))


def dialogue(people: list[str], seconds: float) -> Plan:
    """Both, then each alone in turn and larger, then both with sides changed: shot and reverse shot."""
    a, b = people[:2]
    left, right = tile(0, 2), tile(1, 2)
    shots = [
        [(a, left), (b, right)],
        [(a, FULL)],
        [(b, FULL)],
        [(a, FULL)],
        [(b, left), (a, right)],
    ]
    parts = [Part(p, i * SHOT, (i + 1) * SHOT, box, box) for i, shot in enumerate(shots) for p, box in shot]
    return Plan(len(shots) * SHOT, tuple(parts), tuple(i * SHOT for i in range(1, len(shots))))


def leave(people: list[str], seconds: float) -> Plan:
    """Two side by side; the second one leaves for a third of the time and comes back to the same place."""
    a, b = people[:2]
    third, left, right = seconds / 3, tile(0, 2), tile(1, 2)
    parts = (
        Part(a, 0, seconds, left, left),
        Part(b, 0, third, right, right),
        Part(b, 2 * third, seconds, right, right),
    )
    return Plan(seconds, parts)


def replace(people: list[str], seconds: float) -> Plan:
    """Four tiles of which two are taken; one leaves, somebody else comes to that place, the first comes back
    elsewhere."""
    a, b, c = people[:3]
    third, boxes = seconds / 3, [tile(i, 4) for i in range(4)]
    parts = (
        Part(a, 0, seconds, boxes[0], boxes[0]),
        Part(b, 0, third, boxes[1], boxes[1]),
        Part(c, third, seconds, boxes[1], boxes[1]),
        Part(b, 2 * third, seconds, boxes[2], boxes[2]),
    )
    return Plan(seconds, parts)


def cross(people: list[str], seconds: float) -> Plan:
    """Two walk past each other, the second one in front."""
    a, b = people[:2]
    left, right = (40, 180, 580, 540), (700, 180, 1240, 540)
    return Plan(seconds, (Part(a, 0, seconds, left, right), Part(b, 0, seconds, right, left)))


def zoom(people: list[str], seconds: float) -> Plan:
    """One comes nearer while the other goes away."""
    a, b = people[:2]
    far, near = (40, 300, 240, 412), (0, 0, 760, 428)
    other_near, other_far = (780, 200, 1280, 481), (1040, 300, 1240, 412)
    return Plan(seconds, (Part(a, 0, seconds, far, near), Part(b, 0, seconds, other_near, other_far)))


LAYOUTS: dict[str, tuple[int, Callable[[list[str], float], Plan]]] = {
    "two": (2, tiles(2)),
    "four": (4, tiles(4)),
    "six": (6, tiles(6)),
    "cuts": (2, cuts),
    "gaps": (2, gaps),
    "dialogue": (2, dialogue),
    "leave": (2, leave),
    "replace": (3, replace),
    "cross": (2, cross),
    "zoom": (2, zoom),
}
"""How many people a layout needs, and how it shows them."""
