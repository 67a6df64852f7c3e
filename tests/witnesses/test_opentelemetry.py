"""opentelemetry-instrumentation-celery: the span of a task is a child of the span of its call."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.witnesses.support import Project

TASKS = """
import os

from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class ToFile(SpanExporter):
    def export(self, spans):
        with (here / "spans").open("a") as file:
            for span in spans:
                file.write(json.dumps({**json.loads(span.to_json()), "pid": os.getpid()}) + "\\n")
        return SpanExportResult.SUCCESS


@worker_process_init.connect(weak=False)
def instrument(**_):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ToFile()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


app = Celery("tasks", broker=url, backend=url)


@app.task
def add(x, y):
    return x + y


@app.task
def bad(x):
    return 1 / x


@app.task(bind=True)
def again(self, x):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return x
"""
CALLS = """
from importlib.metadata import version

instrument()
with trace.get_tracer("client").start_as_current_span("client"):
    results = [add.delay(1, 2), bad.delay(0), again.delay(5), app.send_task("tasks.add", (3, 4))]
found = [repr(result.get(timeout=30, propagate=False)) for result in results]
print(json.dumps([version("celery"), found]))
"""


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All spans, in the order of their ends."""
    project = Project(tmp_path_factory.mktemp("otel"), TASKS)
    with project.worker():
        version, found = project.client(CALLS)
    assert version == "5.7.0+umbel.0"  # which the package compares with what it needs
    assert found == ["3", "ZeroDivisionError('division by zero')", "5", "7"]
    return project.lines("spans")


def named(spans: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [span for span in spans if span["name"] == name]


def test_all_is_one_trace(spans: list[dict[str, Any]]) -> None:
    assert len({span["context"]["trace_id"] for span in spans}) == 1
    (client,) = named(spans, "client")
    retried, _ = named(spans, "run/tasks.again")
    sent = [span for span in spans if span["kind"] == "SpanKind.PRODUCER"]
    senders = [span["parent_id"] for span in sent]
    # The retry is sent from within the task. Two processes wrote them, so their order says nothing.
    expected = [client["context"]["span_id"]] * 4 + [retried["context"]["span_id"]]
    assert Counter(senders) == Counter(expected)
    assert len({span["pid"] for span in spans}) == 2


@pytest.mark.parametrize("task", ["add", "bad", "again"])
def test_what_runs_is_below_what_was_sent(spans: list[dict[str, Any]], task: str) -> None:
    sent = {span["context"]["span_id"]: span for span in named(spans, f"apply_async/tasks.{task}")}
    ran = named(spans, f"run/tasks.{task}")
    assert {span["kind"] for span in ran} == {"SpanKind.CONSUMER"}
    assert {span["parent_id"] for span in ran} == set(sent)
    for span in ran:
        told = span["attributes"]
        call = sent[span["parent_id"]]["attributes"]
        assert told["messaging.message.id"] == call["messaging.message.id"]
        assert told["messaging.destination"] == call["messaging.destination"] == "celery"
        assert call["messaging.destination_kind"] == "queue"


def test_how_tasks_end_is_told(spans: list[dict[str, Any]]) -> None:
    (bad,) = named(spans, "run/tasks.bad")
    assert bad["status"] == {"status_code": "ERROR", "description": "division by zero"}
    assert [event["name"] for event in bad["events"]] == ["exception"]
    first, second = named(spans, "run/tasks.again")
    assert (first["attributes"]["celery.state"], second["attributes"]["celery.state"]) == (
        "RETRY",
        "SUCCESS",
    )
    assert second["attributes"]["celery.retries"] == 1
