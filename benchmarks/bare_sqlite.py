"""Bare loops on SQLite: what the file itself can do, without a task queue.

The same messages, the same tables and the same durability as umbel's; claim 64 rows, decode, call a
function, delete them with the next claim. No leases that could be reclaimed, no outcome, no
retries, no helper: an upper bound.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from pathlib import Path

from benchmarks.work import ran

BATCH = 64


def connect(path: Path | str, durability: str) -> sqlite3.Connection:
    """Open a file as umbel does."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {durability}")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    return connection


def begin(connection: sqlite3.Connection) -> None:
    """Take the write lock, with short waits."""
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:
            time.sleep(0.0002)


def drain(path: Path, durability: str, me: int) -> None:
    """Claim, decode, call and delete until nothing is left."""
    connection = connect(path, durability)
    done: list[tuple[int]] = []
    while True:
        begin(connection)
        connection.executemany("DELETE FROM message WHERE seq = ?", done)
        rows = connection.execute(
            "UPDATE message SET state = 2, owner = ? WHERE seq IN (SELECT seq FROM message"
            " WHERE queue = 1 AND state = 0 ORDER BY urgency, seq LIMIT ?)"
            " RETURNING seq, headers, body",
            (me, BATCH),
        ).fetchall()
        connection.execute("COMMIT")
        if not rows:
            return
        for _, headers, body in rows:
            json.loads(headers)
            args, kwargs, _ = json.loads(body)
            noop(*args, **kwargs)
        done = [(row[0],) for row in rows]


def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


def one_row_commits(path: str, durability: str, rows: int) -> float:
    """Insert rows one by one, each in a transaction of its own; return rows per second."""
    connection = connect(path, durability)
    connection.execute("CREATE TABLE bare (seq INTEGER PRIMARY KEY, body BLOB)")
    body = b"x" * 600
    started = time.perf_counter()
    for _ in range(rows):
        begin(connection)
        connection.execute("INSERT INTO bare (body) VALUES (?)", (body,))
        connection.execute("COMMIT")
    return rows / (time.perf_counter() - started)


if __name__ == "__main__":
    drain(Path(sys.argv[1]), sys.argv[2], os.getpid())
