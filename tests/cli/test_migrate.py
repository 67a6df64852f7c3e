from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import TASKS, Command
from tests.postgres_servers import shared_space
from umbel import Umbel
from umbel.absent import MOVING


@pytest.fixture
def space(project: Umbel, tmp_path: Path) -> Iterator[str]:
    """A schema without tables, where nobody makes them unasked."""
    with shared_space() as (url, schema):
        (tmp_path / "in_postgres.py").write_text(TASKS.format(url=f"{url}&create_tables=no"))
        yield schema
    sys.modules.pop("in_postgres").app.close()


@pytest.mark.engine
def test_it_makes_the_tables_once(umbel: Command, space: str) -> None:
    before = umbel("queues", app="in_postgres")
    assert before.code == 2
    assert f"The tables of umbel are not in the schema '{space}'" in before.err
    assert "Run: umbel -A APP migrate" in before.err
    first = umbel("migrate", app="in_postgres")
    assert first.code == 0
    assert first.out.startswith(
        f"Made version 1 of the tables in the schema '{space}' of postgresql://"
    )
    assert umbel("queues", app="in_postgres").code == 0
    assert umbel("migrate", app="in_postgres").out == "The tables are up to date.\n"
    assert umbel("migrate", "--json", app="in_postgres").data == []


@pytest.mark.engine
def test_the_state_store_has_tables_too(umbel: Command, project: Umbel, tmp_path: Path) -> None:
    with shared_space() as (url, schema):
        (tmp_path / "state_in_postgres.py").write_text(
            TASKS.format(url="memory://") + f"\napp.conf.state_url = {url!r}\n"
        )
        first = umbel("migrate", app="state_in_postgres")
        assert first.out.startswith(f"Made version 1 of the tables in the schema '{schema}' of")
        sys.modules.pop("state_in_postgres").app.close()


def test_it_says_where_there_is_nothing_to_do(umbel: Command, project: Umbel) -> None:
    ended = umbel("migrate")
    assert (ended.code, ended.out) == (
        0,
        "Nothing to do: neither the broker nor a store of results or state has tables to update.\n",
    )


def test_celerys_command_of_that_name_is_told_apart(umbel: Command) -> None:
    ended = umbel("migrate", "redis://old", "amqp://new", app=None)
    assert ended.code == 2
    assert f"umbel migrate with two URLs {MOVING}." in " ".join(ended.err.split())
