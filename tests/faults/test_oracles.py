"""The oracles themselves: each finds the violation that is planted for it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import oracles
from tests.faults.mixed_fleet import Witness
from tests.faults.oracles import Evidence, judge
from umbel.clock import unique_id
from umbel.exceptions import TimeLimitExceeded, WorkerLostError
from umbel.records import TaskResult
from umbel.request import Request
from umbel.testing.ledger import End, Fault, History, Ledger, Sent, Start, read

LOST = WorkerLostError("its node died")
FIRST = Start("a", "1.1", 1, 10.0)
AGAIN = Start("a", "2.1", 2, 10.5, redelivered=True)
KILLED = Fault("child killed", (1,), 10.2)


def sound() -> Evidence:
    """Return the evidence of a task that was killed once, and then ran to its end."""
    history = History(
        {"a": Sent("a", "ok", 9.0)}, [FIRST, AGAIN], [End("a", "2.1", 11.0)], [KILLED]
    )
    return Evidence(history, {"a": TaskResult("a", "SUCCESS", 1)})


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    figures = judge(sound())
    assert (figures.tasks, figures.faults, figures.duplicates, figures.unexplained) == (1, 1, 1, 0)
    assert figures.recoveries == [pytest.approx(0.3)]


def test_what_a_server_forgot_by_right_is_counted_as_lost() -> None:
    evidence = sound()
    lose(evidence)
    keep_no_result(evidence)
    evidence.forgotten = frozenset({"a"})
    assert judge(evidence).lost == 1
    leave_waiting(evidence)
    with pytest.raises(AssertionError, match="not settled in time"):
        judge(evidence)


def lose(evidence: Evidence) -> None:
    evidence.history.ends.clear()


def leave_waiting(evidence: Evidence) -> None:
    evidence.in_broker = {"a": "leased"}


def run_what_nobody_sent(evidence: Evidence) -> None:
    evidence.history.starts.append(Start("b", "2.2", 2, 12.0))


def forget_the_fault(evidence: Evidence) -> None:
    evidence.history.faults.clear()


def kill_another(evidence: Evidence) -> None:
    evidence.history.faults[:] = [replace(KILLED, pids=(3,))]


def kill_long_after_the_end(evidence: Evidence) -> None:
    evidence.history.ends.append(End("a", "1.1", 8.0))


def take_off_the_label(evidence: Evidence) -> None:
    evidence.history.starts[1] = replace(AGAIN, redelivered=False)


def run_twice_at_most_once(evidence: Evidence) -> None:
    evidence.history.sent["a"] = Sent("a", "ok", 9.0, early=True)


def keep_no_result(evidence: Evidence) -> None:
    evidence.results = {}


def stay_started(evidence: Evidence) -> None:
    evidence.results = {"a": TaskResult("a", "STARTED")}


def fail_without_reason(evidence: Evidence) -> None:
    evidence.results = {"a": TaskResult("a", "FAILURE", LOST)}


def bury_a_success(evidence: Evidence) -> None:
    evidence.dead = {"a": "died three times"}


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (lose, "O1: lost"),
        (leave_waiting, "O1: not settled"),
        (run_what_nobody_sent, "O2"),
        (forget_the_fault, "O3: started again without a fault"),
        (kill_another, "O3: started again without a fault"),
        (kill_long_after_the_end, "O3: started again without a fault"),
        (take_off_the_label, "O3: started again without being told"),
        (run_twice_at_most_once, "O4: started more than once"),
        (keep_no_result, "O4: the result is PENDING"),
        (stay_started, "O4: the result is STARTED"),
        (fail_without_reason, "O4: the result is FAILURE"),
        (bury_a_success, "O4: the result is SUCCESS instead of FAILURE"),
    ],
)
def test_what_is_planted_is_found(plant: Callable[[Evidence], None], found: str) -> None:
    evidence = sound()
    plant(evidence)
    with pytest.raises(AssertionError, match=found) as caught:
        judge(evidence)
    assert "started as run 2." in str(caught.value)


def test_celery_alone_need_not_be_told_of_what_umbel_gave_back() -> None:
    evidence = sound()
    take_off_the_label(evidence)
    evidence.deaf = frozenset({2})
    judge(evidence)
    for deaf in ({1}, {1, 2}):
        evidence.deaf = frozenset(deaf)
        with pytest.raises(AssertionError, match="O3: started again without being told"):
            judge(evidence)


def test_of_a_message_and_its_copy_both_may_run_once() -> None:
    """If both came back, one knows more, and it was a broker that may be left with the two."""
    evidence = sound()
    copied = Start("a", "3.1", 3, 11.5, redelivered=True, crashes=2)
    evidence.history.starts.append(copied)
    evidence.history.ends.append(End("a", "3.1", 12.0))
    refused = pytest.raises(AssertionError, match="O3: started again without a fault")
    with refused:
        judge(evidence)
    evidence.copies_stay = True
    assert judge(evidence).duplicates == 2
    for wrong in (replace(copied, redelivered=False), replace(copied, crashes=0)):
        evidence.history.starts[2] = wrong
        with refused:
            judge(evidence)
    evidence.history.starts[2:] = [copied, replace(copied, run="4.1", t=12.5, crashes=3)]
    with refused:
        judge(evidence)


def test_of_two_copies_that_know_the_same_two_deaths_are_the_reason() -> None:
    evidence = sound()
    evidence.copies_stay = True
    evidence.history.starts[1] = second = replace(evidence.history.starts[1], crashes=2)
    evidence.history.starts.append(replace(second, run="3.1", pid=3, t=12.5))
    evidence.history.ends.append(End("a", "3.1", 13.0))
    with pytest.raises(AssertionError, match="O3: started again without a fault"):
        judge(evidence)
    evidence.history.faults.append(Fault("killed", (9,), 10.5))
    assert judge(evidence).duplicates == 2


@pytest.mark.parametrize(
    ("last", "is_lost_by_celery"),
    [
        ('LPUSH celery {"correlation_id": "%s"}', True),
        ('RPUSH celery\\x06\\x163 {"correlation_id":"%s"}', True),
        ('HSET umbel:held:x k L6:6:celery{"correlation_id": "%s"}', False),
        ('HSET unacked tag [{\\"correlation_id\\": \\"%s\\"}]', False),
        ('LPUSH other {"correlation_id": "%s"}', False),
    ],
)
def test_a_witness_says_where_a_message_was_last(last: str, is_lost_by_celery: bool) -> None:
    id = unique_id()
    witness = Witness()
    witness.hear(f'LPUSH celery {{"correlation_id": "{id}"}}')
    assert witness.last[id].is_on_its_list
    witness.hear(last % id)
    witness.hear(f'EVALSHA sha 0 LPUSH celery {{"correlation_id": "{id}"}}')
    assert witness.last[id].is_on_its_list is is_lost_by_celery


def test_a_task_lost_by_right_and_a_dead_one_are_no_loss() -> None:
    evidence = sound()
    lose(evidence)
    evidence.results = {"a": TaskResult("a", "FAILURE", LOST)}
    evidence.dead = {"a": "died three times"}
    judge(evidence)
    del evidence.history.starts[1]
    evidence = replace(evidence, dead={})
    evidence.history.sent["a"] = Sent("a", "ok", 9.0, early=True)
    judge(evidence)


def test_a_task_that_was_killed_for_its_time_limit_is_no_loss_if_it_ran() -> None:
    evidence = sound()
    lose(evidence)
    evidence.results = {"a": TaskResult("a", "FAILURE", TimeLimitExceeded(2))}
    assert judge(evidence).lost == 0
    leave_waiting(evidence)
    with pytest.raises(AssertionError, match="O1: not settled"):
        judge(evidence)
    evidence.history.starts.clear()
    evidence = replace(evidence, in_broker={})
    with pytest.raises(AssertionError, match="O1: lost"):
        judge(evidence)


def test_a_call_that_was_never_accepted_may_have_no_result() -> None:
    judge(Evidence(History({"a": Sent("a", "unknown", 9.0)})))


def test_each_oracle_is_asked() -> None:
    assert len(oracles.ORACLES) == 4


def test_a_ledger_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", Steps())
    request = Request(id="a", retries=1, crashes=2, delivery_info={"redelivered": True})
    ledger.sent("a", "unknown")
    ledger.sent("a", "ok", early=True)
    with ledger.running(request) as run:
        pass
    ledger.fault("child killed", [7, 8])
    ledger.close()
    history = read(tmp_path / "ledger")
    assert history.sent == {"a": Sent("a", "ok", 2.0, early=True)}
    (start,) = history.starts
    assert (start.run, start.t, start.redelivered, start.crashes, start.retries) == (
        run, 3.0, True, 2, 1,
    )  # fmt: skip
    assert history.ends == [End("a", run, 4.0)]
    assert history.faults == [Fault("child killed", (7, 8), 5.0)]


class Steps:
    """A clock that goes on by a second each time it is asked."""

    def __init__(self) -> None:
        self._seconds: Iterator[int] = iter(range(1, 100))

    def time(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        return float(next(self._seconds))

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError
