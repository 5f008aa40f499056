"""Where a training runs: on the CPU or a GPU, in one process or in several that share each batch.

Several devices take a process each, under Lightning's strategy `ddp` (gloo on the CPU, NCCL on GPUs). They only
fit: this process decodes, hands the examples over in a memory-mapped file, prints what the first of them says, and
goes on with the checkpoint that they leave. So whatever comes before and after is done once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from avser.caching import Pack, write_pack
from avser.config import Config
from avser.training.data import Example
from avser.types import Clip, ConfigError, DataError, ModelError

GRACE = 10.0
"""Time in s that the other processes get to end by themselves when one has failed."""


@dataclasses.dataclass(frozen=True)
class Share:
    """Which of `count` processes this one is."""

    rank: int
    count: int


ALONE = Share(0, 1)


def kind(config: Config) -> str:
    """`cpu`, `gpu` or `mps`.

    Raises:
        ConfigError: the config wants what is not there.
    """
    asked, several = config.training.accelerator, count(config) > 1
    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return "gpu" if there["gpu"] else "mps" if there["mps"] and not several else "cpu"
    if not there[asked]:
        raise ConfigError(f"training.accelerator: torch finds no {asked} here; set it to auto or cpu")
    if asked == "mps" and several:
        raise ConfigError(
            "training.devices: there is one device of mps; set it to 1, or training.accelerator to cpu"
        )
    return asked


def count(config: Config) -> int:
    """How many processes train."""
    return 1 if config.training.devices == "auto" else config.training.devices


def check(config: Config) -> None:
    """Whether the devices of a config are there.

    Raises:
        ConfigError: they are not.
    """
    if kind(config) == "gpu" and count(config) > torch.cuda.device_count():
        raise ConfigError(
            f"training.devices: there are {torch.cuda.device_count()} GPUs here, not {count(config)}; "
            "set it to as many, or training.accelerator to cpu"
        )


def settled(config: Config) -> Config:
    """The config with the precision that `auto` stands for on this machine.

    bfloat16 pays where it is computed in: with AVX-512 BF16 or AMX, or on GPUs from Ampere on. Elsewhere it is
    emulated, and slower than single precision.
    """
    if config.training.precision != "auto":
        return config
    if kind(config) == "gpu":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # what torch knows of the processor is not part of its public interface
        tests = (
            getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
        native = kind(config) == "cpu" and any(test() for test in tests if test)
    training = config.training.model_copy(update={"precision": "bf16" if native else "32"})
    return config.model_copy(update={"training": training})


# Several processes


@dataclasses.dataclass(frozen=True)
class Job:
    """What each of several processes is to fit.

    Attributes:
        folder: where checkpoints and logs go. title: begins the line of an epoch.
        weights: file with the state that the module begins with.
        threads: of each process.
    """

    config: Config
    folder: Path
    title: str
    parts: Mapping[str, Sequence[Example]]
    weights: Path
    threads: int


def fit(config: Config, folder: Path, title: str, parts: Mapping[str, Sequence[Example]], state: dict) -> None:
    """Fit in as many processes as the config says; checkpoints and logs are left in the folder.

    Args:
        state: what the module begins with.

    Raises:
        DataError: there are too few clips for so many.
        ModelError: one of the processes failed.
        KeyboardInterrupt: Ctrl-C was pressed; the processes are ended.
    """
    number = count(config)
    if len(parts["train"]) < 2 * number:
        raise DataError(
            f"{title}: {len(parts['train'])} clips to train on are too few for training.devices={number}; "
            "each needs two"
        )
    with _handed_over(config, folder, title, parts, state) as place, contextlib.ExitStack() as stack:
        environment = _environment(number)
        logs = [folder / f"device{rank}.log" for rank in range(number)]
        ranks = []
        for rank in range(number):
            log = stack.enter_context(logs[rank].open("w"))
            ranks.append(stack.enter_context(_started(place, Share(rank, number), environment, log)))
        failed: list[int] = []
        watcher = threading.Thread(target=_end_together, args=(ranks, failed), daemon=True)
        watcher.start()
        for line in ranks[0].stdout or ():
            print(line, end="", flush=True)
        watcher.join()
    if failed:
        first = failed[0]
        raise ModelError(f"{title}: device {first} {_reason(ranks[first].returncode, logs[first])}")
    for path in logs:
        path.unlink()


@contextlib.contextmanager
def _handed_over(
    config: Config, folder: Path, title: str, parts: Mapping[str, Sequence[Example]], state: dict
) -> Iterator[Path]:
    """A folder that holds all that the processes need; gone in the end."""
    place = folder / "devices"
    shutil.rmtree(place, ignore_errors=True)
    job = {
        "config": config.model_dump(mode="json"),
        "title": title,
        "clips": {part: [_plain(example.clip) for example in parts[part]] for part in ("train", "val")},
        "threads": _threads(count(config)),
    }
    arrays: dict[str, np.ndarray] = {}
    for part in ("train", "val"):
        for number, example in enumerate(parts[part]):
            arrays |= {f"{part} {number}": example.inputs, f"{part} {number} target": example.target}
    try:
        try:
            write_pack(place / "examples.pack", arrays)
            torch.save(state, place / "state.pt")
            (place / "job.json").write_text(json.dumps(job), encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{place}: cannot be written ({error.strerror or error}); choose another -o"
            ) from None
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _plain(clip: Clip) -> dict:
    return {**dataclasses.asdict(clip), "path": str(clip.path)}


def read_job(place: Path) -> Job:
    """What `fit` has handed over; the examples are memory-mapped."""
    job = json.loads((place / "job.json").read_text(encoding="utf-8"))
    arrays = Pack(place / "examples.pack")
    parts = {
        part: [
            Example(
                Clip(**{**clip, "path": Path(clip["path"])}), arrays[f"{part} {n}"], arrays[f"{part} {n} target"]
            )
            for n, clip in enumerate(clips)
        ]
        for part, clips in job["clips"].items()
    }
    config = Config.model_validate(job["config"])
    return Job(config, place.parent, job["title"], parts, place / "state.pt", job["threads"])


def _threads(number: int) -> int:
    """Threads of each of so many processes."""
    return max(1, torch.get_num_threads() // number)


def _environment(number: int) -> dict[str, str]:
    """Where the processes find one another, and this package."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(number)}
    found |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(_threads(number)),
    }
    if sys.platform == "linux":  # the name of this machine may not lead anywhere
        found["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return {**os.environ, **found}


@contextlib.contextmanager
def _started(place: Path, share: Share, environment: Mapping[str, str], log) -> Iterator[subprocess.Popen]:
    """A process that fits its share; it is gone when the block ends."""
    command = [sys.executable, "-m", "avser.training.rank", str(place), str(share.rank), str(share.count)]
    process = subprocess.Popen(
        command,
        env={**environment, "LOCAL_RANK": str(share.rank)},
        stdin=subprocess.PIPE,  # whose end tells it that this process is no more
        stdout=subprocess.PIPE if share.rank == 0 else log,
        stderr=log,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process, which ends it
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()


def _end_together(ranks: Sequence[subprocess.Popen], failed: list[int]) -> None:
    """Wait for all; where one has failed, which is told to `failed`, the others would wait for it for ever."""
    while True:
        ended = [(code, rank) for rank, process in enumerate(ranks) if (code := process.poll()) is not None]
        # one that was killed comes before those that it then failed
        failed += [rank for code, rank in sorted(ended) if code]
        if failed or len(ended) == len(ranks):
            break
        time.sleep(0.1)
    limit = time.monotonic() + GRACE
    for process in ranks:
        try:
            process.wait(max(0.0, limit - time.monotonic()) if failed else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _reason(code: int, log: Path) -> str:
    if code < 0:
        return f"was stopped by signal {-code}, perhaps for want of memory; go on with --resume"
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"failed ({said[-1].strip() if said else f'code {code}'}); {log} tells more"
