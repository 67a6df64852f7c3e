from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import ManualClock
from tests.unit.worker.support import NAMELESS, UNKNOWN, Made, delivery_of, foreign, take
from umbel import Retry, Umbel
from umbel.worker import report
from umbel.worker.banner import banner
from umbel.worker.bootstrap import Orders, Source
from umbel.worker.decide import decide
from umbel.worker.execute import Runner
from umbel.worker.outcome import (
    Failure,
    Ignored,
    Lost,
    NotDue,
    Outcome,
    OverTime,
    Postponed,
    Prepared,
    Rejected,
    Retried,
    Revoked,
    Run,
    Success,
)


@pytest.fixture
def task(app: Umbel) -> Made:
    def work() -> None: ...

    made: Made = app.task(name="proj.add")(work)
    return made


def prepared_of(task: Made, **options: Any) -> Prepared:
    return Runner(task.app, "h").prepare(delivery_of(task, task_id="i", **options))


ERROR = ValueError("boom")
RETRY = Retry(exc=ERROR, when=3)

#: What Celery 5 logs (celery/app/trace.py and celery/worker), and where it says less, what we add.
LINES: list[tuple[Outcome, int, str]] = [
    (Success(5), logging.INFO, "Task proj.add[i] succeeded in 0.25s: 5"),
    (Success("x"), logging.INFO, "Task proj.add[i] succeeded in 0.25s: 'x'"),
    (
        Failure(ERROR, "the traceback"),
        logging.ERROR,
        "Task proj.add[i] raised unexpected: ValueError('boom')",
    ),
    (
        Failure(ERROR, "the traceback", expected=True),
        logging.INFO,
        "Task proj.add[i] raised expected: ValueError('boom')",
    ),
    (Ignored(), logging.INFO, "Task proj.add[i] ignored"),
    (
        Rejected("bad", False),
        logging.WARNING,
        "Task proj.add[i] reject requeue=False: bad",
    ),
    (
        Rejected("later", True),
        logging.WARNING,
        "Task proj.add[i] reject requeue=True: later",
    ),
    (Revoked("expired"), logging.INFO, "Discarding revoked task: proj.add[i] (expired)"),
    (
        Revoked(stamp={"tenant": "50 %s"}),
        logging.INFO,
        "Discarding revoked task: proj.add[i] (revoked by header: {'tenant': '50 %s'})",
    ),
    (NotDue(1.0), logging.INFO, "Task proj.add[i] is not due yet"),
]


STATES = {
    Success: "SUCCESS",
    Failure: "FAILURE",
    Retried: "RETRY",
    Ignored: "IGNORED",
    Rejected: "REJECTED",
    Revoked: "REVOKED",
}


@pytest.mark.parametrize(("outcome", "level", "line"), LINES)
def test_lines(
    task: Made, caplog: pytest.LogCaptureFixture, outcome: Outcome, level: int, line: str
) -> None:
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.finished(Run(prepared_of(task), outcome, 0.25))
    (record,) = (record for record in caplog.records if record.name == "umbel.trace")
    assert (record.levelno, record.getMessage()) == (level, line)
    told = vars(record)["facts"]
    assert (told["queue"], told["retries"], told["redelivered"]) == ("celery", 0, False)
    assert told.get("state") == STATES.get(type(outcome))


def test_what_handlers_get_beside_the_text(task: Made, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.received(prepared_of(task))
        report.finished(Run(prepared_of(task), Success(5), 0.25))
        report.finished(Run(prepared_of(task), Failure(ERROR, "the traceback"), 0.25))
    received, succeeded, failed = (vars(record) for record in caplog.records[-3:])
    for fields in (received, succeeded, failed):
        assert fields["args"] is fields["data"]
        assert (fields["data"]["id"], fields["data"]["name"]) == ("i", "proj.add")
        assert (fields["task_id"], fields["task_name"]) == ("i", "proj.add")
    assert set(received["data"]) == {"id", "name", "args", "kwargs", "eta"}
    assert (succeeded["data"]["runtime"], succeeded["data"]["return_value"]) == (0.25, "5")
    assert (failed["data"]["exc"], failed["data"]["traceback"]) == (
        "ValueError('boom')",
        "the traceback",
    )
    assert failed["exc_info"] == (ValueError, ERROR, None)
    assert succeeded["exc_info"] is None


@pytest.mark.parametrize("header", [None, {"a": 1}])
def test_what_handlers_get_can_be_written_as_json(
    task: Made, caplog: pytest.LogCaptureFixture, header: Any
) -> None:
    """Though the message does not show its arguments, or not by texts."""
    prepared, value = prepared_of(task), object()
    assert prepared.call is not None
    call = replace(
        prepared.call, args=[1, {2}], kwargs={"x": value}, argsrepr=header, kwargsrepr=header
    )
    prepared = replace(prepared, call=call)
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.received(prepared)
        for outcome, _, _ in LINES:
            report.finished(Run(prepared, outcome, 0.25))
        report.finished(Run(prepared, Success(value), 0.25))
    records = [record for record in caplog.records if record.name == "umbel.trace"]
    data = [json.loads(json.dumps(vars(record)["data"])) for record in records]
    assert len(data) == len(LINES) + 2
    assert data[-1]["return_value"] == repr(value)
    for each in (data[0], data[-1]):
        assert (each["args"], each["kwargs"]) == ("(1, {2})", f"{{'x': {value!r}}}")


def test_a_failure_is_shown_with_the_frames_that_are_the_users(
    task: Made, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        raise ValueError("shown")
    except ValueError as error:
        failure = Failure(error, "")
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.finished(Run(prepared_of(task), failure))
    text = logging.Formatter().format(caplog.records[-1])
    assert text.splitlines()[0] == "Task proj.add[i] raised unexpected: ValueError('shown')"
    assert text.splitlines()[1] == "Traceback (most recent call last):"
    assert text.endswith("\nValueError: shown")


def test_an_error_that_cannot_be_shown_does_not_hide_the_line(
    task: Made, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Exception):
        def __repr__(self) -> str:
            raise TypeError("no")

    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.finished(Run(prepared_of(task), Failure(Odd(), "", expected=True)))
    assert "raised expected: <Unrepresentable" in caplog.messages[-1]


def test_a_retry(task: Made, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.finished(Run(prepared_of(task), Retried(task, RETRY, "the traceback"), 0.25))
    assert caplog.messages[-1] == "Task proj.add[i] retry: Retry in 3s: ValueError('boom')"


def test_received(task: Made, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.received(prepared_of(task))
        report.received(prepared_of(task, shadow="other"))
    assert caplog.messages[-2:] == ["Task proj.add[i] received", "Task other[i] received"]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            UNKNOWN,
            "Message nobody.knows[i] is now a dead letter (umbel dead list). NotRegistered: There",
        ),
        (NAMELESS, "Message t[None] is now a dead letter (umbel dead list). DecodeError: The"),
        (
            replace(NAMELESS, headers={}),
            "Message of unknown task[None] is now a dead letter (umbel dead list). DecodeError",
        ),
    ],
)
def test_what_cannot_be_processed(
    app: Umbel, caplog: pytest.LogCaptureFixture, message: Any, line: str
) -> None:
    app.conf.worker_unknown_task_offers = 0
    foreign(app, message)
    (delivery,) = take(app)
    runner = Runner(app, "h")
    run = runner.run(runner.prepare(delivery))
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.received(run.prepared)
        report.finished(run)
    assert caplog.records[-1].levelno == logging.ERROR
    assert caplog.messages[-1].startswith(line)


def test_a_task_that_is_not_known_is_warned_of_once(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    imported = "The module 'umbel.clock' is imported here and has no such task."
    for name, module in (
        ("shop.newer.pay", ": 'shop.newer'."),
        ("newest", "."),
        ("umbel.clock.strike", imported),
    ):
        foreign(app, replace(UNKNOWN, headers={**UNKNOWN.headers, "task": name}))
        (delivery,) = take(app)
        runner = Runner(app, "h")
        run = runner.run(runner.prepare(delivery))
        caplog.clear()
        with caplog.at_level(logging.INFO, "umbel.trace"):
            report.finished(run)
            report.finished(run)
        warning, first, second = caplog.records
        assert warning.levelno == logging.WARNING
        assert f"does not know the task {name!r}" in warning.message
        assert warning.message.endswith(module)
        assert first.message == f"Task {name}[i] is not known here and offered again in 1s"
        assert second.message == first.message
        assert second.levelno == logging.INFO


@pytest.mark.parametrize(
    ("crashes", "early", "level", "line"),
    [
        (0, False, logging.WARNING, "Task proj.add[i] runs again: pid 7 vanished"),
        (0, True, logging.ERROR, "Task proj.add[i] failed, and may run only once: pid 7 vanished"),
        (
            2,
            False,
            logging.ERROR,
            "Task proj.add[i] is now a dead letter (umbel dead list): 3 processes died running it. The"
            " last time: pid 7 vanished",
        ),
    ],
)
def test_what_a_dead_process_held(
    task: Made,
    caplog: pytest.LogCaptureFixture,
    crashes: int,
    early: bool,
    level: int,
    line: str,
) -> None:
    prepared = prepared_of(task)
    delivery = replace(prepared.delivery, crashes=crashes, early=early)
    run = Run(replace(prepared, delivery=delivery), Lost("pid 7 vanished", running=True))
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.lost(decide(run, task.app.conf.snapshot, ManualClock()))
    assert (caplog.records[-1].levelno, caplog.messages[-1]) == (level, line)


class Shown:
    """A value that notes whether it was asked for its text."""

    def __init__(self) -> None:
        self.asked = 0

    def __repr__(self) -> str:
        self.asked += 1
        return "shown"


def test_what_is_not_logged_is_not_made_into_text(
    task: Made, caplog: pytest.LogCaptureFixture
) -> None:
    value, run = Shown(), prepared_of(task)
    with caplog.at_level(logging.WARNING, "umbel.trace"):
        report.finished(Run(run, Success(value)))
    assert value.asked == 0
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.finished(Run(run, Success(value)))
    assert value.asked > 0
    assert caplog.messages[-1].endswith(": shown")


# The banner


def orders(loglevel: str = "WARNING") -> Orders:
    source = Source("proj", "/srv", {})
    return Orders(source, ("celery", "video"), "celery@host", "node", 4, loglevel)


def test_the_banner_says_what_runs_where(task: Made) -> None:
    text = banner(task.app, orders())
    assert text.startswith("celery@host umbel v")
    for line in (
        "  app:         proj\n",
        f"  broker:      {task.app.broker_url}\n",
        f"  results:     {task.app.result_url}\n",
        "  concurrency: 4 (prefork)\n",
        "[queues]\n"
        "  .> celery           exchange=celery(direct) key=celery\n"
        "  .> video            exchange=video(direct) key=video\n",
    ):
        assert line in text
    assert "[tasks]" not in text


def test_the_banner_lists_tasks_where_one_looks_closely(task: Made) -> None:
    assert "[tasks]\n" in banner(task.app, orders("INFO"))
    assert "  . proj.add\n" in banner(task.app, orders("DEBUG"))


def test_a_worker_that_is_one_process_says_so(task: Made) -> None:
    assert "  concurrency: 1 (solo)\n" in banner(task.app, replace(orders(), executor="solo"))


def test_the_banner_shows_no_password_and_no_results_where_there_are_none() -> None:
    app = Umbel(broker="redis://user:secret@host/0", set_as_current=False)
    text = banner(app, orders())
    assert "secret" not in text
    assert "redis://user:********@host/0" in text
    assert "  results:     not kept\n" in text


def test_a_task_says_how_much_of_its_result_is_shown(
    task: Made, caplog: pytest.LogCaptureFixture
) -> None:
    task.resultrepr_maxsize = 20
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.finished(Run(prepared_of(task), Success("x" * 100)))
    assert len(caplog.messages[-1]) < 100


def test_what_is_retried_where_its_process_died(
    task: Made, caplog: pytest.LogCaptureFixture
) -> None:
    task.retry_on_worker_lost = True
    run = Run(prepared_of(task), Lost("pid 7 vanished", running=True))
    report.lost(decide(run, task.app.conf.snapshot, ManualClock()))
    assert caplog.messages[-1] == "Task proj.add[i] is retried: pid 7 vanished"


def test_time_limits_in_celerys_words(task: Made, caplog: pytest.LogCaptureFixture) -> None:
    report.soft_limit(prepared_of(task), 1.5)
    run = Run(prepared_of(task), OverTime(2))
    report.lost(decide(run, task.app.conf.snapshot, ManualClock()))
    assert [(record.levelname, record.getMessage()) for record in caplog.records[-2:]] == [
        ("WARNING", "Soft time limit (1.5s) exceeded for proj.add[i]"),
        ("ERROR", "Hard time limit (2s) exceeded for proj.add[i]"),
    ]


def test_what_is_over_its_rate(task: Made, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "umbel.trace"):
        report.finished(Run(prepared_of(task), Postponed(1_000_000_000.5)))
    when = "2001-09-09T01:46:40.500000+00:00"
    assert (
        caplog.messages[-1] == f"Task proj.add[i] is over its rate limit, and comes back at {when}"
    )


@pytest.mark.parametrize(
    ("options", "retries", "end"),
    [
        ({"retry_on_worker_lost": True, "max_retries": 2}, 2, "no retries are left"),
        ({"reject_on_worker_lost": False}, 0, "reject_on_worker_lost is off"),
    ],
)
def test_why_what_a_dead_process_held_does_not_run_again(
    app: Umbel, caplog: pytest.LogCaptureFixture, options: dict[str, Any], retries: int, end: str
) -> None:
    task: Made = app.task(name="proj.add", **options)(lambda: None)
    run = Run(prepared_of(task, retries=retries), Lost("pid 7 vanished", running=True))
    report.lost(decide(run, app.conf.snapshot, ManualClock()))
    assert caplog.messages[-1] == f"Task proj.add[i] failed, and {end}: pid 7 vanished"
