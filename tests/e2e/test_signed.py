"""A real worker that takes only signed messages."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Start
from umbel import Umbel, serialization
from umbel.testing.conformance.support import PATIENCE, until

pytest.importorskip("cryptography")

KEYS = Path(__file__).parents[1] / "compat" / "golden" / "signed" / "keys"

PROJECT = """
from pathlib import Path

from umbel import Umbel

keys = Path(KEYS)
here = Path(__file__).parent
url = "sqlite:///" + str(here / "umbel.db")
app = Umbel(
    broker=url,
    backend=url,
    task_serializer="auth",
    accept_content=["auth"],
    result_accept_content=["json"],
    security_key=keys / "key.pem",
    security_certificate=keys / "store" / "certificate.pem",
    security_cert_store=keys / "store",
)
"""
TASK = """

@app.task(name="add")
def add(x, y):
    return x + y
"""


def test_a_worker_takes_only_what_is_signed(start: Start, project: Path) -> None:
    text = PROJECT.replace("KEYS", repr(str(KEYS)))
    (project / "tasks.py").write_text(text + "app.setup_security()\n" + TASK)
    worker = start("-c", "1")
    url = f"sqlite:///{project / 'umbel.db'}"
    with Umbel(broker=url, backend=url, set_as_current=False) as stranger:
        stranger.send_task("add", (1, 1))
        until(lambda: worker.says("ContentDisallowed"))
        until(lambda: stranger.queues.depths()["celery"].dead == 1)
    settings: dict[str, Any] = {
        "task_serializer": "auth",
        "accept_content": ["auth"],
        "result_accept_content": ["json"],
        "security_key": KEYS / "key.pem",
        "security_certificate": KEYS / "store" / "certificate.pem",
        "security_cert_store": KEYS / "store",
    }
    with Umbel(broker=url, backend=url, set_as_current=False, **settings) as friend:
        try:
            friend.setup_security()
            assert friend.send_task("add", (1, 2)).get(timeout=PATIENCE) == 3
        finally:
            serialization.add(serialization.SIGNED)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_worker_whose_app_was_not_set_up_says_so(start: Start, project: Path) -> None:
    (project / "tasks.py").write_text(PROJECT.replace("KEYS", repr(str(KEYS))) + TASK)
    worker = start("-c", "1", ready=False)
    assert worker.wait() == 2
    assert "app.setup_security() was not called in this process" in worker.text
    assert "Traceback" not in worker.text
