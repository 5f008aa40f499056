"""What runs on the machines of a cluster: workers that hold a loaded model, and the ledger of what they are at."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avser import checkpoint
from avser.batch import journal, manners
from avser.batch.journal import Content
from avser.batch.sources import Source
from avser.batch.tasks import Outcome, Task, perform
from avser.batch.workers import TRIES
from avser.caching import file_digest
from avser.cluster import places, tables
from avser.cluster.plan import Plan, Request
from avser.cluster.tables import Layout, Piece
from avser.media.paths import show
from avser.recognizer import load_model
from avser.scratch import temporary_folder
from avser.types import AvserError, ModelError

if TYPE_CHECKING:
    import pyarrow as pa

FETCHED = "avser-fetched-"
"""Beginning of the names of the temporary folders that hold fetched copies."""


@dataclass(frozen=True)
class Work:
    """What each worker is told.

    Attributes:
        plan: the files. layout: where their results go.
        model, runtime: as for `load_model`. digest: of the model's file, which must be the same everywhere.
        run: id of this run. resume: leave out what earlier runs have done.
        limit: most bytes of a file that are fetched.
    """

    plan: Plan
    layout: Layout
    model: str
    runtime: str
    digest: str
    run: str
    resume: bool
    limit: int


class Ledger:
    """Which files are being worked on, and how often that went wrong; one for all workers.

    A file that kills whoever reads it would otherwise be tried for ever.
    """

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._done = 0

    def begin(self, id: str) -> int:
        """A file is taken up; how often that was so before without an end."""
        self._begun[id] += 1
        return self._begun[id] - 1

    def end(self, id: str) -> None:
        """A file is done, or has failed in order."""
        self._begun.pop(id, None)
        self._done += 1

    def done(self) -> int:
        """How many files have come to an end."""
        return self._done


class Reader:
    """Reads the plan: number of a part to its pieces, each a row `piece`, `files`, `refused`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __call__(self, batch: dict):
        for part in batch["part"]:
            try:
                for piece, files in self.plan.read(int(part)):
                    yield {"piece": [piece], "files": [files], "refused": [""]}
            except AvserError as error:
                yield {"piece": [-1], "files": [""], "refused": [str(error)]}


class Worker:
    """Does one piece after the other: row `piece`, `files`, `refused` to row `rows`, `refused`.

    `rows` are those of the files' table, as JSON; `refused` is the sentence that says why the whole run must stop.
    A piece that is done again, because the machine was lost that did it, takes up what has been written of it.

    Args:
        work: what there is to do. ledger: handle of the `Ledger`; None where there is one process only.
    """

    def __init__(self, work: Work, ledger) -> None:
        self.work, self.ledger = work, ledger
        self.refused = ""
        try:
            manners.set_threads(1)
            self.model = load_model(work.model, work.runtime)
            found = file_digest(checkpoint.find_model(work.model)).hexdigest()
            if found != work.digest:
                raise ModelError(f"{work.model}: is another model on some machine; install the same avser on all")
        except AvserError as error:
            self.refused = str(error)

    def __call__(self, batch: pa.Table) -> dict:
        rows: list[dict] = []
        try:
            for row in batch.to_pylist():
                if refused := self.refused or row["refused"]:
                    raise AvserError(refused)
                rows += self._do(row["piece"], [Request.of(json.loads(line)) for line in row["files"].split("\t")])
        except AvserError as error:
            return {"rows": ["[]"], "refused": [str(error)]}
        return {"rows": [json.dumps(rows)], "refused": [""]}

    def _do(self, number: int, requests: list[Request]) -> list[dict]:
        """A piece: the rows of its files, done now or before."""
        piece = Piece(self.work.layout, number)
        made, windows = {}, []
        try:
            for request in requests:
                if not self._is_kept(piece.files.get(request.id), request):
                    made[request.id], table = self._predict(request)
                    windows += table
        finally:  # what has been done is kept, also where the run must stop
            if made:
                piece.replace(made, windows)
        return [piece.files[request.id] for request in requests]

    def _is_kept(self, row: dict | None, request: Request) -> bool:
        """Whether a file need not be done again; in the run that did it, whatever came of it."""
        if row is None:
            return False
        if row["run"] == self.work.run:
            return True
        if not self.work.resume or row["status"] != "done" or row["settings"] != self._settings(request):
            return False
        content = Content(row["size"], row["modified"], row["digest"])
        if not places.is_remote(request.place):
            return content.is_in(Path(request.place), unmoved=True)
        with contextlib.suppress(AvserError):
            size, modified = places.stand(request.place)
            return size == content.size and (
                0 < modified == content.written or places.digest(request.place) == content.digest
            )
        return False

    def _settings(self, request: Request) -> str:
        return journal.settings_digest(self.work.digest, request.options)

    def _predict(self, request: Request) -> tuple[dict, list[pa.Table]]:
        """What the files' table says of a file, and its windows."""
        tries = self._tell("begin", request.id)
        outcome = self._outcome(request) if tries < TRIES else _given_up(request)
        name, output = tables.text(request.place), request.output and tables.text(request.output)
        row: dict[str, Any] = {"id": request.id, "file": name, "output": output, "run": self.work.run}
        row |= {"seconds": outcome.seconds, "windows": 0, "version": ""}
        row["given"] = json.dumps(request.given) if request.given else None
        windows = []
        if outcome.result is None:
            row |= {"status": "failed", "error": tables.text(outcome.error or "")}
        else:
            content, settings = outcome.content or Content(-1, -1, ""), self._settings(request)
            row |= {"status": "done", **tables.file_facts(outcome.result, outcome.seconds), "settings": settings}
            row |= {"size": content.size, "modified": content.written, "digest": content.digest}
            row["version"] = hashlib.blake2b(f"{settings}{content.digest}".encode(), digest_size=8).hexdigest()
            windows = [
                tables.window_rows(outcome.result, row["id"], row["version"], name, output, self.work.layout)
            ]
        self._tell("end", request.id)
        return row, windows

    def _outcome(self, request: Request) -> Outcome:
        try:
            if not places.is_remote(request.place):
                return self._perform(request.place, request)
            began = time.monotonic()
            _, modified = places.stand(request.place)
            with temporary_folder(FETCHED) as folder:
                copy = places.fetch(request.place, folder, self.work.limit)
                outcome = self._perform(str(copy), request)
        except AvserError as error:
            return Outcome(error=" ".join(str(error).split()))
        outcome = dataclasses.replace(outcome, seconds=time.monotonic() - began)
        if outcome.error is not None:  # it names the copy
            outcome = dataclasses.replace(outcome, error=outcome.error.replace(show(copy), show(request.place)))
        if outcome.content is not None:
            content = dataclasses.replace(outcome.content, written=modified)
            outcome = dataclasses.replace(outcome, content=content)
        return outcome

    def _perform(self, path: str, request: Request) -> Outcome:
        task = Task(Source(path, request.options), request.options, remember=True)
        return perform(self.model, task, lambda *_: None)

    def _tell(self, what: str, id: str) -> int:
        """Tell the ledger; the answer to `begin`.

        Raises:
            AvserError: the ledger is lost, without which a file that kills its readers would do so for ever.
        """
        if self.ledger is None:
            return 0
        import ray

        answer = getattr(self.ledger, what).remote(id)
        if what != "begin":
            return 0
        try:
            return ray.get(answer)
        except ray.exceptions.RayError:
            raise AvserError("the machine that leads the run is lost; start it again with --resume") from None


def _given_up(request: Request) -> Outcome:
    return Outcome(error=f"{show(request.place)}: the process that read it died {TRIES} times; try it alone")
