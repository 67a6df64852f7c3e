"""One of rq's workers: ``rq worker -w rq.SimpleWorker`` with the URL of this run."""

from __future__ import annotations

import os

from redis import Redis
from rq import SimpleWorker

if __name__ == "__main__":
    connection = Redis.from_url(os.environ["BENCH_URL"])
    SimpleWorker(["default"], connection=connection).work(logging_level="WARNING")
