from __future__ import annotations

from pathlib import Path

import pytest

from umbel.engines import open_engine
from umbel.engines.sqlite import SqliteEngine
from umbel.exceptions import ImproperlyConfigured


def test_an_absolute_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SqliteEngine("sqlite:////var/lib/u.db", {}).path == Path("/var/lib/u.db")
    assert SqliteEngine("sqlite:///data/my%20u.db", {}).path == tmp_path / "data" / "my u.db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/file.db"])
def test_a_url_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="names no file"):
        SqliteEngine(url, {})


def test_an_unknown_durability_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="durability is 'none', but must be full or"):
        SqliteEngine("sqlite:////x.db?durability=none", {})


def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/sub/umbel.db")
    assert engine.broker is engine.broker
    assert engine.results is not None
    engine.close()
    assert list(tmp_path.iterdir()) == []


def test_one_file_is_one_url() -> None:
    with pytest.raises(ImproperlyConfigured, match="names several files"):
        open_engine("sqlite:////tmp/one.db;sqlite:////tmp/other.db")
