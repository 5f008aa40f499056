"""The folder of a benchmark: JSON, CSV, Markdown, pictures, and one page of HTML. Progress goes to stderr."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from avser.benchmark.contributions import BRANCHES
from avser.benchmark.page import (
    Block,
    Grid,
    Heading,
    Picture,
    Words,
    level_text,
    number,
    span,
    to_markdown,
    to_page,
)
from avser.benchmark.pictures import draw_study, draw_sweeps, name_of
from avser.benchmark.plan import load_plan
from avser.benchmark.running import Outcome, run
from avser.benchmark.tables import tables
from avser.files import replacing
from avser.logits import write_logits
from avser.types import DataError


def benchmark(path: Path, output: Path, data_root: Path | None = None) -> Path:
    """Carry out the plan in a file and write its report into a folder; the path of the page.

    Raises:
        ConfigError, DataError, ModelError: the plan is not valid, or tables, clips or model do not fit it.
    """
    err = Console(stderr=True)
    plan = load_plan(path)
    if err.is_terminal:
        with err.status("reading") as status:
            outcome = run(plan, data_root, lambda step: status.update(step))
    else:
        outcome = run(plan, data_root, lambda step: err.print(Text(step), soft_wrap=True))
    page = write_report(outcome, output)
    show(outcome)
    return page


def write_report(outcome: Outcome, folder: Path) -> Path:
    """Write everything a benchmark gave; the path of the page.

    Raises:
        DataError: the folder cannot be written.
    """
    report = outcome.report
    captions: dict[str, dict[str, str]] = {}
    for name, study in outcome.studies.items():
        captions[name] = draw_study(folder, name, study, report["studies"][name])
    if "degradation" in report:
        captions["degradation"] = draw_sweeps(folder, report["degradation"])
    for file, table in outcome.tables.items():
        write_logits(folder / file, table)
    rows = tables(report) | (outcome.sweeps.rows if outcome.sweeps else {})
    for file, lines in rows.items():
        _write_csv(folder / file, lines)
    blocks = list(blocks_of(report, captions))
    _write(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    _write(folder / "report.md", to_markdown(blocks))
    _write(folder / "report.html", to_page(blocks, folder, f"{report['title']}: benchmark"))
    return folder / "report.html"


def _write(path: Path, text: str) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror or error}): choose another folder by -o") from None


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    try:
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror or error}): choose another folder by -o") from None


def show(outcome: Outcome) -> None:
    """The main figures as a table on stdout."""
    out = Console()
    for figures in outcome.report["studies"].values():
        table = Table("", "UAR", "accuracy", "ECE", "clips", title=figures["title"], title_justify="left")
        for system, found in figures["systems"].items():
            cells = (span([found[key], *found[f"{key}_interval"]]) for key in ("uar", "accuracy"))
            table.add_row(name_of(system), *cells, number(found["ece"]), str(found["n"]))
        out.print(table)
        out.print(Text(f"protocol: {figures['protocol']}; intervals: 95 %, over people where there are several"))


# What the page says


def blocks_of(report: Mapping, captions: Mapping[str, Mapping[str, str]]) -> Iterator[Block]:
    """A report in the order in which it is read.

    Args:
        captions: of the pictures of each study and of `degradation`, by file name.
    """
    yield Heading(f"{report['title']}: what voice and face contribute", 1)
    yield Words(
        "Expressed emotion, as it was acted or labelled; nothing here tells what a person feels. UAR is the mean "
        "recall of the emotions. Intervals are 95 %, by drawing people again (clips, where at most one is known)."
    )
    for name, figures in report["studies"].items():
        yield from _study(figures, captions[name])
    if "degradation" in report:
        yield from _degradation(report["degradation"], captions["degradation"])
    yield Heading("Files")
    yield Words(
        f"Made by avser {report['avser']}. All figures are in report.json and in the CSV tables beside it; each "
        "row names its protocol and the logits that it is computed from."
    )


def _study(figures: Mapping, captions: Mapping[str, str]) -> Iterator[Block]:
    yield Heading(f"Contributions: {figures['title']}")
    yield Words(_headline(figures))
    header = ["", "UAR", "accuracy", "macro F1", "ECE", "ECE, with temperature", "clips"]
    yield Grid(header, [_system_row(name, found) for name, found in figures["systems"].items()])
    sources: dict[str, list[str]] = {}
    for name, found in figures["systems"].items():
        sources.setdefault(found["logits"], []).append(name_of(name))
    named = [
        f"{', '.join(names) if len(names) < 3 else 'every fused one'}: {file}" for file, names in sources.items()
    ]
    yield Words(points=[f"protocol: {figures['protocol']}", *(f"logits of {line}" for line in named)])
    for note in figures["notes"]:
        yield Words(f"Note: {note}.")
    pictures = [Picture(file, caption) for file, caption in captions.items()]
    yield from (picture for picture in pictures if "confusion" not in picture.file)
    if "comparisons" in figures:
        yield Heading("Differences on the same clips", 3)
        yield Grid(
            ["", "UAR", "accuracy", "p"],
            [
                [
                    f"{name_of(row['system'])} – {name_of(row['against'])}",
                    span(row["uar"], signed=True),
                    span(row["accuracy"], signed=True),
                    number(row["p"], 4),
                ]
                for row in figures["comparisons"]
            ],
        )
        yield Words(f"Intervals: paired, people drawn with all their clips. p of the UAR: {figures['test']}.")
    if "shapley" in figures:
        yield from _shares(figures)
    if "missing" in figures:
        yield from _missing(figures)
    yield Heading("Confusion", 3)
    yield from (picture for picture in pictures if "confusion" in picture.file)


def _system_row(name: str, found: Mapping) -> list[str]:
    figures = [span([found[key], *found[f"{key}_interval"]]) for key in ("uar", "accuracy")]
    rest = [number(found[key]) for key in ("macro_f1", "ece", "ece_calibrated")]
    return [name_of(name), *figures, *rest, str(found["n"])]


def _headline(figures: Mapping) -> str:
    """The main system in words, and what fusion gains over the better branch."""
    main, systems = figures["main"], figures["systems"]
    found = systems[main]
    count = found["subjects"] or 0
    people = "" if count == 0 else " of one person" if count == 1 else f" of {count} people"
    text = (
        f"{name_of(main).capitalize()} reaches a UAR of {span([found['uar'], *found['uar_interval']])} on "
        f"{found['n']} clips{people} ({figures['protocol']})."
    )
    against = [
        row for row in figures.get("comparisons", ()) if row["system"] == main and row["against"] in BRANCHES
    ]
    if against:
        best = min(against, key=lambda row: row["uar"][0])
        gain = f"{span(best['uar'], signed=True)}, p = {best['p']:.4f}"
        text += f" Against the better branch, the {name_of(best['against'])}, that is {gain}."
    return text


def _shares(figures: Mapping) -> Iterator[Block]:
    yield Heading("What each modality adds, and what fusion repairs and breaks", 3)
    rows = []
    for rule, shares in figures["shapley"].items():
        moved = [figures["repairs"][rule][branch] for branch in BRANCHES]
        cells = [f"{part['fixed']} / {part['lost']}" for part in moved]
        rows.append([name_of(rule), *(span(shares[branch]) for branch in BRANCHES), *cells])
    header = ["", "voice adds", "face adds", "fixed / lost against the voice", "… against the face"]
    yield Grid(header, rows)
    chance = next(iter(figures["shapley"].values()))["chance"]
    yield Words(
        f"Shapley values of the UAR: with chance, {chance:.3f}, they add up to the fused UAR. Fixed: clips that "
        "fusion gets right and the branch alone does not; lost: the other way round. At least one branch is right "
        f"for {figures['either_right']:.3f} of the {figures['on_both']} clips that have both."
    )


def _missing(figures: Mapping) -> Iterator[Block]:
    yield Heading("A modality is missing", 3)
    rows = []
    for rule, curves in figures["missing"].items():
        whole, blind, deaf = curves["face"][0], curves["face"][-1], curves["audio"][-1]
        cells = [span([point[key] for key in ("uar", "low", "high")]) for point in (whole, blind, deaf)]
        rows.append([name_of(rule), *cells, *(number(point.get("ece")) for point in (whole, blind, deaf))])
    header = ["", "UAR with both", "without the face", "without sound", "ECE with both", "without the face"]
    yield Grid([*header, "without sound"], rows)
    yield Words(
        "The rule is fitted on clips with both, then the branch is dropped. Where a share of the clips lacks it, "
        "one expects what lies between both ends on a straight line, as a clip either has it or has not."
    )


def _degradation(figures: Mapping, captions: Mapping[str, str]) -> Iterator[Block]:
    yield Heading(f"Degraded sound and pictures: {figures['model']}")
    yield Words(
        f"{figures['clips']} clips, {figures['protocol']}. A clip of which nothing is said counts as wrong. Faces "
        "were found and aligned in the pictures as they are: what the detector would lose is not counted."
    )
    yield from (Picture(file, caption) for file, caption in captions.items())
    for name, sweep in figures["sweeps"].items():
        systems = [system for system in ("audio", "face", "fused") if system in (sweep["levels"] or [{}])[0]]
        if not systems:
            yield Words(f"{sweep['title'].capitalize()}: no window has speech and a face at every offset.")
            continue
        unit = f" ({sweep['unit']})" if sweep["unit"] else ""
        yield Heading(f"{sweep['title'].capitalize()}{unit}", 3)
        keys = ("uar", "low", "high")
        yield Grid(
            ["UAR", *map(level_text, sweep["levels"])],
            [
                [name_of(system), *(span([level[system][key] for key in keys]) for level in sweep["levels"])]
                for system in systems
            ],
        )
        if "window" in sweep:
            count = sweep["levels"][0]["windows"]
            yield Words(
                f"Not clips but {count} windows of {sweep['window']:g} s of the timeline, in which there are "
                f"speech and a face at every offset. Logits: {sweep['logits']} ({name})."
            )
        else:
            yield Words(f"Logits: {sweep['logits']} ({name}).")
