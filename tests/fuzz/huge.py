"""Messages that are larger, or become larger, than anybody may make a worker hold: each is refused at once.

``python -m tests.fuzz.huge`` reads each of them in this process and reports what it took, as JSON.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import brotli  # type: ignore[import-untyped] # it ships no types

from tests.fuzz.watch import forget_most_memory, most_memory, seconds
from umbel import message
from umbel.compression import compress, content_type
from umbel.engines.redis import envelope
from umbel.engines.sqlite import rows
from umbel.exceptions import DecodeError
from umbel.message import Message

MOST_SECONDS = 1.0
MOST_MEMORY = 64.0
ACCEPT = ("json", "yaml", "msgpack")
HEADERS: Mapping[str, Any] = {"task": "task", "id": "id"}
ZEROS = 80 * 2**20


def bomb(name: str) -> Message:
    """Return a small message that stands for 80 MB."""
    body, kind = compress(b"\0" * ZEROS, name) if name != "brotli" else of_brotli()
    return Message({**HEADERS, "compression": kind}, {}, body)


def of_brotli() -> tuple[bytes, str]:
    """Return the same of brotli, whose best takes four seconds to make it."""
    return brotli.compress(b"\0" * ZEROS, quality=5), content_type("brotli")


def twice_compressed() -> Message:
    """Return a bomb within a bomb."""
    inner, _ = compress(b"\0" * ZEROS, "gzip")
    body, kind = compress(inner * 2000, "gzip")
    return Message({**HEADERS, "compression": kind}, {}, body)


def many_headers() -> dict[str, Any]:
    """Return a million headers."""
    return {**HEADERS, **{f"header-{number}": number for number in range(10**6)}}


def kombus(body: bytes, headers: Mapping[str, Any]) -> Callable[[], Message]:
    """Return what reads an envelope as kombu writes it to a Redis list."""
    around = json.dumps({"headers": headers, "properties": {"body_encoding": "base64"}})
    text = base64.b64encode(body)
    raw = b'{"body": "%s", "content-type": "application/json", %s' % (text, around[1:].encode())
    return lambda: envelope.read(raw, "queue", 0, "key").message


def row(body: bytes, headers: Mapping[str, Any]) -> Callable[[], Message]:
    """Return what reads a row of the SQLite file."""
    text = json.dumps(headers)
    return lambda: rows.message((text, "{}", "application/json", "utf-8", body))


#: What engines read: first all is made, then the function that it comes to is measured.
ENGINES: Mapping[str, Callable[[], Callable[[], Message]]] = {
    "a million headers from Redis": lambda: kombus(b"[[],{},{}]", many_headers()),
    "a million headers from SQLite": lambda: row(b"[[],{},{}]", many_headers()),
    "a body of 100 MB from Redis": lambda: kombus(b"1" * (100 * 2**20), HEADERS),
    "a body of 100 MB from SQLite": lambda: row(b"1" * (100 * 2**20), HEADERS),
}
CASES: Mapping[str, Callable[[], Message]] = {
    "a body of 100 MB": lambda: Message(HEADERS, {}, b"[" + b"1," * (50 * 2**20) + b"1]"),
    "JSON, a million deep": lambda: Message(HEADERS, {}, b"[" * 10**6 + b"]" * 10**6),
    "msgpack, a million deep": lambda: Message(
        HEADERS, {}, b"\x91" * 10**6 + b"\x01", "application/x-msgpack"
    ),
    "yaml, a hundred thousand deep": lambda: Message(
        HEADERS, {}, b"[" * 10**5, "application/x-yaml"
    ),
    "yaml that multiplies": lambda: Message(
        HEADERS,
        {},
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9))
            for n in range(12)
        ),
        "application/x-yaml",
    ),
    "a number of a million digits": lambda: Message(
        HEADERS, {}, b"[[" + b"9" * 10**6 + b"],{},{}]"
    ),
    "a bomb of gzip": lambda: bomb("gzip"),
    "a bomb of bzip2": lambda: bomb("bzip2"),
    "a bomb of lzma": lambda: bomb("lzma"),
    "a bomb of zstd": lambda: bomb("zstd"),
    "a bomb of brotli": lambda: bomb("brotli"),
    "a bomb in a bomb": twice_compressed,
}


def taken(case: str) -> dict[str, Any]:
    """Return what reading it came to, with its seconds and megabytes."""
    ends = ["read"]
    made: Callable[[], Message]
    if case in ENGINES:
        made = ENGINES[case]()
    else:
        found = CASES[case]()
        made = lambda: found  # noqa: E731 - what an engine would read is there already

    def read() -> None:
        try:
            message.decode(made(), ACCEPT)
        except DecodeError as error:
            ends[0] = f"{type(error).__name__}: {error}"[:200]

    forget_most_memory()
    before = most_memory()
    took = seconds(read)
    return {
        "end": ends[0],
        "seconds": round(took, 3),
        "memory_mb": round(most_memory() - before, 1),
    }


def main(cases: list[str]) -> int:
    """Read these, or all, and report; the exit code is 1 where one took too much."""
    report = {case: taken(case) for case in cases or (*CASES, *ENGINES)}
    print(json.dumps(report, indent=1))
    return 1 if any(one["seconds"] > MOST_SECONDS for one in report.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
