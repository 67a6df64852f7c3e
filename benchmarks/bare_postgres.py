"""Bare loops on PostgreSQL: what the server can do, without a task queue.

umbel's own messages in a table of their own, deleted as they are taken: 64 rows by ``SKIP LOCKED``, each
decoded, and a function called. No leases that could be reclaimed, no outcome, no retries, and the fastest
JSON decoder there is: an upper bound.
"""

from __future__ import annotations

import sys
import time

import orjson
import psycopg

from benchmarks.work import ran

BATCH = 64

MAKE = """
CREATE TABLE bare (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, headers text, body bytea);
INSERT INTO bare (headers, body) SELECT headers, body FROM umbel.message ORDER BY seq;
"""
TAKE = """
WITH taken AS (SELECT seq FROM bare ORDER BY seq LIMIT %s FOR UPDATE SKIP LOCKED)
DELETE FROM bare USING taken WHERE bare.seq = taken.seq RETURNING headers, body
"""


def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


def prepare(url: str) -> None:
    """Copy umbel's messages into a table of two columns."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(MAKE.encode())


def drain(url: str) -> None:
    """Take, decode and call until nothing is left."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=1) as connection:
        while rows := connection.execute(TAKE, (BATCH,), binary=True).fetchall():
            for headers, body in rows:
                orjson.loads(headers)
                args, kwargs, _ = orjson.loads(body)
                noop(*args, **kwargs)


def copy_rate(url: str, count: int, rows: int = 1000) -> float:
    """Return how many of the one message that waits can be copied in a second, by COPY."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(MAKE.encode())
        message = connection.execute("SELECT headers, body FROM bare").fetchone()
        assert message is not None  # noqa: S101 - it was sent
        started = time.perf_counter()
        for _ in range(count // rows):
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY bare (headers, body) FROM STDIN") as copy,
            ):
                for _ in range(rows):
                    copy.write_row(message)
        return count / (time.perf_counter() - started)


if __name__ == "__main__":
    drain(sys.argv[1])
