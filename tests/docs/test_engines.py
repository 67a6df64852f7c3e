"""The table of what engines offer, held against the engines."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from umbel.engines import open_engine
from umbel.ports import Features

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
URLS = {
    "memory": "memory://features",
    "sqlite": "sqlite:///{}/umbel.db",
    "redis": "redis://localhost/0",
    "rabbitmq": "amqp://localhost",
    "postgres": "postgresql://localhost/none",
}
PORTS = {"keeps results": "results", "keeps state": "state", "broadcasts": "broadcast"}


def shown(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:g}"


def test_the_table_of_features_says_what_the_engines_say(tmp_path: Path) -> None:
    lines = [
        [cell.strip().strip("`") for cell in line.strip("| \n").split("|")]
        for line in PAGE.read_text("utf-8").partition("\n## ")[0].splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    names = lines[0][-len(URLS) :]
    assert names == list(URLS)
    table = {line[0]: line[1:] for line in lines[1:]}
    engines = [open_engine(URLS[name].format(tmp_path)) for name in names]
    expected = {
        field.name: [shown(getattr(engine.features, field.name)) for engine in engines]
        for field in fields(Features)
    }
    for title, port in PORTS.items():
        expected[title] = [shown(getattr(engine, port) is not None) for engine in engines]
    assert table == expected
    for engine in engines:
        engine.close()
