"""The calls of ``calls/``, made through umbel, give what Celery 5.7 gave; ``record_calls.py`` recorded it."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import umbel
from tests.compat.calls import CASES
from tests.compat.calls.gaps import DELIBERATE, SKIPPED, UNREAD_PROPERTIES
from tests.compat.calls.model import Case, Json, Kit, message_record, outcome_of
from tests.compat.test_serialized import case
from tests.conftest import ManualClock
from tests.unit.worker.support import take
from umbel import Umbel
from umbel.clock import unique_id
from umbel.current import outbox
from umbel.engines.memory.space import forget_space
from umbel.message import Publication
from umbel.options import CallOptions
from umbel.worker.decide import decide
from umbel.worker.execute import Runner

GOLDEN = Path(__file__).parent / "golden" / "calls.json"
RECORDED: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
CELERY: dict[str, Json] = RECORDED["calls"]
NOW = datetime(2050, 1, 1, 12, tzinfo=UTC).timestamp()

COMPARED = [name for name, case in CASES.items() if case.needs not in SKIPPED]

#: What a path has on one side only.
MISSING = "nothing"
#: The reply queue of Celery's clients, for results that come as messages. Ours have none.
REPLY_QUEUE = "00000000-0000-3000-8000-000000000001"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the system's time be UTC, as where the calls were recorded."""
    monkeypatch.setenv("TZ", "UTC")
    getattr(time, "tzset", lambda: None)()
    yield
    monkeypatch.undo()
    getattr(time, "tzset", lambda: None)()


class RecordingUmbel(Umbel):
    """App that keeps what it publishes."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.published: list[Publication] = []

    def publish(
        self, publications: Sequence[Publication], options: CallOptions | None = None
    ) -> None:
        super().publish(publications, options)
        if outbox.get() is None:  # else they come with the verdict
            self.published += publications


class Side:
    """Makes cases through umbel, each with a memory engine of its own."""

    def __init__(self) -> None:
        self.app: RecordingUmbel | None = None
        self.space = unique_id()

    def kit_of(self, case: Case) -> Kit:
        clock = ManualClock()
        clock.now = NOW
        url = f"memory://{self.space}"
        arguments = {"main": "proj", "broker": url, "backend": url, "clock": clock, **case.app}
        app = self.app = RecordingUmbel(**arguments)
        app.conf.update(case.settings(umbel))
        return Kit(app, umbel, work=self.work)

    def work(self) -> None:
        """Run the message that was sent last, as a worker does."""
        assert self.app is not None
        app, queue = self.app, self.app.published[-1].queue
        app.published.clear()
        (delivery,) = take(app, queue=queue)
        runner = Runner(app, "worker1@host")
        verdict = decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
        app.published += verdict.settlement.publish

    def outcome(self, case: Case) -> Json:
        """Return what comes of a case."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return outcome_of(case, self.kit_of, self.records)
        finally:
            forget_space(self.space)

    def records(self) -> list[Json]:
        return [as_record(each) for each in self.app.published] if self.app is not None else []


def as_record(publication: Publication) -> Json:
    """Return a publication as `record_calls.py` records messages."""
    message = publication.message
    place = {
        "exchange": publication.exchange,
        "routing_key": publication.routing_key,
        "queues": [publication.queue],
    }
    content = (message.body, message.content_type, message.content_encoding)
    return message_record(place, message.headers, message.properties, content)


def expected_of(recorded: Json, case: Case) -> Json:
    """Return what Celery gave without what we write only when we are told to; see `UNREAD_PROPERTIES`."""
    for message in recorded["messages"]:
        message["headers"].pop("origin", None)
        properties = message["properties"]
        for name in properties.keys() & UNREAD_PROPERTIES.keys():
            if name != "expiration" or case.name != "expiration":
                del properties[name]
        if properties["reply_to"] == REPLY_QUEUE:
            properties["reply_to"] = ""
    return recorded


def found_of(outcome: Json) -> Json:
    """Return what umbel gave without what is its own."""
    for message in outcome["messages"]:
        message["headers"].pop("origin", None)
        message["headers"].pop("sent_at", None)
        # To every broker a message without a priority is one of priority 0, which Celery writes.
        message["properties"].setdefault("priority", 0)
        # Beside what the recording has of it already, kombu writes that too.
        came = message["properties"].pop("delivery_info", None)
        if came is not None:
            assert came == {key: message[key] for key in ("exchange", "routing_key")}
    return outcome


def differences(expected: Json, found: Json, path: str = "") -> Iterator[tuple[str, Json, Json]]:
    """Yield each path at which two JSON values differ, with what is there."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            inner = f"{path}.{key}".lstrip(".")
            yield from differences(expected.get(key, MISSING), found.get(key, MISSING), inner)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for position, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, path if path == "messages" else f"{path}.{position}")
    elif type(expected) is not type(found) or expected != found:
        yield path.removeprefix("messages."), expected, found


def compared(name: str) -> tuple[Json, Json, list[tuple[str, Json, Json]]]:
    """Make a call and return what Celery gave, what umbel gave, and how they differ."""
    expected = expected_of(json.loads(json.dumps(CELERY[name])), CASES[name])
    found = found_of(Side().outcome(CASES[name]))
    return expected, found, list(differences(expected, found))


@pytest.mark.parametrize("name", [case(name) for name in COMPARED if name not in DELIBERATE])
def test_comes_to_what_celery_made_of_it(name: str) -> None:
    assert compared(name)[2] == []


@pytest.mark.parametrize("name", [case(name) for name in DELIBERATE])
def test_differs_by_design_and_no_further(name: str) -> None:
    why = DELIBERATE[name]
    expected, found, differing = compared(name)
    if why.raises:
        assert differing, f"{name} is as in Celery: remove it from calls/gaps.py"
        assert found["error"]["class"] == why.raises
        assert found["messages"] == []
    elif why.sends:
        assert "error" in expected
        assert "error" not in found
    else:
        assert {path for path, _, _ in differing} == set(why.paths)


def test_the_list_of_differences_names_cases() -> None:
    assert DELIBERATE.keys() <= set(COMPARED)


def test_the_recording_is_of_this_table() -> None:
    assert RECORDED["celery"] == "5.7.0"
    assert list(CELERY) == list(CASES), "run record_calls.py"
    assert len(CASES) >= 600
