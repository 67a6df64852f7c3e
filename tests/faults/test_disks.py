"""What happens to the file of SQLite: many write to it, its disk is full, it is damaged."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from tests.faults.conftest import MEASURED, Form, Settle
from tests.faults.fleet import Fleet, wait_until
from tests.faults.load import Load
from tests.faults.oracles import Figures
from umbel.clock import SYSTEM
from umbel.engines.sqlite import SqliteEngine
from umbel.exceptions import BrokerFull, UmbelError
from umbel.message import Message, Publication
from umbel.ports import Action, Consumer, FetchRequest, Owner, Settlement
from umbel.records import TaskResult, encode

pytestmark = pytest.mark.faults


def test_many_processes_write_to_one_file(place: Path, form: Form, settle: Settle) -> None:
    """S1: nobody ever hears that it is locked."""
    clients, calls = form.pick((4, 40), (8, 2_000))
    with Fleet(place) as fleet:
        nodes = fleet.start("one") if form.name == "quick" else fleet.start("one", "two")
        running = [
            subprocess.Popen(
                [sys.executable, "tasks.py", str(calls), "work"],
                cwd=fleet.directory,
                env=fleet.environment({}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(clients)
        ]
        for client in running:
            said, _ = client.communicate(timeout=600)
            assert (client.returncode, said) == (0, "")
        fleet.wait_until_quiet(60.0)
        figures = settle(fleet)
        assert (figures.tasks, figures.duplicates) == (clients * calls, 0)
        for node in nodes:
            assert "locked" not in node.text()
            assert "does not answer" not in node.text()


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk that has so much room. Skips the test where that is not allowed."""
    disk = place / "disk"
    disk.mkdir()
    options = f"size={megabytes}m"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"this user may not mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left on a disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


@pytest.mark.skipif(sys.platform != "linux", reason="it mounts a tmpfs")
def test_disk_fills_up_and_is_freed(place: Path, form: Form, settle: Settle) -> None:
    """S2: calls are refused, with the reason; nothing is lost or torn, and all goes on with the room."""
    with small_disk(place, 8) as disk, Fleet(place, data_dir=str(disk)) as fleet:
        (node,) = fleet.start("one")
        delays = []
        with Load(fleet, form.dice, form.pick(20, 100)) as load:
            for _ in range(form.pick(2, 10)):
                refused = len(load.refusals)
                ballast = fill(disk)
                fleet.ledger.fault("disk full", [])
                wait_until(lambda: len(load.refusals) > refused, 30.0, "a call to be refused")  # noqa: B023
                SYSTEM.sleep(form.pick(form.dice.uniform(0.2, 1.0), 10.0))
                with load.held():
                    freed = SYSTEM.monotonic()
                    ballast.unlink()
                wait_until(lambda: _starts_after(fleet, freed), 10.0, "tasks to start again")  # noqa: B023
                delays.append(_starts_after(fleet, freed)[0] - freed)
                load.await_more()
        assert all(isinstance(refusal.error, BrokerFull) for refusal in load.refusals)
        figures = settle(fleet, *delays)
        assert figures.duplicates == 0
        assert max(delays) <= 5.0
        assert node.text().count("Traceback") == 0, node.text()
        assert fleet.query("PRAGMA integrity_check") == [("ok",)]


def _starts_after(fleet: Fleet, moment: float) -> list[float]:
    return sorted(start.t for start in fleet.history().starts if start.t > moment)


# Damage


def _file(path: Path) -> None:
    """Make a file in use: messages that wait, are due, are leased, and are dead, and results."""
    for part in ("in the file", "in its log"):
        engine = SqliteEngine(f"sqlite:///{path}", {})
        engine.broker.publish([_publication(f"{part} {number}") for number in range(60)], 5.0)
        consumer = engine.broker.consumer(Owner(part, "node", "host", 1), 60.0)
        held = consumer.fetch(FetchRequest(("celery",), 20), 0.0)
        dead = [Settlement(one, Action.DEAD_LETTER, reason="why") for one in held[:5]]
        parked = [Settlement(one, Action.PARK, due=SYSTEM.time() + 60) for one in held[5:10]]
        consumer.settle([*dead, *parked])
        results = [TaskResult(f"m{number}", "SUCCESS", number) for number in range(30)]
        engine.results.put([encode(result) for result in results])
        # Before it is closed, which moves the log into the file.
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{path}.whole{suffix}")
        engine.close()


def _publication(name: str) -> Publication:
    message = Message({"id": name, "task": "work", "lang": "py"}, {}, b"[[0.0], {}, {}]")
    return Publication("celery", message, name)


def _damage(path: Path, dice: random.Random) -> str:
    """Do harm to a file or its log; return what was done."""
    log = Path(f"{path}-wal")
    victim = dice.choice([path, log])
    size = victim.stat().st_size
    how = dice.choice(["truncate", "zero a page", "flip bytes", "garbage", "without log"])
    if how == "without log":
        log.unlink()
    elif how == "truncate":
        os.truncate(victim, dice.randrange(size))
    else:
        with victim.open("r+b") as file:
            file.seek(
                dice.randrange(size)
                if how == "flip bytes"
                else dice.randrange(size // 4096 + 1) * 4096
            )
            file.write(
                {"zero a page": bytes(4096), "garbage": dice.randbytes(4096)}.get(
                    how, dice.randbytes(16)
                )
            )
    return f"{how}: {victim.name}"


def test_damaged_files(place: Path, form: Form, request: pytest.FixtureRequest) -> None:
    """S3: whatever is damaged, each use works or says what is wrong; the file stays where it is."""
    _file(place / "umbel.db")
    variants = {"quick": 40, "short": 200, "full": 2_000}[form.name]
    told = 0
    for number in range(variants):
        path = place / f"{number}.db"
        for suffix in ("", "-wal"):
            shutil.copy(place / f"umbel.db.whole{suffix}", f"{path}{suffix}")
        what = _damage(path, form.dice if not number else random.Random(f"{form.repeat} {number}"))
        inode = path.stat().st_ino
        told += _use(path, what)
        assert path.stat().st_ino == inode, what
    assert told  # some damage must be noticed, or this is no test
    request.node.user_properties.append((MEASURED, asdict(Figures(trials=1, faults=variants))))


def _use(path: Path, what: str) -> int:
    """Do with a file what clients and workers do; return 1 if that was ever refused."""
    engine = SqliteEngine(f"sqlite:///{path}", {})
    consumer: Consumer | None = None
    refused = 0
    try:
        consumer = engine.broker.consumer(Owner("other", "node", "host", 1), 60.0)
    except UmbelError as error:
        refused += bool(str(error))
    uses: list[Callable[[], object]] = [
        lambda: engine.broker.publish([_publication("new")], 1.0),
        engine.queues.depths,
        lambda: engine.queues.peek("celery", 100),
        lambda: engine.queues.dead_letters(100),
        lambda: engine.results.get([f"m{number}" for number in range(30)]),
        lambda: engine.broker.renew("node", 60.0),
    ]
    if consumer is not None:
        uses.append(partial(_drain, consumer))
    for use in uses:
        try:
            use()
        except UmbelError as error:
            refused += bool(str(error))
        except Exception as error:
            error.add_note(what)
            raise
    engine.close()
    return min(refused, 1)


def _drain(consumer: Consumer) -> None:
    for _ in range(10):
        got = consumer.fetch(FetchRequest(("celery",), 20), 0.0)
        consumer.settle([Settlement(one, Action.ACK) for one in got])


def test_worker_of_a_damaged_file(place: Path, form: Form) -> None:
    """S3: it does not start, says why in a sentence, and leaves the file alone."""
    with Fleet(place) as fleet:
        fleet.send("work", [(0.0,)])
        fleet.app.close()
        path = Path(fleet.app.broker_url.removeprefix("sqlite:///"))
        damaged = b"not a database" * 4096
        path.write_bytes(damaged)
        Path(f"{path}-wal").unlink(missing_ok=True)
        node = fleet.launch("one", {})
        assert node.wait(30.0) == 2
        assert "is not an SQLite file; it was left as it is" in node.text()
        assert "Traceback" not in node.text()
        assert path.read_bytes() == damaged
        path.unlink()
