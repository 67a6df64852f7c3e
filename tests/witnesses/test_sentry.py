"""sentry-sdk: its Celery integration reports what tasks do, as part of the trace that the client began."""

from __future__ import annotations

from typing import Any

import pytest

from tests.witnesses.support import Project

TASKS = """
import os
import sentry_sdk
from sentry_sdk.transport import Transport


class ToFile(Transport):
    def capture_envelope(self, envelope):
        with (here / "sent").open("a") as file:
            for item in envelope.items:
                sent = {"pid": os.getpid(), "type": item.type, "payload": item.payload.json}
                file.write(json.dumps(sent, default=str) + "\\n")


sentry_sdk.init("http://key@localhost/1", transport=ToFile, traces_sample_rate=1.0, send_default_pii=True)
app = Celery("tasks", broker=url, backend=url)


@app.task
def add(x, y):
    return x + y


@app.task
def bad(x):
    return 1 / x


@app.task
async def later(x):
    return 1 / x


class Own(app.Task):
    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


@app.task(base=Own)
def own(x):
    return 1 / x


@app.task(bind=True)
def again(self, x):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return x
"""
CALLS = """
with sentry_sdk.start_transaction(name="client", op="test"):
    trace = sentry_sdk.get_current_span().trace_id
    results = [add.delay(1, 2), bad.delay(0), later.delay(0), own.delay(0)]
    results += [app.send_task("tasks.add", (3, 4)), again.delay(5)]
found = [repr(result.get(timeout=30, propagate=False)) for result in results]
print(json.dumps([trace, [result.id for result in results], found]))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str], list[dict[str, Any]]]:
    """The client's trace, the calls' ids, and all that was sent to Sentry."""
    project = Project(tmp_path_factory.mktemp("sentry"), TASKS)
    with project.worker():
        trace, ids, found = project.client(CALLS)
    error = "ZeroDivisionError('division by zero')"
    assert found == ["3", error, error, error, "7", "5"]
    return trace, ids, project.lines("sent")


Told = tuple[str, list[str], list[dict[str, Any]]]


def test_each_call_is_a_transaction_of_the_clients_trace(told: Told) -> None:
    trace, ids, sent = told
    found = [item["payload"] for item in sent if item["type"] == "transaction"]
    ran = {one["tags"]["celery_task_id"]: one for one in found if one["transaction"] != "client"}
    assert set(ran) == set(ids)
    names = ["tasks.add", "tasks.bad", "tasks.later", "tasks.own", "tasks.add", "tasks.again"]
    assert [ran[task_id]["transaction"] for task_id in ids] == names
    for one in ran.values():
        context = one["contexts"]["trace"]
        assert (context["trace_id"], context["op"]) == (trace, "queue.task.celery")
        (span,) = one["spans"]
        assert span["op"] == "queue.process"
        assert span["data"]["messaging.system"] == "sqlite"
        assert span["data"]["messaging.destination.name"] == "celery"
        assert span["data"]["messaging.message.receive.latency"] > 0
    statuses = [ran[task_id]["contexts"]["trace"]["status"] for task_id in ids]
    assert statuses == ["ok", *["internal_error"] * 3, "ok", "ok"]


def test_a_retry_is_published_within_the_transaction_of_the_try_before(told: Told) -> None:
    _, ids, sent = told
    found = [item["payload"] for item in sent if item["type"] == "transaction"]
    first, second = (one for one in found if one["transaction"] == "tasks.again")
    published = {span["op"]: span for span in first["spans"]}["queue.publish"]
    assert published["data"]["messaging.message.id"] == ids[-1]
    assert published["data"]["messaging.message.retry.count"] == 1
    assert published["parent_span_id"] in {span["span_id"] for span in first["spans"]}
    assert second["contexts"]["trace"]["trace_id"] == first["contexts"]["trace"]["trace_id"]


def test_each_publish_is_a_span_of_the_client(told: Told) -> None:
    _, ids, sent = told
    (client,) = (item["payload"] for item in sent if item["payload"].get("transaction") == "client")
    published = [span for span in client["spans"] if span["op"] == "queue.publish"]
    assert [span["data"]["messaging.message.id"] for span in published] == ids
    assert {span["data"]["messaging.destination.name"] for span in published} == {"celery"}


def test_each_failure_is_reported_once(told: Told) -> None:
    trace, ids, sent = told
    events = [item["payload"] for item in sent if item["type"] == "event"]
    assert [event["transaction"] for event in events] == ["tasks.bad", "tasks.later", "tasks.own"]
    for event, task_id in zip(events, ids[1:4], strict=True):
        assert event["contexts"]["trace"]["trace_id"] == trace
        assert event["tags"]["celery_task_id"] == task_id
        (value,) = event["exception"]["values"]
        assert (value["type"], value["mechanism"]["type"]) == ("ZeroDivisionError", "celery")
        assert event["extra"]["celery-job"]["args"] == [0]
