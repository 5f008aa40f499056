"""Measures where the time of a training goes: an epoch by stage, per clip, and what a whole fold takes of it.

    python tools/bench_training.py audio_ravdess8 face_fer2013 --data-root /data
    python tools/bench_training.py audio_ravdess8 --threads 2 --runs 5 training.precision=bf16 --json speed.json

An epoch is one of `avser train`, on some of the clips of a config's first fold and with all that it does; each is
run again and again. Times are CPU time, of all threads: elapsed time says little where other work is done as well.
The fold is reckoned from the epoch, for all its clips and epochs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from avser.config import Config, find_config, load_config
from avser.members import members
from avser.training import augment, data, devices, fitting, runs, trainer


def stages(config: Config) -> tuple[tuple[str, object, str], ...]:
    """Name of a stage, and the function that it is; what it calls of other stages does not count as its own."""
    optimizers = {**fitting.OPTIMIZERS, "sgd": torch.optim.SGD}
    return (
        ("data", data.ExampleDataset, "__getitem__"),
        ("data", data, "collate"),
        ("features, augmentation", data, "network_inputs"),
        ("features, augmentation", augment, "blend"),
        ("forward, loss", fitting.BranchModule, "training_step"),
        ("backward", torch.Tensor, "backward"),
        ("optimizer", torch.nn.utils, "clip_grad_norm_"),
        ("optimizer", optimizers[config.training.optimizer], "step"),
        ("moving average", fitting.AveragedModel, "update_parameters"),
        (VALIDATION, fitting.BranchModule, "validation_step"),
    )


VALIDATION = "validation"
"""A stage that is one as a whole: what it calls of others is its own."""


class Profile:
    """CPU time in s by stage, while the functions of these are called inside the context; `other` is the rest."""

    def __init__(self, config: Config) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self._stages = stages(config)
        self._running = ["other"]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Profile:
        for stage, owner, name in self._stages:
            function = getattr(owner, name)
            setattr(owner, name, self._timed(stage, function))
            self._stack.callback(setattr, owner, name, function)
        self._last = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._count()
        self._stack.close()

    def _count(self) -> None:
        """Put what has passed down to the stage that runs."""
        now = time.process_time()
        self.cpu[self._running[-1]] += now - self._last
        self._last = now

    def _timed(self, stage: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*args, **kwargs):
            if self._running[-1] == VALIDATION:
                return function(*args, **kwargs)
            self._count()
            self._running.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._count()
                self._running.pop()

        return timed


def measure(config: Config, data_root: Path | None, clips: int, count: int) -> dict:
    """Start and epochs of a config's first fold.

    Args:
        clips: at most so many to train on, and a quarter of that to validate, evenly out of all.
        count: epochs to measure; one more comes before them.

    Returns:
        Times in s, `stages` by name in ms a clip to train on, each a list of all runs.
    """
    before = cpu()
    fold = runs.make_protocol(config, data.scan(config, data_root))[0]
    parts = {part: data.load_examples(config, getattr(fold, part))[0] for part in ("train", "val")}
    start = cpu() - before
    some = {part: evenly(parts[part], most) for part, most in (("train", clips), ("val", clips // 4))}
    training = config.training.model_copy(update={"epochs": 1})
    once = devices.settled(config.model_copy(update={"training": training}))
    share = len(some["train"]) // once.training.batch_size * once.training.batch_size or len(some["train"])
    found = defaultdict(list)
    for turn in range(count + 1):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            module = trainer.make_module(once, some["train"])
            with Profile(once) as profile:
                trainer.run(module, Path(folder), config.name, some)
        if turn:  # the first one warms up
            for stage, seconds in profile.cpu.items():
                done = len(some["val"]) if stage == VALIDATION else share
                found[stage].append(1000 * seconds / done)
    epoch = [
        sum(found[s][n] * len(parts["val" if s == VALIDATION else "train"]) for s in found) / 1000
        for n in range(count)
    ]
    return {
        "config": config.name,
        "network": config.network.name,
        "precision": once.training.precision,
        "threads": torch.get_num_threads(),
        "clips": {part: len(examples) for part, examples in parts.items()},
        "epochs": config.training.epochs,
        "start": start,
        "stages": dict(found),
        "epoch": epoch,
        "fold": [start + config.training.epochs * seconds for seconds in epoch],
    }


def evenly(examples: list[data.Example], most: int) -> list[data.Example]:
    """At most so many, from all over the list."""
    return examples[:: max(1, -(-len(examples) // max(1, most)))]


def cpu() -> float:
    """CPU time of this process and of those that it started and that have ended, in s."""
    return sum(os.times()[:4])


def show(found: dict) -> None:
    """One table: stages with their share, then epoch and fold."""
    title = f"{found['config']}: {found['network']}, precision {found['precision']}, {found['threads']} threads"
    table = Table("", "ms a clip", "spread", "share", title=title)
    total = found["clips"]["train"] / 1000
    seconds = statistics.median(found["epoch"])
    for stage, values in sorted(found["stages"].items(), key=lambda item: -statistics.median(item[1])):
        clips = found["clips"]["val"] / 1000 if stage == VALIDATION else total
        middle = statistics.median(values)
        table.add_row(stage, f"{middle:.2f}", spread(values, 2), f"{middle * clips / seconds:.0%}")
    table.add_section()
    table.add_row("start, s", f"{found['start']:.1f}")
    for name in ("epoch", "fold"):
        table.add_row(f"{name}, s", f"{statistics.median(found[name]):.1f}", spread(found[name], 1))
    Console().print(table)


def spread(values: list[float], digits: int) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Profile an epoch of training.")
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="YAML files or names; then KEY=VALUE")
    parser.add_argument("--data-root", type=Path, help="folder of the corpora; else AVSER_DATA")
    parser.add_argument("--clips", type=int, default=960, help="to train on in an epoch")
    parser.add_argument("--runs", type=int, default=3, help="epochs to measure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for all times")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    overrides = [text for text in args.configs if "=" in text]
    results = []
    for path in (text for text in args.configs if "=" not in text):
        config = members(load_config(find_config(Path(path)), overrides))[0]
        results.append(measure(config, args.data_root, args.clips, args.runs))
        show(results[-1])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
