"""The documents are built without a warning and without the net; their tables hold what the project holds."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from avser.config import load_config

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAPERS = sorted((ROOT / "configs" / "papers").glob("*.yaml"))

LOADS = (
    r"<(?:script|img|iframe|source)[^>]* src=\"?(https?:[^\"\s>]+)",
    r"<link[^>]* rel=\"?(?:stylesheet|preconnect|preload)[^>]* href=\"?(https?:[^\"\s>]+)",
)
"""What a browser fetches with a page."""

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documents are in a checkout only")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built pages."""
    for library in ("mkdocs", "material", "mkdocstrings"):
        if not importlib.util.find_spec(library):
            pytest.skip(f"{library} is not installed: pip install 'avser[docs]'")
    folder = tmp_path_factory.mktemp("site")
    program = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?(https?:[^\"\s>]+)", text)
        loaded += re.findall(
            r"<link[^>]* rel=\"?(?:stylesheet|preconnect|preload)[^>]*href=\"?(https?:[^\"\s>]+)", text
        )
        assert not loaded, f"{page.name}: {loaded}"


def test_figures_stand_where_the_pages_name_them(site):
    for page in site.rglob("*.html"):
        assert "{{" not in page.read_text(encoding="utf-8"), page.name
    protocols = (site / "method" / "protocols.html").read_text(encoding="utf-8")
    assert len(re.findall(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", protocols)) >= 9


def test_public_names_and_the_schema_are_described(site):
    python = (site / "guide" / "python.html").read_text(encoding="utf-8")
    for name in ("avser.load_model", "avser.Recognizer.predict", "avser.Result.to_dict", "avser.write"):
        assert f'id="{name}"' in python, name
    assert "PREDICTION for the whole file" in (site / "guide" / "results.html").read_text(encoding="utf-8")


def test_every_model_has_its_card_among_the_pages():
    cards = {path.name for path in (ROOT / "weights").glob("*.md")}
    assert cards == {path.name for path in (DOCS / "models").glob("*.md")}


def paper_rows() -> list[tuple[list[str], str, str]]:
    """Configs, protocol and what keeps people apart, of each row in the table of papers."""
    rows = []
    for line in (DOCS / "method" / "papers.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and (configs := re.findall(r"`(\w+)`", cells[1])):
            rows.append((configs, cells[3].strip("`"), cells[4].strip("`")))
    return rows


def test_every_paper_config_stands_in_the_table():
    listed = [name for configs, _, _ in paper_rows() for name in configs]
    assert sorted(listed) == [path.stem for path in PAPERS]


@pytest.mark.parametrize(("configs", "protocol", "apart"), paper_rows())
def test_the_table_of_papers_tells_protocols_that_fit(configs, protocol, apart):
    for name in configs:
        path = ROOT / "configs" / "papers" / f"{name}.yaml"
        assert load_config(path).protocol == protocol
        if apart != "as it is":
            assert load_config(path, [apart]).protocol != protocol
