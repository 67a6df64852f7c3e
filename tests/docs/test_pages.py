"""The pages for a first-time user, and the one on tests: every block on them is run, and its output compared.

``UMBEL_WRITE_DOCS=1 pytest tests/docs`` writes the real output into them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import BLOCK, ROOT, Block, Project, agrees, blocks

DOCS = ROOT / "docs"
PAGES = [
    DOCS / "start.md",
    DOCS / "testing.md",
    DOCS / "workflows.md",
    *sorted((DOCS / "learn").glob("*.md")),
]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    directory = tmp_path / "bookstore"
    directory.mkdir()
    made = Project(directory)
    yield made
    made.close()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_shows_what_happens(path: Path, project: Project) -> None:
    page = path.read_text("utf-8")
    real, end = "", 0
    for found in BLOCK.finditer(page):
        block = Block(found["language"], found["caption"], found["text"])
        real += page[end : found.start("text")] + project.run(block)
        end = found.end("text")
    real += page[end:]
    if os.environ.get("UMBEL_WRITE_DOCS"):
        path.write_text(real, "utf-8")
    assert real == page


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_code_on_a_page_is_left_out(path: Path) -> None:
    page = path.read_text("utf-8")
    fences = page.count("\n```") - 2 * page.count("\n```{toctree}")
    assert fences == 2 * len(list(blocks(page)))
    assert "\n    " not in BLOCK.sub("", page), "code without a fence is not run"


def test_three_dots_stand_for_any_lines() -> None:
    assert agrees("a\n...\nd\n", "a\nb\nc\nd\n")
    assert agrees("a\n  ...\nd\n", "a\nd\n")
    assert not agrees("a\n...\nd\n", "a\nb\nd\ne\n")
    assert not agrees("a\nd\n", "a\nb\nd\n")
