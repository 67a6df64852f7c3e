"""S5: the power is cut while a process publishes and settles on an SQLite file."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.faults.conftest import MEASURED, Form
from tests.faults.oracles import Figures
from tests.faults.recorded import Step, left, record, said

pytestmark = pytest.mark.faults

#: What is recorded. It says of each message when it begins to publish or settle it, and when that is done.
WORK = """
import os, sys
from umbel.engines.sqlite import SqliteEngine, database
from umbel.message import Message, Publication
from umbel.ports import Action, FetchRequest, Owner, Settlement
from umbel.records import TaskResult, encode

def say(*words):
    os.write(2, " ".join(map(str, words)).encode() + b" ")

database.CHECKPOINT_PAGES = 40
engine = SqliteEngine(sys.argv[1], {})
consumer = engine.broker.consumer(Owner("o", "n", "h", 1), 60.0)
for number in range(int(sys.argv[2])):
    id = f"m{number}"
    engine.broker.publish([Publication("q", Message({"id": id}, {}, b"x" * 500), id)], 5.0)
    say(f"published-{id}")
    if number % 2:
        (found,) = consumer.fetch(FetchRequest(("q",), 1), 0.0)
        name = found.message.headers["id"]
        say(f"settling-{name}")
        result = encode(TaskResult(name, "SUCCESS", 1))
        consumer.settle([Settlement(found, Action.ACK, result=result)])
        say(f"settled-{name}")
"""


def test_power_cut(place: Path, form: Form, request: pytest.FixtureRequest) -> None:
    """Whenever it comes and whatever it leaves of what was not synced: nothing accepted is lost or torn."""
    messages, cuts = {"quick": (20, 30), "short": (40, 300), "full": (200, 1_000_000)}[form.name]
    path = place / "umbel.db"
    command = [sys.executable, "-c", WORK, f"sqlite:///{path}", str(messages)]
    steps = record(command, place)
    words = said(steps)
    assert {f"published-m{number}" for number in range(messages)} <= words
    assert any(step.kind == "write" and step.file == str(path) for step in steps), "no checkpoint"
    moments = range(1, len(steps) + 1)
    chosen = moments if len(moments) <= cuts else form.dice.sample(moments, cuts)
    count = 0
    for moment in chosen:
        for how in ("all", "synced", "some"):
            _check(
                steps[:moment],
                how,
                random.Random(f"{form.repeat} {moment}"),
                place / "after.db",
                path,
            )
            count += 1
    figures = Figures(trials=1, tasks=messages, faults=count)
    request.node.user_properties.append((MEASURED, asdict(figures)))


def _check(steps: list[Step], how: str, dice: random.Random, copy: Path, path: Path) -> None:
    """Look at what a power cut left, as whoever comes next finds it."""
    words = said(steps)
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{copy}{suffix}").unlink(missing_ok=True)
    for name, content in left(steps, how, dice).items():
        if name.startswith(str(path)):
            Path(f"{copy}{name.removeprefix(str(path))}").write_bytes(content)
    if not any(word.startswith("published") for word in words):
        return  # it may not even have tables
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        where = (how, len(steps))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], where
        messages = _ids(connection, "SELECT json_extract(headers, '$.id') FROM message")
        results = _ids(connection, "SELECT task_id FROM result")
    published, settling, settled = (
        {word.partition("-")[2] for word in words if word.startswith(kind)}
        for kind in ("published-", "settling-", "settled-")
    )
    assert published - settling <= messages, where
    assert settled <= results, where
    assert not settled & messages, where
    # What was being settled is settled whole, or not at all.
    assert all((id in messages) is not (id in results) for id in settling), where


def _ids(connection: sqlite3.Connection, query: str) -> set[str]:
    return {id for (id,) in connection.execute(query)}
