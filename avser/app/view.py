"""What the page needs to draw a result, and to fuse it again with other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from avser import checkpoint
from avser.app.choices import log_probs
from avser.app.jobs import Job
from avser.options import MODALITIES
from avser.results import Result
from avser.wording import settings_words
from avser.writers.lanes import Lane, lanes
from avser.writers.page import media_facts
from avser.writers.page_cards import data_uri
from avser.writers.page_data import Words, join, join_count, lane_data, page_data


def fusion_facts(header: Mapping) -> dict | None:
    """How a model fuses, by its file's header; None for a model of one branch.

    ```
    rule        str
    voice       float|null   share of the voice; null: the rule weighs no branches, or not by one number
    sharpness   float        by which the mean of log-probabilities is multiplied where both are present
    ```
    """
    fusion = header.get("fusion")
    if fusion is None:
        return None
    shares = fusion.get("shares") if fusion["rule"] != "weighted_per_class" else None
    if fusion["rule"] == "mean":
        shares = {"audio": 0.5, "face": 0.5}
    voice = None if shares is None else shares["audio"] / (shares["audio"] + shares["face"])
    return {"rule": fusion["rule"], "voice": voice, "sharpness": float(fusion.get("sharpness", 1.0))}


def model_facts(name: str, path: Path) -> dict:
    """What can be chosen, of one model.

    Raises:
        ModelError: its file is damaged or foreign.
    """
    header = checkpoint.read_header(path)
    kind = header["kind"]
    return {
        "name": name,
        "version": header.get("version", ""),
        "description": header.get("description", ""),
        "licence": header.get("licence", ""),
        "labels": header["labels"],
        "modalities": list(MODALITIES) if kind == "fused" else [kind],
        "fusion": fusion_facts(header),
    }


def view(job: Job, result: Result, fusion: Mapping | None) -> dict:
    """All that the page draws: `page_data`, and

    ```
    name, model       str      of the recording, of the model
    about, settings   str      facts about the recording, and how finely it was looked at
    warnings          [str]    what the reader said of the file
    modality          str      fused | audio | face
    smooth            float    time constant of the smoothing, s
    fusion            {rule, voice, sharpness}|null   see `fusion_facts`
    overall           [LANE]   the whole file, and each person, each with one entry
    faces             {str: str}   addresses of thumbnails, by `face` of a LANE
    ```

    A LANE has besides, with one entry a window:

    ```
    centres   [float]   of the windows, s
    logs      {"audio"|"face": [[float]|null]}   log-probabilities that the branches gave
    ```
    """
    data = page_data(result)
    shown = lanes(result)
    joined = join_count(sum(len(lane.moments) for lane in shown))
    words = Words()
    for word in data["words"]:
        words.number(word)
    whole = [Lane(None, None, [(p.start, p.end, p)], ()) for p in (result.overall,)]
    people = [Lane(p.person, p, [(p.overall.start, p.overall.end, p.overall)], ()) for p in result.people]
    overall = [_lane(lane_data(lane, result, 1, words), lane, 1) for lane in (*whole, *people)]
    overall[0]["name"] = "Everybody together" if len(people) > 1 else "The whole recording"
    overall[0]["title"] = overall[0]["name"]
    for lane in overall:
        lane["speech"] = [None]  # which is told of windows only
    thumbnails = {p.person: p.thumbnail for p in result.people if p.thumbnail is not None}
    return {
        **data,
        "lanes": [_lane(made, lane, joined) for made, lane in zip(data["lanes"], shown, strict=True)],
        "words": list(words.numbers),
        "name": job.recording.name,
        "model": job.model,
        "about": media_facts(result.media),
        "settings": settings_words(result.options),
        "warnings": list(job.warnings),
        "modality": result.modality,
        "smooth": result.options.smooth,
        "fusion": dict(fusion) if fusion and result.modality == "fused" else None,
        "overall": overall,
        "faces": {f"face-{person}": data_uri(image) for person, image in thumbnails.items()},
    }


def _lane(made: dict, lane: Lane, joined: int) -> dict:
    """A lane with what the branches said, unrounded enough to be fused again."""
    windows = [window for *_, window in join(lane.moments, joined)]
    names = [name for name in ("audio", "face") if name in made["probs"]]
    logs = {name: [_rounded(w.modalities.get(name)) for w in windows] for name in names}
    return {**made, "centres": [round((w.start + w.end) / 2, 4) for w in windows], "logs": logs}


def _rounded(probs: np.ndarray | None) -> Sequence[float] | None:
    return None if probs is None else np.round(log_probs(probs), 5).tolist()
