"""Which of many fingerprints belong to the same media: candidates by an index, then each compared, then joined.

The limits are set by real clips. RAVDESS takes encoded anew at 24 kbit/s, at another level or with a start cut off
keep 82 % of their bits or more, and the sound of their videos 95 % of those of the sound alone; two takes of one
sentence by the same actor agree in 77 % at most. In FER2013 pictures whose pixels correlate by 0.95 or more show
the same photograph; those of different people in CK+, all framed alike, reach 0.93. What moves in two takes of one
actor correlates by 0.62 at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from avser.audit import fingerprints
from avser.audit.fingerprints import Sound

SAME_SOUND = 0.8
"""Share of bits from which two sounds are taken for the same."""
SAME_PICTURE = 0.95
"""Correlation of the pixels from which two pictures are taken for the same."""
SAME_FILM = 0.8
"""Correlation of what moves from which two films are taken for the same."""

HASH_DISTANCE = 24
"""Bits of 144 by which the hashes of two pictures differ at most for their pixels to be compared."""
FILM_CANDIDATE = 0.8
"""Correlation of the mean pictures from which two films are compared frame by frame."""
COMMON = 200
"""A word that occurs more often in the index tells nothing."""
LEAST_VOTES = 2
BLOCK = 1024

Pair = tuple[int, int, float]
"""Two numbers, the smaller one first, and how alike they are."""


def near_sounds(sounds: Sequence[Sound]) -> list[Pair]:
    """Pairs of sounds of which half or more of the shorter one is in the other as well."""
    best: dict[tuple[int, int], float] = defaultdict(float)
    for one, other, offset in _candidates(sounds):
        if best[one, other] < SAME_SOUND:
            likeness = (fingerprints.sound_likeness(sounds[one], sounds[other], offset + by) for by in (0, -1, 1))
            best[one, other] = max(best[one, other], *likeness)
    return [(*pair, score) for pair, score in best.items() if score >= SAME_SOUND]


def _candidates(sounds: Sequence[Sound]) -> Iterable[tuple[int, int, int]]:
    """(i, j, offset) of sounds that share words, but for one bit, more than once at one offset."""
    if not sounds:
        return
    places = [np.flatnonzero(sound.active) for sound in sounds]
    words = np.concatenate([sound.words[place] for sound, place in zip(sounds, places, strict=True)])
    owner = np.repeat(np.arange(len(sounds)), [len(place) for place in places])
    order = np.argsort(words, kind="stable")
    words, owner, place = words[order], owner[order], np.concatenate(places)[order]
    reach = int(place.max(initial=0)) + 1  # offsets lie within ±reach
    found = []
    for flipped in (0, *(1 << bit for bit in range(32))):
        wanted = words ^ np.uint32(flipped)
        first = np.searchsorted(words, wanted, "left")
        counts = np.searchsorted(words, wanted, "right") - first
        counts[counts > COMMON] = 0
        here = np.repeat(np.arange(len(words)), counts)
        there = np.arange(len(here)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        kept = owner[here] < owner[there]  # each pair of words is met from both of its ends
        here, there = here[kept], there[kept]
        pair = owner[here].astype(np.int64) * len(sounds) + owner[there]
        found.append(pair * (2 * reach) + place[here] - place[there] + reach)
    codes, votes = np.unique(np.concatenate(found), return_counts=True)
    chosen = votes >= LEAST_VOTES
    codes, votes = codes[chosen], votes[chosen]
    for code in codes[np.argsort(-votes, kind="stable")].tolist():
        pair, offset = divmod(code, 2 * reach)
        yield (*divmod(pair, len(sounds)), offset - reach)


def near_pictures(pictures: Sequence[np.ndarray]) -> list[Pair]:
    """Pairs of small grey pictures (side, side) that show the same."""
    if not pictures:
        return []
    bits = np.stack([fingerprints.hash_bits(picture) for picture in pictures]).astype(np.float32)
    # the product of two hashes of ±1 is their length less twice the bits that differ
    candidates = _alike(bits, bits.shape[1] - 2 * HASH_DISTANCE)
    scored = ((i, j, fingerprints.correlation(pictures[i], pictures[j])) for i, j in candidates)
    return [pair for pair in scored if pair[2] >= SAME_PICTURE]


def near_films(films: Sequence[np.ndarray]) -> list[Pair]:
    """Pairs of films (N, side, side) of which half or more of the shorter one is in the other as well."""
    if not films:
        return []
    means = np.stack([film.mean(0, dtype=np.float32).ravel() for film in films])
    means -= means.mean(1, keepdims=True)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    scored = ((i, j, fingerprints.film_likeness(films[i], films[j])) for i, j in _alike(means, FILM_CANDIDATE))
    return [pair for pair in scored if pair[2] >= SAME_FILM]


def _alike(vectors: np.ndarray, least: float) -> Iterable[tuple[int, int]]:
    """Numbers of vectors (N, D) whose product is `least` or more, block by block."""
    for start in range(0, len(vectors), BLOCK):
        products = vectors[start : start + BLOCK] @ vectors[start:].T
        here, there = np.nonzero(products >= least)
        kept = there > here
        yield from zip((here[kept] + start).tolist(), (there[kept] + start).tolist(), strict=True)


def join(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups of those among `count` that pairs join, be it by way of others (union-find), each sorted.

    >>> join(5, [(0, 3), (3, 4)])
    [[0, 3, 4]]
    """
    root = list(range(count))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        root[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(count):
        groups[find(i)].append(i)
    return [group for group in groups.values() if len(group) > 1]
