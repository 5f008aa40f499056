"""A job on a cluster, as its owner sees it: from the manifest to the last piece of the tables."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from avser import checkpoint
from avser.batch.jobs import Step
from avser.batch.progress import Summary, print_end
from avser.batch.sources import Source
from avser.batch.workers import TRIES
from avser.caching import file_digest
from avser.cluster import places
from avser.cluster.actors import Ledger, Reader, Work, Worker
from avser.cluster.plan import requests, write_plan
from avser.cluster.tables import Layout
from avser.options import Options
from avser.recognizer import load_model
from avser.types import AvserError, ConfigError, MissingExtraError

OBJECT_STORE = 200 * 2**20
"""Shared memory of a cluster that is started here, bytes: what travels are names and facts, not pictures."""
LOOK = 1.0
"""Time between two looks at how far the workers are, s."""
WAITING = 2
"""Pieces that wait at a worker or are being done there, at most."""


@dataclass(frozen=True)
class Job:
    """What to predict on a cluster, and where to put it.

    Attributes:
        manifest: path or URL of a CSV; see `avser.batch.manifests.rows`.
        output: folder for the tables, a path that all machines share or a URL.
        model, runtime: as for `load_model`.
        options: settings of files for which the manifest has no others.
        workers: how many, of one processor each; 0 for as many as the cluster has processors.
        resume: leave out what an earlier run has done with the same content and settings.
        block: files of one piece of the tables, on average.
        limit: most bytes of a file that are fetched from elsewhere.
        address: of a Ray cluster, `auto` for the one that this machine belongs to; None for that of RAY_ADDRESS in
            the environment, or else one that is started here.
    """

    manifest: str
    output: str
    model: str = "av-base"
    runtime: str = "auto"
    options: Options = field(default_factory=Options)
    workers: int = 0
    resume: bool = False
    block: int = 16
    limit: int = 10**10
    address: str | None = None


def run(job: Job, quiet: bool = False, out: Console | None = None, err: Console | None = None) -> Summary:
    """Run a job with a progress bar; a table goes to stdout, all else to stderr.

    Raises:
        ConfigError: the manifest or the output makes no sense.
        ModelError: unknown model, one without the modality, or not the same on all machines.
        MissingExtraError: Ray is not installed.
        AvserError: there is no such cluster, or it stops the run.
    """
    out, err = out or Console(), err or Console(stderr=True)
    if job.workers < 0 or job.block < 1:
        raise ConfigError(f"workers ({job.workers}) must not be below zero, block ({job.block}) not below one")
    _need_ray()
    model = load_model(job.model, job.runtime)
    listed = functools.partial(requests, job.manifest, job.options, model.check)
    count = sum(1 for _ in listed())  # what is wrong with a row is found before any work is done
    if not count:
        raise ConfigError(f"{job.manifest}: names no files; add rows")
    output = places.absolute(job.output)
    layout = Layout.at(output, math.ceil(count / job.block), model.labels)
    path = checkpoint.find_model(job.model)
    digest = file_digest(path).hexdigest()
    name = job.model if job.model in checkpoint.known_models() else str(path.absolute())
    run_id = uuid.uuid4().hex
    with _cluster(job.address), contextlib.closing(write_plan(listed(), count, layout.pieces, output)) as plan:
        work = Work(plan, layout, name, job.runtime, digest, run_id, job.resume, job.limit)
        return _follow(work, job.workers, quiet, out, err)


def _follow(work: Work, workers: int, quiet: bool, out: Console, err: Console) -> Summary:
    """Have the work done and tell what comes of it."""
    import ray

    summary = Summary(total=work.plan.files)
    began = time.monotonic()
    ledger = _ledger()
    try:
        with (
            _bar(ledger, summary, err, hidden=quiet or not err.is_terminal),
            contextlib.closing(_rows(work, workers, ledger)) as found,
        ):
            for row in found:
                step = _step(row, work)
                summary.add(step)
                if step.error is not None:
                    err.print(Text(f"avser: {step.error}"), soft_wrap=True)
    except KeyboardInterrupt:
        summary.interrupted = True
        err.print(f"avser: interrupted; {summary.done} of {summary.total} files done, their results are kept")
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[-500:]
        raise AvserError(f"Ray stopped the run ({said}); try again with --resume") from None
    finally:
        with contextlib.suppress(ray.exceptions.RayError):  # its machine may be lost
            ray.kill(ledger)
    print_end(summary, time.monotonic() - began, quiet, out, err)
    return summary


def _rows(work: Work, workers: int, ledger) -> Generator[dict, None, None]:
    """The rows of the files' table as the pieces are done; closing the iterator ends the work.

    Ray Data streams: a worker has `WAITING` pieces at most, and what waits for workers is bounded by the shared
    memory of the cluster.
    """
    import pyarrow as pa
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # a piece of long videos takes as long as it takes
    context.target_max_block_size = 1  # a row a block: each piece is a task of its own
    most = min(workers or max(1, int(ray.cluster_resources().get("CPU", 1))), work.layout.pieces)
    pool = ray.data.ActorPoolStrategy(
        min_size=1, initial_size=most, max_size=most, max_tasks_in_flight_per_actor=WAITING
    )
    parts = ray.data.from_arrow([pa.table({"part": [part]}) for part in range(work.plan.parts)])
    # reading takes no processor: all of them may belong to workers already
    pieces = parts.map_batches(Reader(work.plan), batch_size=None, batch_format="numpy", num_cpus=0)
    done = pieces.map_batches(
        Worker,
        fn_constructor_args=(work, ledger),
        batch_size=None,
        batch_format="pyarrow",
        compute=pool,
        num_cpus=1,
    )
    batches: Iterable[Any] = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for batch in batches:
        for answer in batch.to_pylist():
            if answer["refused"]:
                raise AvserError(answer["refused"])
            yield from json.loads(answer["rows"])


def _step(row: dict, work: Work) -> Step:
    """A row of the files' table, as a job on one machine would tell it."""
    facts = {name: "" if row.get(name) is None else str(row[name]) for name in ("label", "duration", "confidence")}
    source = Source(row["file"], Options())
    return Step(source, error=row.get("error"), kept=row["run"] != work.run, facts=facts)


def _ledger():
    """The ledger, on this machine, which must live as long as the run does anyway.

    A soft affinity does not keep it here: Ray 2.60 puts every third actor of that kind elsewhere.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    lasting = {"max_restarts": -1, "max_task_retries": TRIES}
    return ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=here, **lasting).remote()


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A connection to the cluster, which ends with the block; one that is there already is used and left."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it calls ordinary things errors
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        settings |= {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    try:
        ray.init(address, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise AvserError(f"no Ray cluster at {address!r} ({said}); check --address") from None
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _bar(ledger, summary: Summary, err: Console, hidden: bool) -> Iterator[None]:
    """A bar of the files that are done, also of those whose piece is not."""
    import ray

    ended = threading.Event()
    progress = Progress(
        *("files", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()),
        console=err,
        transient=True,
        disable=hidden,
        speed_estimate_period=300,
    )
    task = progress.add_task("files", total=summary.total)

    def look() -> None:
        while not ended.wait(LOOK):
            with contextlib.suppress(ray.exceptions.RayError):
                done = max(ray.get(ledger.done.remote()), summary.done + summary.failed)
                progress.update(task, completed=min(done, summary.total))

    watch = threading.Thread(target=look, daemon=True)
    with progress:
        if not hidden:
            watch.start()
        try:
            yield
        finally:
            ended.set()
            if not hidden:
                watch.join(5 * LOOK)


def _need_ray() -> None:
    try:
        importlib.import_module("ray.data")
    except ImportError as error:
        raise MissingExtraError(
            f"--engine ray needs ray[data], which does not load ({error}): pip install 'avser[cluster]'"
        ) from None
