"""F1: among good messages, poison of every kind: each is a dead letter with its reason, all good ones run."""

from __future__ import annotations

import bz2
import json
import os
import pickle
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.clock import unique_id
from umbel.engines.memory.space import forget_space
from umbel.message import Message, Publication
from umbel.worker.bootstrap import Orders, Source
from umbel.worker.child import Child
from umbel.worker.forkserver import make_child
from umbel.worker.page import Page

ACCEPT = ("json", "yaml", "msgpack")
HEADERS = {"task": "proj.add", "id": "poison", "lang": "py"}
BODY = b"[[1, 2], {}, {}]"
YAML, MSGPACK = "application/x-yaml", "application/x-msgpack"
GZIP = "application/x-gzip"
MEGABYTE = 2**20


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def poison(
    body: bytes = BODY,
    content_type: str = "application/json",
    properties: dict[str, Any] | None = None,
    **headers: Any,
) -> Message:
    return Message({**HEADERS, **headers}, properties or {}, body, content_type)


def protocol_1(**body: Any) -> Message:
    return Message({}, {}, json.dumps({"task": "proj.add", "id": "poison", **body}).encode())


LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (n + 1, n + 1, b", ".join([b"*%c" % n] * 9)) for n in range(97, 106)
)

#: What no worker can run, and what its dead letter says.
POISON: list[tuple[Message, str]] = [
    (poison(b""), "not JSON"),
    (poison(b"\xff\xfe"), "not JSON"),
    (poison(b"[[1, 2], {}"), "not JSON"),
    (poison(b"null"), "not a list of args"),
    (poison(b"[1, 2]"), "not a list of args"),
    (poison(b"[5, {}, {}]"), "args are not a list"),
    (poison(b"[[], [], {}]"), "kwargs not an object"),
    (poison(b"[[], {}, 5]"), "third part"),
    (poison(b'[[{"__type__": "x", "__value__": 1}], {}, {}]'), "unknown type marker"),
    (poison(b'[[{"__type__": "datetime", "__value__": {}}], {}, {}]'), "not JSON as umbel"),
    (poison(b"[[%s], {}, {}]" % (b"9" * 5000)), "digits"),
    (poison(b"[" * 100_000), "message_max_depth"),
    (poison(b'{"a":' * 100_000), "message_max_depth"),
    (poison(b" " * (MEGABYTE + 1)), "message_max_bytes"),
    (poison(pickle.dumps(Bomb()), "application/x-python-serialize"), "ContentDisallowed: "),
    (poison(BODY, "application/x-unknown"), "ContentDisallowed: "),
    (poison(BODY, ""), "ContentDisallowed: "),
    (poison(BODY, "json"), "ContentDisallowed: "),
    (poison(b"a: b: c", YAML), "cannot be read as yaml"),
    (poison(b"!!python/object/apply:os._exit [1]", YAML), "cannot be read as yaml"),
    (poison(LAUGHS, YAML), "aliases"),
    (poison(b"- " * 1000, YAML), "message_max_depth"),
    (poison(b"[[%s], {}, {}]" % b":".join([b"1"] * 10**5), YAML), "digits"),
    (poison(b"\xdd\xff\xff\xff\xff", MSGPACK), "incomplete"),
    (poison((b"\xdd" + struct.pack(">I", 10**6)) * 10**4, MSGPACK), "incomplete"),
    (poison(b"\xc1", MSGPACK), "msgpack"),
    (poison(compression=GZIP), "cannot be decompressed"),
    (poison(zlib.compress(BODY)[:-3], compression=GZIP), "incomplete"),
    (poison(zlib.compress(b" " * (4 * MEGABYTE)), compression=GZIP), "message_max_decompressed"),
    (poison(bz2.compress(b" " * (4 * MEGABYTE)), compression="bzip2"), "message_max_decompressed"),
    (poison(zlib.compress(b"[" * 100_000), compression=GZIP), "message_max_depth"),
    (poison(compression="application/x-nothing"), "is not known"),
    (poison(compression=["gzip"]), "not a text"),
    (poison(task=5), "task is 5"),
    (poison(task={"a": 1}), "task is"),
    (poison(task=""), "task is ''"),
    (poison(task="no.such"), "NotRegistered: "),
    (poison(task="\udc80"), "NotRegistered: "),
    (poison(id=None), "id is None"),
    (poison(id=["a"]), "id is"),
    (poison(eta="tomorrow"), "eta"),
    (poison(eta=5), "eta is 5"),
    (poison(expires="9" * 10_000), "expires"),
    (poison(retries=-1), "retries"),
    (poison(retries="many"), "retries"),
    (poison(timelimit=[1, 2, 3]), "time limits"),
    (poison(timelimit=["a", None]), "time limit is"),
    (poison(timelimit={"a": 1}), "time limits"),
    (poison(stamps=[1]), "stamps"),
    (poison(group_index="1"), "group_index"),
    (poison(replaced_task_nesting="1"), "nesting"),
    (poison(properties={"reply_to": 5}), "reply_to"),
    (poison(properties={"correlation_id": [1]}), "correlation_id"),
    (Message({}, {}, BODY), "names no task"),
    (Message({"id": "poison"}, {}, b'{"task": 5, "id": "x"}'), "task is 5"),
    (protocol_1(args=5), "args are not a list"),
    (protocol_1(kwargs=5), "kwargs not an object"),
    (protocol_1(eta="never", utc=True), "ISO 8601"),
    # What its decoder of extended types refuses are headers, which an engine reads itself.
    (poison(x={"__type__": "nobody", "__value__": 1}, task="no.such"), "NotRegistered: "),
    (poison(x={"__type__": "uuid", "__value__": 1}, task="no.such"), "NotRegistered: "),
    (Message({"__type__": "date", "__value__": "2030-01-01"}, {}, BODY), "names no task"),
]


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Umbel]:
    """An app whose broker and results are one engine."""
    name = unique_id()
    url = f"memory://{name}" if request.param == "memory" else f"sqlite:///{tmp_path}/umbel.db"
    with Umbel(
        "proj",
        broker=url,
        backend=url,
        accept_content=ACCEPT,
        worker_unknown_task_offers=0,
        message_max_bytes=MEGABYTE,
        message_max_decompressed=2 * MEGABYTE,
    ) as app:
        yield app
    forget_space(name)


def run_all(app: Umbel, tmp_path: Path) -> None:
    """Run a worker's child in this very thread until the task ``stop`` ends it."""
    page = Page.create(tmp_path / "page")
    orders = Orders(Source("app", "/", {}), ("celery",), "celery@host", "node", 1, "INFO")
    child: Child = make_child(app, orders, page, os.getpid())

    @app.task(name="proj.stop")
    def stop() -> None:
        child.stopping.set()

    stop.delay()
    child.run()
    page.close()


@pytest.mark.skipif(os.name == "nt", reason="pages are of Unix")
def test_every_poison_is_a_dead_letter_and_every_good_message_runs(
    app: Umbel, tmp_path: Path
) -> None:
    pytest.importorskip("yaml")
    pytest.importorskip("msgpack")
    done: list[int] = []

    @app.task(name="proj.add")
    def add(x: int, y: int) -> int:
        done.append(x)
        return x + y

    results = []
    for number, (message, _) in enumerate(POISON):
        app.broker.publish([Publication("celery", message, unique_id())], 5.0)
        results.append(add.delay(number, 1))
        if number % 3 == 0:
            serializer = ("yaml", "msgpack")[number % 2]
            results.append(add.apply_async((number, 1), serializer=serializer, compression="gzip"))
    run_all(app, tmp_path)

    assert all(result.state == "SUCCESS" for result in results)
    assert sorted(set(done)) == list(range(len(POISON)))
    letters = app.queues.dead_letters(1000)[::-1]
    assert len(letters) == len(POISON)
    found = [(letter.reason, reason) for letter, (_, reason) in zip(letters, POISON, strict=True)]
    assert [pair for pair in found if pair[1] not in pair[0]] == []
    assert max(len(letter.reason) for letter in letters) < 1000
    depth = app.queues.depths()["celery"]
    assert (depth.ready, depth.leased) == (0, 0)
