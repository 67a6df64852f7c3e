"""The tables: made by whoever comes first, checked by all, brought up to date by a command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg
import pytest

from tests.postgres_servers import SHARED, shared_space
from umbel import Umbel
from umbel.clock import unique_id
from umbel.engines.postgres import PostgresEngine
from umbel.engines.postgres.link import Link
from umbel.engines.postgres.migrations import VERSION, Migrations
from umbel.exceptions import ImproperlyConfigured
from umbel.ports import Action, FetchRequest, Owner, Settlement
from umbel.testing.conformance.support import PATIENCE, until

pytestmark = pytest.mark.engine


@contextmanager
def opened(url: str) -> Iterator[PostgresEngine]:
    with closing(PostgresEngine(url, {})) as engine:
        yield engine


@pytest.fixture
def space() -> Iterator[tuple[str, str]]:
    """A schema that is not there yet."""
    with shared_space() as space:
        yield space


def run(statement: str) -> None:
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(statement.encode())


def make_version_1(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tables as the first umbel had them."""
    with opened(url) as engine, monkeypatch.context() as patch:
        patch.setattr("umbel.engines.postgres.migrations.VERSION", 1)
        patch.setattr("umbel.engines.postgres.migrations.OLDEST", 1)
        assert len(engine.migrate()) == 1


def test_the_first_to_come_makes_the_tables(space: tuple[str, str]) -> None:
    url, _ = space
    with opened(url) as engine:
        assert engine.problem() is None
        assert engine.queues.depths() == {}
        assert engine.migrate() == []


def test_many_may_make_them_at_once(space: tuple[str, str]) -> None:
    url, _ = space

    def migrate(_: int) -> int:
        with opened(url) as engine:
            return len(engine.migrate())

    with ThreadPoolExecutor(6) as executor:
        assert sorted(executor.map(migrate, range(6))) == [0, 0, 0, 0, 0, VERSION]


def test_nothing_is_made_where_that_is_not_wanted(space: tuple[str, str]) -> None:
    url, schema = space
    with opened(f"{url}&create_tables=no") as engine:
        text = f"not in the schema '{schema}' .*Run: umbel -A APP migrate"
        assert engine.problem() is not None
        with pytest.raises(ImproperlyConfigured, match=text):
            engine.queues.depths()
        assert engine.migrate() == [
            f"Made version {number} of the tables in the schema {schema!r} of {engine.url}."
            for number in range(1, VERSION + 1)
        ]
        assert engine.problem() is None
        assert engine.queues.depths() == {}


def test_tables_of_another_version_are_refused_and_left_alone(space: tuple[str, str]) -> None:
    url, schema = space
    with opened(url) as engine:
        engine.migrate()
    run(f'DELETE FROM "{schema}".migration WHERE version > 1')
    with opened(url) as engine:
        assert f"have version 1, and this umbel needs {VERSION}. Run: umbel" in str(
            engine.problem()
        )
        with pytest.raises(ImproperlyConfigured, match="Run: umbel"):
            engine.queues.depths()
    run(f'UPDATE "{schema}".migration SET version = 9, oldest = {VERSION + 1}')
    with opened(url) as engine:
        assert f"needs a newer umbel: this one knows {VERSION}" in str(engine.problem())
        with pytest.raises(ImproperlyConfigured, match="Upgrade umbel here"):
            engine.migrate()
    # One that works with what we know.
    run(f'UPDATE "{schema}".migration SET version = 9, oldest = {VERSION}')
    with opened(url) as engine:
        assert engine.problem() is None
        assert engine.queues.depths() == {}


#: What two owners hold, and what waits, in tables of version 1; three of one claim were handed over alike.
LEASED = """
INSERT INTO queue (name) VALUES ('q');
INSERT INTO lane (queue, urgency, noted) VALUES (1, 0, now());
INSERT INTO owner (name, node, host, pid, expires)
VALUES ('lives', 'node', 'host', 1, now() + interval '1 hour'), ('dead', 'node', 'host', 2, now());
INSERT INTO message (seq, published, task_id, tag, headers, properties, content_type, content_encoding, body)
SELECT nextval('message_seq'), now(), n, 'tag ' || n, '{}', '{}', 'application/json', 'utf-8', '[[], {}, {}]'
FROM generate_series(1, 8) AS n;
INSERT INTO place (seq, lease, owner, queue, count, crashes, urgency, state)
VALUES (1, 5, 1, 1, 1, 0, 0, 2), (2, 5, 1, 1, 1, 0, 0, 2), (3, 5, 1, 1, 3, 1, 0, 2), (4, 5, 1, 1, 1, 0, 0, 2),
    (5, 5, 1, 1, 1, 0, 0, 3), (6, 6, 2, 1, 2, 0, 0, 2), (7, 6, 2, 1, 2, 0, 0, 3), (8, 0, NULL, 1, 0, 0, 0, 0);
"""


def test_what_is_leased_stays_so_when_leases_get_tables_of_their_own(
    space: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, schema = space
    make_version_1(url, monkeypatch)
    run(f'SET search_path TO "{schema}"; {LEASED}')
    with opened(url) as engine:
        assert len(engine.migrate()) == VERSION - 1
        depth = engine.queues.depths()["q"]
        assert (depth.ready, depth.scheduled, depth.leased) == (1, 0, 7)
        assert [(one.owner.id, one.held) for one in engine.queues.holdings()] == [
            ("dead", 2),
            ("lives", 5),
        ]
        # Keys are as they were: what is known not to have started goes back, the rest is handed over.
        with closing(engine.broker.consumer(Owner("me", "node", "host", 3), 60.0)) as consumer:
            handed = consumer.reclaim("lives", {"2.5", "4.5", "6.6"})
            assert [(one.key, one.count, one.crashes, one.early) for one in handed] == [
                ("1.5", 1, 0, False),
                ("3.5", 3, 1, False),
                ("5.5", 1, 0, True),
            ]
            again = consumer.reclaim("dead", None)
            assert [(one.key, one.count, one.early) for one in again] == [("7.6", 2, True)]
            consumer.settle([Settlement(one, Action.ACK) for one in [*handed, *again]])
            found = consumer.fetch(FetchRequest(["q"], 10), 0.0)
            assert [(one.key.split(".")[0], one.count) for one in found] == [
                ("2", 1),
                ("4", 1),
                ("6", 3),
                ("8", 1),
            ]


def test_who_publishes_with_a_change_meanwhile_and_a_migration_do_not_wait_for_each_other(
    space: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, schema = space
    make_version_1(url, monkeypatch)
    with opened(url) as engine, ThreadPoolExecutor(1) as executor:
        with psycopg.connect(SHARED) as connection:
            connection.execute(f'SET search_path TO "{schema}"'.encode())
            connection.execute(b"INSERT INTO entry (kind, key, value) VALUES ('any', 'any', 'any')")
            migrated = executor.submit(engine.migrate)
            waits = b"SELECT 1 FROM pg_locks WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
            until(lambda: bool(connection.execute(waits).fetchall()))
            connection.execute(b"LOCK TABLE place IN ROW EXCLUSIVE MODE")
        assert len(migrated.result(PATIENCE)) == VERSION - 1


def test_who_had_rights_on_the_tables_has_them_on_new_ones(
    space: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, schema = space
    make_version_1(url, monkeypatch)
    run(f'CREATE ROLE "{schema}" LOGIN')
    try:
        run(f'GRANT USAGE ON SCHEMA "{schema}" TO "{schema}"')
        run(f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO "{schema}"')
        run(f'GRANT ALL ON ALL SEQUENCES IN SCHEMA "{schema}" TO "{schema}"')
        with opened(url) as engine:
            engine.migrate()
        with opened(url.replace("postgres@", f"{schema}@")) as engine:
            consumer = engine.broker.consumer(Owner("me", "node", "host", 3), 60.0)
            assert consumer.fetch(FetchRequest(["q"], 10), 0.0) == []
            assert engine.queues.depths()["q"].leased == 0
            consumer.close()
    finally:
        run(f'DROP OWNED BY "{schema}"')
        run(f'DROP ROLE "{schema}"')


@contextmanager
def user(name: str, *rights: str) -> Iterator[None]:
    """A user of this name, who has nothing but these rights."""
    run(f'CREATE ROLE "{name}" LOGIN')
    try:
        for right in rights:
            run(f'GRANT {right} TO "{name}"')
        yield
    finally:
        run(f'DROP OWNED BY "{name}"')
        run(f'DROP ROLE "{name}"')


@pytest.mark.parametrize(
    ("there", "rights"), [(False, ()), (True, ()), (True, ("USAGE",)), (True, ("CREATE",))]
)
def test_who_may_not_make_them_is_told_so_before_a_worker_starts(
    space: tuple[str, str], there: bool, rights: tuple[str, ...]
) -> None:
    url, schema = space
    if there:
        run(f'CREATE SCHEMA "{schema}"')
    text = f"This user may not make the tables of umbel in the schema '{schema}' of "
    with (
        user(schema, *(f'{right} ON SCHEMA "{schema}"' for right in rights)),
        opened(url.replace("postgres@", f"{schema}@")) as engine,
    ):
        assert str(engine.problem()).startswith(text)
        with pytest.raises(ImproperlyConfigured, match=text):
            engine.queues.depths()
        with pytest.raises(ImproperlyConfigured, match=text):
            engine.migrate()
    with opened(url) as engine:
        assert engine.problem() is None


def test_who_may_not_change_them_is_told_so(
    space: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, schema = space
    make_version_1(url, monkeypatch)
    rights = (f'USAGE ON SCHEMA "{schema}"', f'SELECT ON ALL TABLES IN SCHEMA "{schema}"')
    with (
        user(schema, *rights),
        opened(url.replace("postgres@", f"{schema}@")) as engine,
        pytest.raises(ImproperlyConfigured, match="This user may not make the tables"),
    ):
        engine.migrate()


def test_tables_that_somebody_makes_while_this_looks_are_no_other_programs(
    space: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers that start on an empty server: one looks while the other makes them."""
    look = Migrations._version
    with opened(space[0]) as engine:

        def look_and_be_overtaken(self: Migrations, link: Link) -> tuple[int, int] | None:
            found = look(self, link)
            if found is None:
                monkeypatch.setattr(Migrations, "_version", look)
                engine.migrate()
            return found

        monkeypatch.setattr(Migrations, "_version", look_and_be_overtaken)
        assert engine.problem() is None


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        ("TABLE {s}.migration (version text, oldest text)", "one is called migration"),
        ("TABLE {s}.migration (id integer)", "one is called migration"),
        ("VIEW {s}.migration AS SELECT 1 AS version, 1 AS oldest", "one is called migration"),
        ("TABLE {s}.message (id integer)", "message"),
        ("VIEW {s}.result AS SELECT 1", "result"),
    ],
)
def test_tables_of_another_program_are_left_alone(
    space: tuple[str, str], theirs: str, named: str
) -> None:
    url, schema = space
    run(f'CREATE SCHEMA "{schema}"')
    run("CREATE " + theirs.format(s=f'"{schema}"'))
    text = (
        f"The schema '{schema}' of .* has tables of another program .*{named}.* schema of its own"
    )
    with opened(url) as engine:
        assert re.match(text, str(engine.problem()))
        with pytest.raises(ImproperlyConfigured, match=text):
            engine.queues.depths()
        with pytest.raises(ImproperlyConfigured, match=text):
            engine.migrate()
    with psycopg.connect(SHARED) as connection:
        where = b"SELECT count(*) FROM pg_class WHERE relnamespace = %s::regnamespace"
        assert connection.execute(where, (f'"{schema}"',)).fetchall() == [(1,)]


def test_a_database_that_cannot_hold_all_texts_is_told_of_before_a_worker_starts() -> None:
    name = f"umbel_test_{unique_id()}"
    run(f"CREATE DATABASE \"{name}\" ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        with opened(SHARED.rpartition("/")[0] + f"/{name}") as engine:
            assert "has the encoding SQL_ASCII, and umbel needs UTF8" in str(engine.problem())
    finally:
        run(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_a_user_with_rights_on_the_tables_needs_no_others(space: tuple[str, str]) -> None:
    url, schema = space
    with opened(url) as engine:
        engine.migrate()
    run(f'CREATE ROLE "{schema}" LOGIN')
    try:
        run(f'GRANT USAGE ON SCHEMA "{schema}" TO "{schema}"')
        run(f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO "{schema}"')
        run(f'GRANT ALL ON ALL SEQUENCES IN SCHEMA "{schema}" TO "{schema}"')
        app = Umbel(broker=url.replace("postgres@", f"{schema}@"), set_as_current=False)
        app.send_task("any")
        assert app.queues.depths()["celery"].ready == 1
        app.close()
    finally:
        run(f'DROP OWNED BY "{schema}"')
        run(f'DROP ROLE "{schema}"')
