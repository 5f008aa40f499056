"""What the command line shows of corpora: what each is, what a folder holds of one, what was unpacked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from avser import datasets
from avser.corpora import inventory, unpacking
from avser.corpora.inventory import Holding, Inventory
from avser.corpora.threads import Progress
from avser.datasets import Facts, Part
from avser.media.paths import show

SHOWN = 10
"""Names, files and groups that are printed of each kind; --json has all."""


def print_corpora(as_json: bool) -> None:
    """Each corpus: page, terms, size, emotions, layout, what is wrong with it."""
    if as_json:
        print(json.dumps([_described(name) for name in datasets.names()], indent=1))
        return
    out = Console()
    for name in datasets.names():
        facts = datasets.facts(name)
        out.print(Text(name, style="bold").append(f"  {datasets.about(name)}", style="not bold"), soft_wrap=True)
        for what, words in _lines(facts):
            out.print(Text(f"  {what:<9}", style="dim").append(words, style="not dim"), soft_wrap=True)


def _lines(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.page:
        yield "page", facts.page
    yield "terms", facts.licence
    sizes = [f"{name}: {_size(part)}" for name, part in facts.parts.items() if part.clips]
    if sizes or facts.volume:
        yield "size", "; ".join([*sizes, *([f"in all {facts.volume}"] if facts.volume else [])])
    yield "emotions", ", ".join(facts.emotions)
    yield "files", facts.layout
    for flaw in _flaws(facts):
        yield "beware", flaw


def _size(part: Part) -> str:
    people = f" of {part.subjects} people" if part.subjects else ""
    return f"{part.clips} clips{people}" + (f", {part.hours:.2g} h" if part.hours else "")


def _flaws(facts: Facts) -> list[str]:
    """What is wrong with the official release, in sentences."""
    named = [f"{' and '.join(group)} are identical." for group in facts.twins]
    counted = [f"{facts.twin_groups} groups of clips are identical."] if facts.twin_groups else []
    return [*named, *counted, *facts.flaws]


def _described(name: str) -> dict:
    facts = datasets.facts(name)
    parts = [
        {"name": part, "clips": official.clips, "subjects": official.subjects, "hours": official.hours}
        for part, official in facts.parts.items()
    ]
    return {
        "name": name,
        "title": facts.title,
        "about": datasets.about(name),
        "page": facts.page,
        "licence": facts.licence,
        "citation": facts.citation,
        "volume": facts.volume,
        "parts": parts,
        "emotions": facts.emotions,
        "layout": facts.layout,
        "flaws": _flaws(facts),
    }


def check(root: Path, corpus: str | None, deep: bool, labels: str, as_json: bool) -> bool:
    """Compare a folder with the official release and print what is found; whether nothing is wrong."""
    found = inventory.check(root, corpus, deep, labels, _bar(Console(stderr=True)))
    if as_json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        print_inventory(found, labels)
    return found.clean


def extract(archives: Sequence[Path], root: Path, rate: int | None, workers: int) -> bool:
    """Unpack archives of RAVDESS and print what came of it; whether nothing failed."""
    err = Console(stderr=True)
    done = unpacking.extract(archives, root, rate, workers, _bar(err))
    print(f"{_files(done.written)} unpacked into {show(root)}{_kept(done.kept)}")
    if rate is not None:
        print(f"sound of {_files(done.sounds)} in {show(root / unpacking.SOUND)}{_kept(done.kept_sounds)}")
    if done.left_out:
        err.print(f"{_files(done.left_out)} of the archives left out: they are no clips of RAVDESS")
    _list(err, "failed:", done.failed)
    return not done.failed


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _kept(count: int) -> str:
    return f", {count} were there" if count else ""


def _bar(err: Console) -> Progress:
    """A progress bar, where somebody can see it."""

    def bar(found: Iterable, count: int, what: str) -> Iterable:
        return track(found, what, count, console=err, transient=True, disable=not err.is_terminal)

    return bar


def print_inventory(found: Inventory, labels: str) -> None:
    """Print what is there and missing, corrupt and twice there, and a verdict."""
    out = Console()
    out.print(Text(f"{found.corpus} in {show(found.root)}", style="bold"), soft_wrap=True)
    table = Table("part", "clips", "official", "people", "official", "")
    for holding in found.holdings:
        official = [str(count) if count else "" for count in (holding.official.clips, holding.official.subjects)]
        people = str(holding.subjects or "")
        verdict = "complete" if holding.complete else "differs"
        known = holding.official.clips is not None
        table.add_row(holding.name, str(holding.clips), official[0], people, official[1], verdict if known else "")
    out.print(table)
    for holding in found.holdings:
        _print_differences(out, holding)
    if found.absent:
        out.print(Text(f"not here: {'; '.join(found.absent)}"), soft_wrap=True)
    counts = (f"{label or 'without a label'} {count}" for label, count in found.labels.items())
    out.print(Text(f"labels: {', '.join(counts)}"), soft_wrap=True)
    if found.unplaced:
        counts = (f"{label} {count}" for label, count in found.unplaced.items())
        out.print(Text(f"without a place in {labels}: {', '.join(counts)}"), soft_wrap=True)
    _list(out, f"{len(found.orphans)} labels without media:", found.orphans)
    _list(out, f"{len(found.corrupt)} that cannot be used:", found.corrupt)
    _list(out, f"{_groups(found.twins)}:", [" = ".join(group) for group in found.twins])
    if found.known_twins:
        out.print(f"{_groups(found.known_twins)}, as in the official release")
    if found.copies:
        first = show(found.copies[0])
        out.print(
            Text(f"{_files(len(found.copies))} not read, as one of the same name is: {first} …"), soft_wrap=True
        )
    out.print(Text(_verdict(found), style="bold"), soft_wrap=True)


def _print_differences(out: Console, holding: Holding) -> None:
    by_fact: dict[str, list[str]] = {}
    for difference in holding.differences:
        words = f"{difference.value} {difference.here} of {difference.official}"
        by_fact.setdefault(difference.fact, []).append(words)
    for fact, told in by_fact.items():
        out.print(Text(f"{holding.name}, {fact}: {_some(told)}"), soft_wrap=True)
    if holding.missing:
        missing = f"{holding.name}, missing {len(holding.missing)}: {_some(holding.missing)}"
        out.print(Text(missing), soft_wrap=True)


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - SHOWN} more (--json lists all)" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def _list(out: Console, head: str, lines: Sequence[str]) -> None:
    """Print some of the lines below a head, if there are any."""
    if not lines:
        return
    out.print(Text(head), soft_wrap=True)
    for line in lines[:SHOWN]:
        out.print(Text(f"  {show(line)}"), soft_wrap=True)
    if len(lines) > SHOWN:
        out.print(f"  … and {len(lines) - SHOWN} more")


def _groups(twins: Sequence) -> str:
    return "1 group of identical clips" if len(twins) == 1 else f"{len(twins)} groups of identical clips"


def _verdict(found: Inventory) -> str:
    lacking = sum(len(holding.missing) for holding in found.holdings)
    differing = sum(not holding.complete for holding in found.holdings)
    wrong = [
        f"{differing} of {len(found.holdings)} parts not as released" if differing else "",
        f"{lacking} clips missing" if lacking else "",
        f"{len(found.orphans)} labels without media" if found.orphans else "",
        f"{len(found.corrupt)} cannot be used" if found.corrupt else "",
        _groups(found.twins) if found.twins else "",
    ]
    if not found.clean:
        return f"wrong: {', '.join(filter(None, wrong))}"
    looked = "" if found.deep else "; of sound and films the headers were read, --deep decodes them"
    return f"nothing is missing, damaged or twice there{looked}"
