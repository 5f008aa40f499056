"""Pages of Markdown as programs: what they say is written, changed, run, and compared with what they show.

A fence with a title is a file: it is written, or, as a `diff`, changed. `sh` and `python` are run, the blocks of
a page one after the other. A `text` block behind them is what they print, line by line in this order; `…` stands
for anything. A comment `<!-- not run: REASON -->` ahead of a fence leaves it out, `<!-- setup: NAME -->` on a page
asks for something that the reader has: see `SETUPS`.

    python tests/docs_pages.py PAGE    runs one in the current folder
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?$")


class PageError(AssertionError):
    """What a page says does not hold."""


@dataclass(frozen=True)
class Block:
    """A fence: its language, the file it is, its text, its first line's number, and why it is not run."""

    language: str
    title: str | None
    text: str
    line: int
    left_out: str | None


def blocks(page: Path) -> Iterator[Block]:
    """The fences of a page in their order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number, reason = 0, None
    while number < len(lines):
        line = lines[number]
        if found := re.fullmatch(r"<!-- not run: (.+) -->", line):
            reason = found[1]
        elif line.startswith("```"):
            opened = FENCE.match(line)
            if opened is None:
                raise PageError(f"{page}:{number + 1}: a fence that no test can read: {line}")
            end = next((i for i in range(number + 1, len(lines)) if lines[i] == "```"), None)
            if end is None:
                raise PageError(f"{page}:{number + 1}: a fence without an end")
            text = "\n".join(lines[number + 1 : end]) + "\n"
            yield Block(opened[1], opened[2], text, number + 2, reason)
            number, reason = end, None
        elif line.strip():
            reason = None
        number += 1


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block, without comments, as words."""
    lines = block.text.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split(" && ")]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def setups(page: Path) -> list[str]:
    """What a page takes for granted."""
    return re.findall(r"^<!-- setup: (\w+) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)


def run_page(page: Path) -> None:
    """Do in the current folder what a page says.

    Raises:
        PageError: a command fails, or prints something else than the page shows.
    """
    for name in setups(page):
        SETUPS[name]()
    names: dict[str, object] = {"__name__": "__main__"}
    printed: str | None = None
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.left_out:
            printed = None
        elif block.language == "diff":
            change(Path(block.title), block.text, where)
        elif block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            printed = "".join(run_command(words, where) for words in commands(block))
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block.text, where, "exec"), names)
            printed = out.getvalue()
        elif block.language == "text" and printed is not None:
            compare(block.text, printed, where)
        elif block.language != "text":
            raise PageError(f"{where}: nobody knows how to run {block.language!r}")


def change(path: Path, diff: str, where: str) -> None:
    """Lay a hunk over a file, where its old lines occur once."""
    lines = diff.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    content = path.read_text(encoding="utf-8")
    if content.count(old) != 1:
        raise PageError(f"{where}: {path} holds the lines to change {content.count(old)} times")
    path.write_text(content.replace(old, new), encoding="utf-8")


def run_command(words: list[str], where: str) -> str:
    """What a command prints."""
    if words[0] == "export":
        name, _, value = words[1].partition("=")
        os.environ[name] = value
        return ""
    if words[0] == "avser":
        code, printed = run_avser(words[1:])
    else:
        program = [sys.executable, "-m", "pytest"] if words[0] == "pytest" else words[:1]
        done = subprocess.run([*program, *words[1:]], capture_output=True, text=True)
        code, printed = done.returncode, done.stdout + done.stderr
    if code:
        raise PageError(f"{where}: {shlex.join(words)} ends with {code}\n{printed}")
    return printed


def run_avser(arguments: list[str]) -> tuple[int, str]:
    """Exit code and output of the command line, in this process, which saves loading torch again."""
    from avser import cli

    before, sys.argv = sys.argv, ["avser", *arguments]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            cli.main()
    except SystemExit as stop:
        return stop.code or 0, out.getvalue()
    finally:
        sys.argv = before
    return 0, out.getvalue()


def compare(shown: str, printed: str, where: str) -> None:
    """Whether each line that is shown was printed, in this order."""
    rest = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in shown.splitlines():
        pattern = ".*".join(re.escape(part.strip()) for part in " ".join(line.split()).split("…"))
        if not any(re.match(pattern, said) for said in rest):
            raise PageError(f"{where}: {line!r} is not printed (in this place), but\n{printed}")


def _recordings() -> None:
    """A folder of films, one of each person and emotion, that nobody can confuse."""
    import numpy as np
    from av_corpus import FPS, PEOPLE, film, write_clip
    from corpora import EMOTIONS, RATE, make_sound

    rng = np.random.default_rng(0)
    for emotion in EMOTIONS:
        for person, name in enumerate(PEOPLE[:5]):
            samples = make_sound(emotion, rng)
            pictures = film(emotion, person, round(FPS * len(samples) / RATE), rng)
            write_clip(Path("recordings") / emotion / f"{name}_1.mkv", pictures, samples)


SETUPS: dict[str, Callable[[], None]] = {"recordings": _recordings}

if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
