"""What `avser live` prints: a line for each window and person, or JSON lines, and a summary in the end."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from avser.live.session import Live, Moment, Source
from avser.options import Options
from avser.palette import colour
from avser.recognizer import load_model
from avser.results import Prediction, prediction_values
from avser.runtime import plain_products


@dataclass
class Tally:
    """What is left of all moments: counts, and the longest and mean delay (s)."""

    windows: int = 0
    dropped: int = 0
    skipped: int = 0
    longest: float = 0.0
    delays: float = 0.0
    end: float = 0.0
    emotions: Counter[str] = field(default_factory=Counter)

    def add(self, moment: Moment) -> None:
        """Count a moment."""
        self.windows += 1
        self.dropped += moment.dropped
        self.skipped += moment.skipped
        self.longest = max(self.longest, moment.delay)
        self.delays += moment.delay
        self.end = moment.end
        self.emotions.update(p.label for p in moment.predictions if p.label is not None)

    def __str__(self) -> str:
        if not self.windows:
            return "no window was over yet"
        found = self.emotions.total()
        shares = ", ".join(f"{label} {count / found:.0%}" for label, count in self.emotions.most_common())
        return (
            f"{self.end:.1f} s, {self.windows} windows: {shares or 'nothing found'}; "
            f"delay {self.delays / self.windows:.2f} s on average, {self.longest:.2f} s at most; "
            f"{self.dropped} frames dropped, {self.skipped} windows left out"
        )


def run(model: str, source: Source, options: Options, as_json: bool = False, runtime: str = "auto") -> bool:
    """Print what happens until the source is over or Ctrl-C; whether Ctrl-C ended it.

    JSON lines have the keys start, end, delay (all s), dropped, skipped and predictions, which are as in the JSON
    of a file.
    """
    out, err = Console(), Console(stderr=True)
    live = Live(load_model(model, runtime), source, options)
    tally, interrupted = Tally(), False
    try:
        with plain_products, closing(live.run()) as moments:
            for moment in moments:
                tally.add(moment)
                if as_json:
                    print(json.dumps(_values(live.model.labels, moment)), flush=True)
                else:
                    for prediction in moment.predictions:
                        out.print(_line(prediction, moment), soft_wrap=True)
    except KeyboardInterrupt:
        interrupted = True
    err.print(Text(str(tally)), soft_wrap=True)
    return interrupted


def _values(labels: tuple[str, ...], moment: Moment) -> dict:
    return {
        "start": round(moment.start, 3),
        "end": round(moment.end, 3),
        "delay": round(moment.delay, 3),
        "dropped": moment.dropped,
        "skipped": moment.skipped,
        "predictions": [prediction_values(labels, p) for p in moment.predictions],
    }


def _line(p: Prediction, moment: Moment) -> Text:
    line = Text(f"{moment.start:7.1f} – {moment.end:.1f} s  ")
    if p.person is not None:
        line.append(f"person {p.person}  ")
    if p.label is None:
        line.append(f"– ({p.reason})", "dim")
    else:
        line.append(f"{p.label} {p.confidence:.0%}", f"bold {colour(p.label).terminal}")
        for name, probs in p.modalities.items():
            line.append(f"  {name} {probs.max():.0%} ×{p.weights[name]:.2f}", "dim")
    line.append(f"  delay {moment.delay:.2f} s", "dim")
    if moment.dropped or moment.skipped:
        line.append(f"  ({moment.dropped} frames dropped, {moment.skipped} windows left out)", "dim")
    return line
