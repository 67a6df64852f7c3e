"""Sending the runs that are due: their messages, and the change of state that goes with them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from umbel import current, publish, states
from umbel.app import Umbel
from umbel.beat.runs import Plan, Runs, jitter, plan, run_id
from umbel.beat.store import Line, Store
from umbel.clock import unique_id, utc
from umbel.exceptions import OperationalError
from umbel.failpoints import fail_point
from umbel.loggers import get_logger
from umbel.message import Publication
from umbel.options import warn_once
from umbel.periodic import COPY
from umbel.ports import Change, Put
from umbel.schedules import crontab

logger = get_logger(__name__)

#: Seconds that a change of state may take: less than the lease of whoever makes it.
TIMEOUT = 2.0
#: Most seconds that a broker is given to take messages that it did not take in time before.
MOST_PATIENCE = 16.0
#: Most messages and values of one step.
STEP = 200


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to become true of an entry: another state, and with it messages and lines of history."""

    name: str
    was: str | None
    runs: Runs
    puts: tuple[Put, ...] = ()
    publish: tuple[Publication, ...] = ()
    text: str = field(init=False)

    def __post_init__(self) -> None:
        """Write the state down, once."""
        object.__setattr__(self, "text", self.runs.dump())

    @property
    def size(self) -> int:
        """How much of a step this takes."""
        return 1 + len(self.puts) + len(self.publish)


class _Outbox:
    """Takes the broker's place while a run is sent, and keeps what is published."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.publications: list[Publication] = []

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Keep publications, with tags of ours."""
        for one in publications:
            tag = publish.derived_tag(self._tag, f"message {len(self.publications)}")
            self.publications.append(publish.tagged(one, tag))

    @contextmanager
    def open(self) -> Iterator[None]:
        """Collect what is sent within the block."""
        token = current.outbox.set(self)
        try:
            yield
        finally:
            current.outbox.reset(token)


class Sender:
    """Prepares what is due, and makes it true. `apply` is `Scheduler.apply_entry`."""

    def __init__(self, app: Umbel, store: Store, apply: Callable[[Any], bool]) -> None:
        self._app = app
        self._store = store
        self._apply = apply
        engines = app.engines
        url = engines.state_url or engines.broker_url
        self._swaps = engines.engine(url).features.joint_state
        self._joint = self._swaps and url == engines.broker_url
        #: Seconds that the broker has for messages that are noted afterwards. One that is slow would else
        #: be sent copies again and again, none of which is ever noted.
        self.patience = TIMEOUT

    # What is due

    def prepare(
        self,
        name: str,
        entry: Any,
        was: str | None,
        runs: Runs,
        now: float,
        following: float | None = None,
    ) -> Prepared:
        """Return what becomes of an entry that is due. `following` is when it is due then, if that was asked.

        Raises OperationalError when the broker has to be asked and is away.
        """
        due = now if runs.due is None else runs.due
        if following is None:
            # A clock that was set back shows a time before the one at which it is due.
            moment = max(now - jitter(self._store.scope, name, due, entry.rules.jitter), due)
            late_by = entry.rules.late_by(self._starting_deadline(entry))
            todo = plan(entry.schedule, entry.rules, late_by, due, moment)
        else:
            todo = Plan((due,), None, following)
        send, left_out, next_time, made_up = todo
        lines = [] if left_out is None else [self._left_out(name, left_out, now)]
        messages: list[Publication] = []
        for moment in send:
            if not entry.rules.overlap and (messages or self._still_runs(name, runs)):
                lines.append(self._overlaps(name, moment, now, runs))
                continue
            sent, line = self._run(name, entry, moment, runs.count, now)
            if made_up:
                line = self._stands_for(name, moment, line)
            messages += sent
            lines.append(line)
            runs = replace(runs, last=moment, count=runs.count + 1)
            if line.task_id is not None:
                runs = replace(runs, sent=now, task_id=line.task_id)
        puts = self._store.lines(name, runs.noted, lines)
        runs = replace(runs, due=next_time, noted=runs.noted + len(lines))
        return Prepared(name, was, runs, puts, tuple(messages))

    def _starting_deadline(self, entry: Any) -> float | None:
        if not isinstance(entry.schedule, crontab):
            return None
        deadline: float | None = self._app.conf.snapshot.beat_cron_starting_deadline
        return deadline

    def _run(
        self, name: str, entry: Any, due: float, number: int, now: float
    ) -> tuple[list[Publication], Line]:
        """Return the messages of one run, and what to say of it. Raises OperationalError."""
        options = dict(entry.options or {})
        options.setdefault("task_id", run_id(self._store.scope, name, due, number))
        facts = {"periodic_task_name": name, "periodic_task_due": utc(due).isoformat()}
        options["headers"] = {**facts, **(options.get("headers") or {})}
        one = copy.copy(entry)
        one.options = options
        outbox = _Outbox(run_id(self._store.scope, name, due, number))
        with outbox.open():
            if self._apply(one) is False:
                raise OperationalError(f"The periodic task {name} could not be sent.")
        if not outbox.publications:
            return [], Line(
                due, now, "not sent", None, "It sent nothing; the log of beat says why."
            )
        return outbox.publications, Line(due, now, "sent", options["task_id"])

    def _left_out(self, name: str, due: float, now: float) -> Line:
        logger.warning(
            "The periodic task %s was due at %s, %.0f seconds ago: that is too late, and it is left out.",
            name,
            self._local(due),
            now - due,
        )
        return Line(due, now, "left out", None, "It was too late.")

    def _stands_for(self, name: str, due: float, line: Line) -> Line:
        logger.info(
            "The periodic task %s was due at %s, and more than once since: one run makes up for all.",
            name,
            self._local(due),
        )
        return replace(line, why=line.why or "It makes up for all that were missed since.")

    def _local(self, due: float) -> str:
        return utc(due).astimezone(self._app.timezone).isoformat(sep=" ", timespec="seconds")

    # Runs that have not ended

    def _overlaps(self, name: str, due: float, now: float, runs: Runs) -> Line:
        logger.info(
            "The periodic task %s is due, and its last run %s has not ended: it is left out.",
            name,
            runs.task_id,
        )
        return Line(due, now, "left out", None, f"{runs.task_id} had not ended.")

    def _still_runs(self, name: str, runs: Runs) -> bool:
        """Tell whether an entry's last run has not ended: no result has come, and its message is there."""
        app = self._app
        if runs.task_id is None or runs.sent is None:
            return False
        if app.results is not None and app.AsyncResult(runs.task_id).state in states.READY_STATES:
            return False
        engine = app.engine(app.broker_url)
        if engine.features.find and engine.queues is not None:
            return any(one.where != "dead" for one in engine.queues.find(runs.task_id))
        if app.results is None:
            warn_once(
                f"The periodic task {name} is not to overlap, but nobody can tell when it has ended: set"
                " result_backend."
            )
            return False
        kept = app.conf.snapshot.result_expires
        return not kept or app.clock.time() - runs.sent < kept

    # Making it true

    def make(self, prepared: Sequence[Prepared]) -> list[bool]:
        """Make changes of state, and send what goes with each; tell of each whether it is made.

        One that is not was decided on from a state that another beat has changed. Raises OperationalError;
        what was made then is not made again.
        """
        if not prepared:
            return []
        fail_point("beat.before_change")
        made = (
            [done for step in _steps(prepared) for done in self._make_joint(step)]
            if self._joint
            else [done for step in _steps(prepared) for done in self._make_apart(step)]
        )
        fail_point("beat.after_change")
        return made

    def _make_joint(self, step: Sequence[Prepared]) -> list[bool]:
        changes = [self._change(one, one.publish) for one in step]
        return self._store.state.change(changes, TIMEOUT)

    def _change(self, one: Prepared, messages: tuple[Publication, ...] = ()) -> Change:
        return Change(self._store.runs_kind, one.name, one.was, one.text, one.puts, messages)

    def _send(self, messages: Sequence[Publication]) -> None:
        """Send copies in one try: sent again, each is another one. Raises OperationalError."""
        try:
            self._app.broker.publish(publish.spread(messages), self.patience)
        except OperationalError:
            self.patience = min(2 * self.patience, MOST_PATIENCE)
            raise
        self.patience = TIMEOUT

    def _make_apart(self, step: Sequence[Prepared]) -> list[bool]:
        """Send, and then note it. Whoever does that again after a crash sends copies, of which one runs."""
        found = [self._store.runs_of(one.name) for one in step]
        ours = [one for one, text in zip(step, found, strict=True) if text == one.was]
        messages = [_copy(message) for one in ours for message in one.publish]
        if messages:
            self._send(messages)
            fail_point("beat.after_publish")
        changes = [self._change(one) for one in ours]
        if self._swaps:
            noted = self._store.state.change(changes, TIMEOUT) if changes else []
        else:
            noted = [self._store.change(one, joint=False) for one in changes]
        made = {one.name: is_noted for one, is_noted in zip(ours, noted, strict=True)}
        return [made.get(one.name, text == one.text) for one, text in zip(step, found, strict=True)]


def _copy(message: Publication) -> Publication:
    """Return a message that says which copy it is of what it is to do, for the workers to tell them apart."""
    headers = {**message.message.headers, COPY: f"{message.tag}:{unique_id()}"}
    return replace(message, message=replace(message.message, headers=headers))


def _steps(prepared: Sequence[Prepared]) -> Iterator[list[Prepared]]:
    """Yield what goes into one step of the store each."""
    step: list[Prepared] = []
    size = 0
    for one in prepared:
        if step and size + one.size > STEP:
            yield step
            step, size = [], 0
        step.append(one)
        size += one.size
    yield step
