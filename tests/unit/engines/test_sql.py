from __future__ import annotations

import re
import sqlite3

import pytest

from umbel.engines.sql import script, statements

PACKAGE = "umbel.engines.sqlite"
FILES = ["bell.sql", "broker.sql", "queues.sql", "results.sql", "state.sql"]


def test_statements_are_found_by_name_without_their_comments() -> None:
    found = statements(PACKAGE, "broker.sql")
    assert found["add_queue"] == "INSERT OR IGNORE INTO queue (name) VALUES (?);"
    assert not any("--" in text for text in found.values())


def test_a_script_is_cut_into_statements() -> None:
    found = script(PACKAGE, "schema.sql")
    assert all(text.startswith("CREATE ") for text in found)
    assert len(found) > 10


@pytest.mark.parametrize("filename", FILES)
def test_every_statement_fits_the_tables(filename: str) -> None:
    connection = sqlite3.connect(":memory:")
    for text in script(PACKAGE, "schema.sql"):
        connection.execute(text)
    for text in statements(PACKAGE, filename).values():
        names = re.findall(r":([a-z_]+)", text)
        values = dict.fromkeys(names) if names else [None] * text.count("?")
        connection.execute(f"EXPLAIN {text}", values)
    connection.close()
