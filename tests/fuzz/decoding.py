"""Decode what was damaged, under watch: ``python -m tests.fuzz.decoding [how many] [seed]``.

Nothing that comes out of a queue or a result store may make a process import, open, connect, compile or run
anything, cost it much time or memory, or end in another error than those that say that it cannot be read. The
report is one JSON object; the exit code is 1 when there are findings.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from random import Random
from typing import Any

from tests.fuzz.corpus import damaged, recorded
from tests.fuzz.watch import Watch, forget_most_memory, most_memory, seconds
from umbel import message, records
from umbel.engines.redis import envelope
from umbel.exceptions import ContentDisallowed, DecodeError
from umbel.message import Message, Publication
from umbel.records import ResultRecord
from umbel.settings import Config

#: What is accepted: all that runs no code by itself.
ACCEPT = ("json", "yaml", "msgpack")
FORM = Config({"accept_content": ACCEPT}).snapshot
#: Seconds and megabytes that nothing may take.
MOST_SECONDS = 0.1
MOST_MEMORY = 64.0
#: Of so many damaged messages one comes in kombu's envelope, as from Redis.
WRAPPED = 4


def read(found: Message | ResultRecord) -> str:
    """Read it as a worker or a client does; return what came of that."""
    try:
        if isinstance(found, ResultRecord):
            records.decode(found, FORM)
        else:
            message.decode(found, ACCEPT)
    except (DecodeError, ContentDisallowed) as error:
        text = str(error)
        return (
            "refused" if 0 < len(text) < 2000 else f"an error of {len(text)} letters: {text[:150]}"
        )
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        return f"{type(error).__name__}: {error}"[:300]
    return "read"


def read_wrapped(raw: bytes) -> str:
    """Read a damaged envelope, and the message in it."""
    try:
        found = envelope.read(raw, "queue", 0, "key").message
    except Exception as error:  # noqa: BLE001 - an envelope is always delivered, with the reason
        return f"envelope: {type(error).__name__}: {error}"[:300]
    return read(found)


def wrapped(found: Message, dice: Random) -> bytes:
    """Return an envelope that was damaged afterwards."""
    text = envelope.write(Publication("queue", found, "tag")).encode()
    broken: Any = damaged(ResultRecord("id", "SUCCESS", text), dice)
    return bytes(broken.document)


def run(count: int, seed: int) -> dict[str, Any]:
    """Read so many damaged messages and results; return the report."""
    dice, corpus, watch = Random(seed), recorded(), Watch()
    for origin in corpus:
        read(origin)  # imports what serializers need
    forget_most_memory()
    before, longest = most_memory(), 0.0
    ends: Counter[str] = Counter()
    findings: list[str] = []
    for number in range(count):
        origin = dice.choice(corpus)
        if number % WRAPPED == 0 and isinstance(origin, Message):
            raw = wrapped(origin, dice)
            end, took = watched(watch, lambda raw=raw: read_wrapped(raw))
        else:
            found = damaged(origin, dice)
            end, took = watched(watch, lambda found=found: read(found))
        longest = max(longest, took)
        ends[end if end in ("read", "refused") else "wrong"] += 1
        wrong = [] if end in ("read", "refused") else [end]
        if took > MOST_SECONDS:
            wrong.append(f"took {took:.3f} s")
        wrong += watch.seen
        watch.seen.clear()
        findings += [f"input {number}: {one}" for one in wrong]
    memory = most_memory() - before
    if memory > MOST_MEMORY:
        findings.append(f"held {memory:.0f} MB more than before")
    return {
        "seed": seed,
        "inputs": count,
        **ends,
        "longest_ms": round(longest * 1000, 1),
        "memory_mb": round(memory, 1),
        "findings": findings[:50],
    }


def watched(watch: Watch, function: Any) -> tuple[str, float]:
    """Return what a reading came to, and the seconds that it took."""
    ends: list[str] = []
    with watch.watching():
        took = seconds(lambda: ends.append(function()))
    return ends[0], took


def main(argv: list[str]) -> int:
    """Run, print the report, and say whether all is well."""
    count, seed = (*map(int, argv), *(20_000, 1)[len(argv) :])
    report = run(count, seed)
    print(json.dumps(report, indent=1))
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
