"""Bare loops on Redis: what the server can do, without a task queue.

The same messages as umbel's; one script forgets the last 64 and fetches the next, each is decoded, and a
function called. Until then they lie on a list of the process. No leases that could be reclaimed, no
outcome, no retries, and the fastest JSON decoder there is: an upper bound.
"""

from __future__ import annotations

import os
import sys
import time
from binascii import a2b_base64

import orjson
from redis import Redis

from benchmarks.driver import WARM
from benchmarks.work import ran

BATCH = 64
#: Values in a pipeline of a bare client that sends in bulk.
PIPELINE = 64

FETCH = """
redis.call('DEL', KEYS[2])
local taken = redis.call('RPOP', KEYS[1], ARGV[1])
if not taken then return {} end
redis.call('RPUSH', KEYS[2], unpack(taken))
return taken
"""


def noop(x: int, y: int) -> int:
    """Do nothing."""
    ran()
    return x + y


def drain(url: str) -> None:
    """Fetch, decode and call until nothing is left."""
    client = Redis.from_url(url)
    fetch = client.register_script(FETCH)
    keys = ("celery", f"bare:{os.getpid()}")
    while messages := fetch(keys, (BATCH,)):
        for message in messages:
            args, kwargs, _ = orjson.loads(a2b_base64(orjson.loads(message)["body"]))
            noop(*args, **kwargs)


def push_rate(url: str, count: int, pipeline: int = 1) -> float:
    """Return how often the one message that waits can be pushed a second, one by one or in pipelines."""
    client = Redis.from_url(url)
    (message,) = client.lrange("celery", 0, -1)
    for _ in range(WARM):
        client.lpush("bare", message)
    started = time.perf_counter()
    if pipeline == 1:
        for _ in range(count):
            client.lpush("bare", message)
    else:
        for _ in range(count // pipeline):
            commands = client.pipeline(transaction=False)
            for _ in range(pipeline):
                commands.lpush("bare", message)
            commands.execute()
    return count / (time.perf_counter() - started)


def pings(url: str, count: int) -> list[float]:
    """Return the milliseconds that each of some PINGs took."""
    client = Redis.from_url(url)
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        client.ping()
        taken.append((time.perf_counter() - started) * 1000)
    return sorted(taken)


if __name__ == "__main__":
    drain(sys.argv[1])
