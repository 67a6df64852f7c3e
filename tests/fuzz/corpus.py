"""Messages and results recorded from Celery 5.7, and ways to damage them."""

from __future__ import annotations

import base64
import copy
import json
import math
from pathlib import Path
from random import Random
from typing import Any

from umbel.message import Message
from umbel.records import ResultRecord

GOLDEN = Path(__file__).parents[1] / "compat" / "golden"
#: Values of wrong types, for headers, properties and fields.
ODD: list[Any] = [
    *(None, True, 0, -1, 2**70, 1.5, math.nan, math.inf, "", "x", "\udc80", "utf-16", "rot13"),
    *([], {}, [[]], [None], {"a": []}, {"__type__": "datetime", "__value__": "x"}, "x" * 10_000),
    *("0001-01-01T00:00:00+23:59", "9" * 5000, "os.system", "../../etc/passwd", "idna", "hex"),
    {"exc_type": "system", "exc_module": "os", "exc_message": ["echo harm"]},
]
NAMES = (
    *("task", "id", "lang", "root_id", "parent_id", "group", "retries", "eta", "expires"),
    *("timelimit", "stamps", "stamped_headers", "compression", "argsrepr", "ignore_result"),
)
TYPES = (
    *("application/json", "application/x-yaml", "application/x-msgpack", "text/plain", ""),
    *("application/x-python-serialize", "application/data", "json", "pickle"),
)
#: Texts that mean something to one of the serializers.
TOKENS = (
    *(b"[", b"]", b"{", b"}", b'"', b"\\", b",", b"null", b"NaN", b"1e999", b"__type__"),
    *(b"!!python/object/apply:os.system [ls]", b"&a [*a]", b"\xc1", b"\xdd\xff\xff\xff\xff"),
    *(b"\x00celery-compressed\x00", b"cos\nsystem\n", b"\xff" * 8, b"9" * 5000, b"\\ud800"),
)


def recorded() -> list[Message | ResultRecord]:
    """Return what Celery's clients sent, by both protocols, and what its workers stored."""
    found: list[Message | ResultRecord] = []
    for path in sorted([*GOLDEN.glob("*.json"), *GOLDEN.glob("serialized/*.json")]):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "body" in record:
            text, plain = record["body"], record["body_encoding"] == "text"
            body = text.encode() if plain else base64.b64decode(text)
            properties = record["properties"]
            kind = properties.get("content_type", "application/json")
            found.append(Message(record["headers"], properties, body, kind))
        elif "raw" in record:
            raw = record["raw"]
            document = raw if raw[:1] == "{" else base64.b64decode(raw)
            found.append(ResultRecord(path.stem, "SUCCESS", document))
    return found


def damaged(origin: Message | ResultRecord, dice: Random) -> Message | ResultRecord:
    """Return a copy with a few things changed."""
    if isinstance(origin, ResultRecord):
        document = origin.document
        data = document.encode() if isinstance(document, str) else document
        changed = _changed(data, dice)
        as_text = isinstance(document, str) and dice.random() < 0.9
        found = changed.decode("utf-8", "surrogateescape") if as_text else changed
        return ResultRecord(origin.task_id, origin.state, found)
    headers, properties = dict(origin.headers), dict(origin.properties)
    for _ in range(dice.choice((0, 0, 1, 2))):
        headers[dice.choice(NAMES)] = dice.choice(ODD)
    if dice.random() < 0.1:
        headers.pop(dice.choice(NAMES), None)
    if dice.random() < 0.1:
        properties[dice.choice(("correlation_id", "reply_to", "priority"))] = dice.choice(ODD)
    body = _changed(origin.body, dice) if dice.random() < 0.8 else origin.body
    kind: Any = dice.choice(TYPES) if dice.random() < 0.1 else origin.content_type
    encoding: Any = dice.choice(ODD) if dice.random() < 0.1 else origin.content_encoding
    return Message(headers, properties, body, kind, encoding)


def _changed(data: bytes, dice: Random) -> bytes:
    """Return JSON with another value somewhere, or anything with other bytes."""
    try:
        content = json.loads(data) if dice.random() < 0.6 else None
    except ValueError:
        content = None
    if not isinstance(content, list | dict):
        return _bytes(data, dice)
    for _ in range(dice.randint(1, 2)):
        _replace_something(content, dice)
    return json.dumps(content).encode()


def _replace_something(content: Any, dice: Random) -> None:
    inside, deeper = content, content
    while isinstance(deeper, list | dict) and deeper and (inside is deeper or dice.random() < 0.7):
        inside = deeper
        place: Any = dice.choice(range(len(inside)) if isinstance(inside, list) else list(inside))
        deeper = inside[place]
        if dice.random() < 0.2:
            break
    if inside:
        inside[place] = copy.deepcopy(dice.choice(ODD))


def _bytes(data: bytes, dice: Random) -> bytes:
    found = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(found) + 1)
        match dice.randrange(5):
            case 0 if place < len(found):
                found[place] ^= 1 << dice.randrange(8)
            case 1:
                found[place : place + dice.randrange(9)] = dice.choice(TOKENS)
            case 2:
                del found[place : place + dice.choice((1, 2, 8, 1000))]
            case 3:
                end = dice.randrange(len(found) + 1)
                found[place:place] = found[min(place, end) : max(place, end)][:200]
            case _:
                found[place:place] = dice.randbytes(dice.randrange(5))
    return bytes(found)
