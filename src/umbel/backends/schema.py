"""Celery's two tables for results: their columns, and how they are made and get what older ones lack."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from random import random
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc as theirs

from umbel.clock import SYSTEM

logger = logging.getLogger("umbel.database")

#: How often making the tables is tried, and seconds before the second time.
MAKING, FIRST_PAUSE = 10, 0.01
#: Columns that ``result_extended`` adds.
EXTENDED = ("name", "args", "kwargs", "worker", "retries", "queue", "stamps")
#: Columns without which results can be kept.
_SPARED = ("children", *EXTENDED)


class Tables:
    """Celery's two tables in one database, under the names that the settings give them."""

    def __init__(
        self, names: Mapping[str, str], schemas: Mapping[str, str], extended: bool
    ) -> None:
        metadata = sa.MetaData()
        columns = [
            *_head("task_id_sequence", schemas.get("task")),
            sa.Column("task_id", sa.String(155), unique=True),
            sa.Column("status", sa.String(50)),
            sa.Column("result", sa.LargeBinary, nullable=True),
            sa.Column("date_done", sa.DateTime, nullable=True, index=True),
            sa.Column("traceback", sa.Text, nullable=True),
            sa.Column("children", sa.LargeBinary, nullable=True),
        ]
        if extended:
            columns += [
                sa.Column("name", sa.String(155), nullable=True),
                sa.Column("args", sa.LargeBinary, nullable=True),
                sa.Column("kwargs", sa.LargeBinary, nullable=True),
                sa.Column("worker", sa.String(155), nullable=True),
                sa.Column("retries", sa.Integer, nullable=True),
                sa.Column("queue", sa.String(155), nullable=True),
                sa.Column("stamps", sa.LargeBinary, nullable=True),
            ]
        self.task = sa.Table(
            names.get("task") or "celery_taskmeta",
            metadata,
            *columns,
            schema=schemas.get("task"),
            sqlite_autoincrement=True,
        )
        self.group = sa.Table(
            names.get("group") or "celery_tasksetmeta",
            metadata,
            *_head("taskset_id_sequence", schemas.get("group")),
            sa.Column("taskset_id", sa.String(155), unique=True),
            sa.Column("result", sa.LargeBinary, nullable=True),
            sa.Column("date_done", sa.DateTime, nullable=True, index=True),
            schema=schemas.get("group"),
            sqlite_autoincrement=True,
        )
        self._metadata = metadata
        #: Names of columns that the table does not have, and that could not be added.
        self.spared = set[str]()

    def make(self, engine: sa.Engine) -> None:
        """Make what is missing. Others may do it at the same time."""
        engine.connect().close()  # who cannot be reached is asked once
        for attempt in range(MAKING):
            try:
                self._metadata.create_all(engine)
                break
            except theirs.DatabaseError:  # that of another, between the look and the making
                if attempt == MAKING - 1:
                    raise
                SYSTEM.sleep(FIRST_PAUSE * 2**attempt * (0.5 + random()))
        self._add_columns(engine)

    def _add_columns(self, engine: sa.Engine) -> None:
        """Add columns that an older table does not have, as Celery does; go on without if that is refused."""
        quote = engine.dialect.identifier_preparer
        for table in (self.task, self.group):
            for column in _missing(engine, table):
                kind = column.type.compile(engine.dialect)
                place, name = quote.format_table(table), quote.quote(column.name)
                statement = f"ALTER TABLE {place} ADD COLUMN {name} {kind}"
                try:
                    with engine.begin() as connection:
                        connection.execute(sa.text(statement))
                except theirs.DatabaseError as error:
                    if column.name not in {one.name for one in _missing(engine, table)}:
                        continue  # another has just done it
                    if column.name not in _SPARED:
                        raise
                    self.spared.add(column.name)
                    logger.warning(
                        "The table %s has no column %r, and it cannot be added: %s. Results are kept without"
                        " it. Run: %s",
                        *(table.name, column.name, error.orig, statement),
                    )

    def read(self, engine: sa.Engine) -> sa.Select[Any]:
        """Return a query of results, in the columns that there are."""
        found: list[Any] = [one for one in self.task.columns if one.name not in self.spared]
        if has_zones(engine):
            found.remove(self.task.c.date_done)
            moment = sa.cast(self.task.c.date_done, sa.DateTime(timezone=True))
            found.append(moment.label("date_done"))
        return sa.select(*found)


def has_zones(engine: sa.Engine) -> bool:
    """Tell whether dates are in the connection's time zone, into which PostgreSQL brings Celery's."""
    return bool(engine.dialect.name == "postgresql")


def _missing(engine: sa.Engine, table: sa.Table) -> list[sa.Column[Any]]:
    there = {one["name"] for one in sa.inspect(engine).get_columns(table.name, table.schema)}
    return [column for column in table.columns if column.name not in there]


def _head(sequence: str, schema: str | None) -> list[Any]:
    """Return the column of row numbers, which are counted as Celery counts them."""
    number = sa.Integer().with_variant(sa.BigInteger, "mssql")
    return [sa.Column("id", number, sa.Sequence(sequence, schema=schema), primary_key=True)]
