"""The MariaDB server of this machine, for tests of results in databases: one of its databases for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from tests.missing import missing
from umbel.clock import unique_id

SHARED = "mysql+pymysql://root@127.0.0.1:3306/"


@contextmanager
def own_database() -> Iterator[str]:
    """Give SQLAlchemy's URL of an empty database, which goes at the end. Skip a test that has no server."""
    name = f"umbel_test_{unique_id()}"
    try:
        _run(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    except sa.exc.OperationalError as error:
        missing("mariadb", f"no MariaDB answers at {SHARED} ({error})")
    try:
        yield SHARED + name
    finally:
        _run(f"DROP DATABASE `{name}`")


def _run(statement: str) -> None:
    engine = sa.create_engine(SHARED)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
