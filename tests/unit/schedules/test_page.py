"""What docs/schedules.md shows is true."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "schedules.md"
BLOCKS = re.findall(r"^```(\w+)\n((?s:.*?))^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def test_the_code_of_the_page_runs_and_prints_what_it_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "__main__"}
    for text in blocks("python"):
        exec(compile(text, str(PAGE), "exec"), space)  # noqa: S102 - our own page
    shown = "".join(blocks("text"))
    assert capsys.readouterr().out == shown.replace("__main__.", _main(space))
    assert list(space["app"].conf.beat_schedule) == [
        *("weekly report", "tidy", "forgotten", "hourly report")
    ]


def _main(space: dict[str, Any]) -> str:
    """Return how the names of tasks begin that are made in the main module."""
    name: str = space["report"].name
    return name.removesuffix("report")


def test_the_session_of_the_page_is_what_python_prints() -> None:
    session = "".join(blocks("pycon"))
    test = doctest.DocTestParser().get_doctest(session, {}, "page", str(PAGE), 0)
    assert len(test.examples) > 8
    assert doctest.DocTestRunner().run(test).failed == 0
