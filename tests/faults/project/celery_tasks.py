"""The same project for the released Celery, whose workers share the queue: see tasks.py."""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from celery import Celery  # type: ignore[import-untyped]

from umbel.testing.ledger import Ledger

HERE = Path(__file__).parent
SETTINGS = json.loads((HERE / "settings.json").read_text())

app = Celery("faults", broker=SETTINGS["broker_url"], backend=SETTINGS["result_backend"])
app.conf.update(
    broker_transport_options=SETTINGS["broker_transport_options"],
    # Else it loses by its own defaults what a killed process has begun, or fetched.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
)
ledger = Ledger(HERE / "ledger")


@app.task(bind=True, name="work")  # type: ignore[untyped-decorator]
def work(self: Any, seconds: float) -> str:
    """Run for a while."""
    self.request.crashes = 0  # Celery counts none
    with ledger.running(self.request):
        time.sleep(seconds)  # noqa: TID251 - a task of Celery's
    return "celery"


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        id = str(uuid.uuid4())
        ledger.sent(id, "unknown")
        work.apply_async((0.02,), task_id=id)
        ledger.sent(id, "ok")
