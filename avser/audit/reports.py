"""What an audit shows: a table of kinds, the groups that cross, and what could not be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from avser.audit.search import KINDS, Audit, Finding, audit
from avser.audit.sources import read_split

SHOWN = 10
"""Groups and unread files that are printed; the CSV file holds all groups, --json both."""


def audit_file(
    what: Path, overrides: Sequence[str], data_root: Path | None, output: Path | None, as_json: bool
) -> bool:
    """Audit the split that a file tells of, print what is found and write all groups; whether it is clean."""
    err = Console(stderr=True)

    def bar(found: Iterable, count: int) -> Iterable:
        return track(found, "reading media", count, console=err, transient=True, disable=not err.is_terminal)

    done = audit(read_split(what, overrides, data_root), bar)
    if output is not None:
        done.write(output)
        err.print(Text(f"all groups are in {output}"), soft_wrap=True)
    if as_json:
        print(json.dumps(done.to_dict(), indent=1))
    else:
        show(done)
    return not done.crossing


def show(done: Audit) -> None:
    """Print the counts of each kind, some groups that cross, notes, and files that could not be read."""
    out, err = Console(), Console(stderr=True)
    split = done.split
    folds = split.folds()
    sizes = ", ".join(f"{part} {count}" for part, count in next(iter(folds.values())).items())
    of = f" in {len(folds)} folds, the first: " if len(folds) > 1 else ": "
    out.print(Text(f"{split.name}: {len(split.clips)} clips{of}{sizes}", style="bold"), soft_wrap=True)
    table = Table("found", "groups", "clips", "cross", "between", "labels differ")
    for kind, meaning in KINDS.items():
        if found := [finding for finding in done.findings if finding.kind == kind]:
            table.add_row(meaning, *_cells(done, found))
    if done.findings:
        out.print(table)
    crossing = done.crossing
    for finding in crossing[:SHOWN]:
        out.print(Text(_line(done, finding)), soft_wrap=True)
    if len(crossing) > SHOWN:
        out.print(f"… and {len(crossing) - SHOWN} more groups that cross: -o FILE.csv or --json lists all")
    out.print(Text(_verdict(done), style="bold"), soft_wrap=True)
    for note in split.notes:
        err.print(Text(f"note: {note}"), soft_wrap=True)
    if done.unread:
        clips = "1 clip" if len(done.unread) == 1 else f"{len(done.unread)} clips"
        err.print(Text(f"{clips} could not be read:"), soft_wrap=True)
        for why in done.unread[:SHOWN]:
            err.print(Text(f"  {why}"), soft_wrap=True)
        if len(done.unread) > SHOWN:
            err.print(f"  … and {len(done.unread) - SHOWN} more: --json lists all")


def _cells(done: Audit, found: Sequence[Finding]) -> list[str]:
    """A row of the table: groups, clips, how many cross, between which parts, how many differ in label."""
    crossing = [finding for finding in found if finding.crossings]
    between = Counter(
        pair for finding in crossing for pair in {(one, other) for _, one, other in finding.crossings}
    )
    pairs = [f"{one}–{other} {count}" for (one, other), count in between.most_common(4)]
    dots = ["…"] if len(between) > 4 else []
    differ = sum(map(done.labels_differ, found)) if found[0].kind != "subject" else ""
    clips = sum(len(finding.clips) for finding in found)
    return [str(len(found)), str(clips), str(len(crossing)), ", ".join(pairs + dots), str(differ)]


def _line(done: Audit, finding: Finding) -> str:
    """One group in one line: what it is, which files, where it crosses."""
    clips = [done.split.clips[i] for i in finding.clips]
    if finding.kind in ("subject", "take", "file"):
        what = f"{finding.kind} {finding.name}" + (f", {len(clips)} clips" if len(clips) > 1 else "")
    else:
        dots = ", …" if len(clips) > 4 else ""
        what = f"{finding.kind} {finding.score:.3f} {', '.join(clip.name for clip in clips[:4])}{dots}"
    fold, one, other = finding.crossings[0]
    more = f", {len(finding.crossings) - 1} more" if len(finding.crossings) > 1 else ""
    return f"{what}: {one} and {other}{f' of {fold}' if fold else ''}{more}"


def _verdict(done: Audit) -> str:
    unread = f" among the {len(done.split.clips) - len(done.unread)} that could be read" if done.unread else ""
    if not done.crossing:
        return f"clean: nothing crosses from one part into another{unread}"
    counts = Counter(finding.kind for finding in done.crossing)
    return f"crosses: {', '.join(f'{KINDS[kind]}: {counts[kind]}' for kind in KINDS if counts[kind])}"
