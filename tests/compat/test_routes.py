"""Calls go where Celery 5.7 sends them; ``record_routes.py`` tells how that was recorded."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import umbel
from tests.compat import route_cases
from tests.compat.route_cases import CASES, HEADERS, Case
from umbel import Umbel, current
from umbel.exceptions import ImproperlyConfigured, QueueNotFound
from umbel.request import Request

GOLDEN = Path(__file__).parent / "golden" / "routes.json"
CELERY: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["routes"]
KIT = SimpleNamespace(
    Queue=umbel.Queue, Exchange=umbel.Exchange, binding=umbel.binding, Broadcast=umbel.Broadcast
)
#: What Celery raises, and what we do. Its TypeErrors come from deep within and name no route.
ERRORS: dict[str, type[Exception]] = {
    "QueueNotFound": QueueNotFound,
    "TypeError": ImproperlyConfigured,
}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let routers be named as where the routes were recorded."""
    monkeypatch.setitem(sys.modules, "route_cases", route_cases)


def called(app: Umbel, case: Case) -> None:
    """Make the call of a case."""
    app.conf.update(case.settings(KIT))

    def encode(*args: Any, **kwargs: Any) -> None: ...

    task = app.task(name="proj.media.encode", **case.task(KIT))(encode)
    parent = None
    if case.parent_priority is not None:
        info = {"priority": case.parent_priority}
        parent = Request(id="parent", delivery_info=info, called_directly=False)
    token = current.running.set(parent)
    try:
        task.apply_async(case.args, case.kwargs, **case.options(KIT))
    finally:
        current.running.reset(token)


def found(app: Umbel) -> dict[str, Any]:
    """Return what is waiting in the broker, in the form of the record."""
    waiting = [
        message
        for queue, depth in app.queues.depths().items()
        if depth.ready
        for message in app.queues.peek(queue, 10)
    ]
    message = waiting[0].message
    sent = message.properties.get("delivery_info", {})
    return {
        "exchange": sent.get("exchange", ""),
        "routing_key": sent.get("routing_key", waiting[0].queue),
        "queues": sorted(item.queue for item in waiting),
        # Without a priority kombu writes 0.
        "priority": message.properties.get("priority", 0),
        "delivery_mode": message.properties["delivery_mode"],
        "content_type": message.content_type,
        "headers": {k: v for k, v in message.headers.items() if k not in HEADERS},
    }


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_call_goes_where_celery_sends_it(app: Umbel, case: Case) -> None:
    expected = CELERY[case.name]
    if "error" in expected:
        with pytest.raises(ERRORS[expected["error"]]):
            called(app, case)
        assert app.queues.depths() == {}
        return
    called(app, case)
    assert (found(app) == expected) is not bool(case.differs), case.differs or (
        found(app),
        expected,
    )


def test_the_whole_table_was_recorded() -> None:
    assert CELERY.keys() == CASES.keys()
    assert len(CASES) >= 80
