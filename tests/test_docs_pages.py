"""What the pages say is done, word for word; what needs a corpus is held against command line and configs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import docs_pages
import pytest
import typer
from docs_pages import Block, PageError, blocks, commands

import avser
from avser import cli, datasets
from avser.benchmark.plan import load_plan
from avser.checkpoint import known_models
from avser.config import find_config
from avser.fusion.fusing import AUTO
from avser.models.fusion import FUSION_RULES
from avser.training.fused_config import load_any
from avser.writers import WRITERS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RUN = [page for page in PAGES if any(block.language != "text" and not block.left_out for block in blocks(page))]
CHANGES = [page for page in RUN if page.parent.name == "extend"]
"""Pages that change avser itself, and so are run in a copy."""

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documents are in a checkout only")


def named(pages: list[Path]) -> list:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


@pytest.mark.parametrize("page", named([page for page in RUN if page not in CHANGES]))
def test_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    for name in ("weights", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("AVSER_DATA", str(tmp_path))  # which a page may set otherwise
    docs_pages.run_page(page)


@pytest.mark.parametrize("page", named(CHANGES))
def test_a_page_that_extends_avser_does_what_it_says(page, tmp_path):
    for name in ("avser", "configs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    paths = os.pathsep.join(map(str, (tmp_path, tmp_path / "tests")))
    env = {key: value for key, value in os.environ.items() if key != "AVSER_DATA"}
    env |= {"PYTHONPATH": paths, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, str(tmp_path / "tests" / "docs_pages.py"), str(page)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr[-4000:]


# Commands that are not run


def left_out(path: Path) -> list[Block]:
    """Shell blocks that no test runs."""
    return [block for block in blocks(path) if block.language == "sh" and (block.left_out or path not in RUN)]


WRITTEN = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *(ROOT / "weights").glob("*.md")]
HELD = [
    pytest.param(words[1:], id=f"{path.name}-{' '.join(words)}")
    for path in WRITTEN
    for block in left_out(path)
    for words in commands(block)
    if words[0] == "avser"
]


@pytest.mark.parametrize("words", HELD)
def test_a_command_that_is_not_run_exists(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    check_command(words)


def check_command(words: list[str]) -> None:
    """Parse a command as the command line does, and look up the names that it gives."""
    command = typer.main.get_command(cli.app)
    while words and (below := getattr(command, "commands", {})):
        assert words[0] in below, f"there is no command {words[0]!r}: choose from {', '.join(below)}"
        command, words = below[words[0]], words[1:]
    params = command.make_context(command.name, list(words)).params
    if "overrides" in params:
        load_any(find_config(params.get("config") or params["what"]), params["overrides"] or ())
    elif command.name == "benchmark" and params["what"] != "papers":
        load_plan(find_config(Path(params["what"])))
    for name in [*(params.get("models") or []), *([params["model"]] if params.get("model") else [])]:
        assert name in known_models() or name.isupper() or name.endswith(".safetensors"), name
    if params.get("corpus"):
        assert params["corpus"] in datasets.names()
    if params.get("rule"):
        assert params["rule"] in (*FUSION_RULES, AUTO)
    if params.get("formats"):
        assert set(params["formats"].split(",")) <= set(WRITERS)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "x.mp4", "--no-such-option"],
        ["no-such-command"],
        ["train", "no_such_config"],
        ["train", "audio_ravdess8", "training.epoch=3"],
        ["evaluate", "no-such-model", "--corpus", "savee", "--root", "x"],
        ["evaluate", "av-base", "--corpus", "no_such_corpus", "--root", "x"],
        ["predict", "x.mp4", "-f", "odd"],
        ["fuse", "--audio", "a", "--face", "b", "--rule", "odd"],
    ],
)
def test_the_check_refuses_what_does_not_exist(words):
    with pytest.raises((AssertionError, avser.AvserError, typer.BadParameter.__base__)):
        check_command(words)


# The pages' own code, in miniature


def page_of(tmp_path: Path, text: str) -> Path:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_blocks_are_read_with_title_and_reason(tmp_path):
    text = '# A\n<!-- not run: why -->\n```sh\navser x # c\n```\n\n```yaml title="a/b.yaml"\nkey: 1\n```\n'
    first, second = blocks(page_of(tmp_path, text))
    assert (first.language, first.left_out, first.line) == ("sh", "why", 4)
    assert commands(first) == [["avser", "x"]]
    assert (second.title, second.text, second.left_out) == ("a/b.yaml", "key: 1\n", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\nprint(1)\n```\n```text\n2\n```\n", "'2' is not printed"),
        ("```sh\nfalse\n```\n", "false ends with 1"),
        ('```diff title="here.txt"\n-old\n+new\n```\n', "0 times"),
        ("```cobol\nMOVE\n```\n", "nobody knows how to run 'cobol'"),
        ("```sh\nno end\n", "a fence without an end"),
        ("```{.odd}\n```\n", "a fence that no test can read"),
    ],
)
def test_a_page_that_lies_is_found_out(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    Path("here.txt").write_text("something else\n")
    with pytest.raises(PageError, match=re.escape(said)):
        docs_pages.run_page(page_of(tmp_path, text))


def test_a_page_writes_changes_and_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        '```python title="new/a.py"\nx = 1\ny = 2\n```\n```diff title="new/a.py"\n x = 1\n-y = 2\n+y = 3\n```\n'
        "```python\nexec(open('new/a.py').read())\nprint('sum', x + y)\nprint('end of it')\n```\n"
        "```text\nsum   4\nend …\n```\n"
    )
    docs_pages.run_page(page_of(tmp_path, text))
