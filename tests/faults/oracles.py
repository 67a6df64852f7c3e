"""What must be true after every experiment, whatever was done to the processes.

Each oracle is a function from the evidence to a list of complaints, each with the whole story of a
task. `judge` asks all of them and returns the figures of the experiment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from umbel import states
from umbel.exceptions import TimeLimitExceeded, WorkerLostError
from umbel.records import TaskResult
from umbel.testing.ledger import End, Fault, History, Start

#: Seconds after its end within which a task's outcome is settled, or the harm came before that.
SETTLED = 1.0


#: What the ledger calls the death of a server that had a replica.
MASTER_KILLED = "master killed"


@dataclass
class Evidence:
    """The ledger, and what the engine says at the end: results, dead letters, other messages.

    A ledger that grows needs another one: this sorts it once.
    """

    history: History
    results: Mapping[str, TaskResult] = field(default_factory=dict)
    dead: Mapping[str, str] = field(default_factory=dict)
    in_broker: Mapping[str, str] = field(default_factory=dict)
    follow_ups_repeat: bool = False
    """The broker cannot publish what follows and acknowledge in one step: a run that is repeated
    may publish it again, and what is published again does not know that it is."""
    forgotten: frozenset[str] = frozenset()
    """Tasks that may be lost, message and result: a server loses its memory, as it was configured to, and
    Celery what it takes before it writes that down."""
    copies_stay: bool = False
    """The broker cannot put a copy of a message that says more of it somewhere else and acknowledge the first
    in one step: who dies in between leaves both, and two processes that get one each run both."""
    deaf: frozenset[int] = frozenset()
    """Processes of Celery's: of what umbel gave back they do not see that it has been delivered before."""

    @cached_property
    def _starts(self) -> Mapping[str, list[Start]]:
        found = defaultdict(list)
        for start in self.history.starts:
            found[start.id].append(start)
        return found

    @cached_property
    def _ends(self) -> Mapping[str, list[End]]:
        found = defaultdict(list)
        for end in self.history.ends:
            if not end.retry:
                found[end.id].append(end)
        return found

    def starts(self, id: str) -> Sequence[Start]:
        """Return the starts of a task."""
        return self._starts.get(id, ())

    def ends(self, id: str) -> Sequence[End]:
        """Return the ends of a task, without those that only asked for another run."""
        return self._ends.get(id, ())

    def state(self, id: str) -> str:
        """Return the state of a task's result."""
        return self.results[id].state if id in self.results else states.PENDING

    def is_lost_by_right(self, id: str) -> bool:
        """Tell whether a task that may run at most once is reported as lost with its worker."""
        sent = self.history.sent.get(id)
        if sent is None or not sent.early or self.state(id) != states.FAILURE:
            return False
        return isinstance(self.results[id].result, WorkerLostError)

    def was_too_long(self, id: str) -> bool:
        """Tell whether a task is reported as killed for its time limit; it has started then."""
        return (
            self.state(id) == states.FAILURE
            and isinstance(self.results[id].result, TimeLimitExceeded)
            and bool(self.starts(id))
        )

    def is_lost(self, id: str) -> bool:
        """Tell whether a task that was accepted has left no trace but in the ledger."""
        sent = self.history.sent[id]
        return sent.outcome == "ok" and not (
            self.ends(id) or id in self.dead or self.is_lost_by_right(id) or self.was_too_long(id)
        )

    def story(self, id: str) -> str:
        """Tell all that is known about a task, in the order in which it happened."""
        lines: list[tuple[float, str]] = []
        sent = self.history.sent.get(id)
        if sent is not None:
            lines.append((sent.t, f"sent: {sent.outcome}"))
        pids = set()
        for start in self.starts(id):
            pids.add(start.pid)
            label = f"redelivered={start.redelivered} crashes={start.crashes}"
            lines.append((start.t, f"started as run {start.run}, {label} retries={start.retries}"))
        for end in self.history.ends:
            if end.id == id:
                lines.append((end.t, f"run {end.run} ended{', retry' if end.retry else ''}"))
        for fault in self.history.faults:
            if pids & set(fault.pids):
                lines.append((fault.t, f"{fault.how} {sorted(pids & set(fault.pids))}"))
        begun = min((t for t, _ in lines), default=0.0)
        told = "".join(f"\n    {t - begun:7.3f} s  {text}" for t, text in sorted(lines))
        place = self.in_broker.get(id, "dead letter" if id in self.dead else "none")
        reason = f" ({self.dead[id]})" if id in self.dead else ""
        return f"{id}:{told}\n    result {self.state(id)}, message {place}{reason}"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A start after another start of the same run of a task, and what explains it."""

    before: Start
    start: Start
    fault: Fault | None
    inherited: bool = False
    """It follows a task that ran twice, and so was sent twice."""
    of_copy: bool = False
    """Whoever died before both was just about to acknowledge the message of which the other has a copy."""

    @property
    def labelled(self) -> bool:
        """True when the task could see that it was delivered before."""
        return self.start.redelivered or self.start.crashes > 0 or self.inherited

    @property
    def recovery(self) -> float:
        """Seconds from the fault to the new start."""
        return self.start.t - self.fault.t if self.fault else 0.0


def duplicates(evidence: Evidence) -> Iterator[Duplicate]:
    """Find every extra start. A fault explains at most one for each run that it hit."""
    ended = {end.run: end for end in evidence.history.ends}
    explained: dict[tuple[str, int], Fault] = {}
    runs = defaultdict(list)
    for start in evidence.history.starts:
        runs[start.id, start.retries].append(start)
    for (id, retries), starts in sorted(runs.items()):
        starts.sort(key=lambda start: start.t)
        left: list[Fault] = []
        for before, start in pairwise(starts):
            end = ended.get(before.run)
            faults = [
                fault
                for fault in evidence.history.faults
                if before.pid in fault.pids
                and fault.t <= start.t
                and (end is None or end.t + SETTLED >= fault.t)
            ]
            if faults:
                explained[id, retries] = faults[-1]
                yield Duplicate(before, start, faults[-1])
            elif (fault := _left_a_copy(evidence, before, start)) is not None and fault not in left:
                left.append(fault)
                explained.setdefault((id, retries), fault)
                yield Duplicate(before, start, fault, of_copy=True)
            else:
                origin = explained.get((id, retries - 1)) if evidence.follow_ups_repeat else None
                yield Duplicate(before, start, origin, inherited=origin is not None)


def _left_a_copy(evidence: Evidence, before: Start, start: Start) -> Fault | None:
    """Return the fault that may have left a message and its copy: both came back, and one knows more.

    Two that died of one message, each when it had just made its copy, leave two copies that know the same.
    """
    if not evidence.copies_stay or not (before.redelivered and start.redelivered):
        return None
    faults = [fault for fault in evidence.history.faults if fault.pids and fault.t <= before.t]
    if before.crashes == start.crashes and (before.crashes < 2 or len(faults) < 2):
        return None
    return faults[-1] if faults else None


def no_loss(evidence: Evidence) -> Iterator[str]:
    """O1: what was sent has run to its end, or is a dead letter, or is reported as lost."""
    for id in evidence.history.sent:
        if id in evidence.in_broker:
            yield f"O1: not settled in time: {evidence.story(id)}"
        elif id not in evidence.forgotten and evidence.is_lost(id):
            yield f"O1: lost: {evidence.story(id)}"


def no_phantom(evidence: Evidence) -> Iterator[str]:
    """O2: nothing ran that nobody sent."""
    for id in {start.id for start in evidence.history.starts} - evidence.history.sent.keys():
        yield f"O2: never sent, but it ran: {evidence.story(id)}"


def no_riddle(evidence: Evidence) -> Iterator[str]:
    """O3: every extra start has a fault that explains it, and was told that it is one."""
    for extra in duplicates(evidence):
        id = extra.start.id
        if extra.fault is None:
            yield f"O3: started again without a fault: {evidence.story(id)}"
        elif not (extra.labelled or _could_not_know(evidence, extra)) and not _was_sent_again(
            evidence, extra.fault, id
        ):
            yield f"O3: started again without being told: {evidence.story(id)}"


def _could_not_know(evidence: Evidence, extra: Duplicate) -> bool:
    """Tell whether Celery ran what umbel had run before, and gave back with a count that is umbel's own."""
    return extra.start.pid in evidence.deaf and extra.before.pid not in evidence.deaf


def _was_sent_again(evidence: Evidence, fault: Fault, id: str) -> bool:
    """Tell whether the server that had a message died before its client had the answer, and so sent it anew.

    The server that took its place had heard of neither the message nor its tag.
    """
    return fault.how == MASTER_KILLED and evidence.history.sent[id].t >= fault.t


def truth(evidence: Evidence) -> Iterator[str]:
    """O4: the result says what happened."""
    for id, sent in evidence.history.sent.items():
        state, starts, ends = evidence.state(id), evidence.starts(id), evidence.ends(id)
        if sent.outcome != "ok" and not starts and state == states.PENDING:
            continue  # it was never accepted
        if sent.early and len(starts) > 1:
            yield f"O4: started more than once: {evidence.story(id)}"
        if evidence.is_lost_by_right(id) or id in evidence.forgotten:
            continue
        if evidence.was_too_long(id) and id not in evidence.dead:
            continue
        expected = states.FAILURE if id in evidence.dead else states.SUCCESS
        if state != expected:
            yield f"O4: the result is {state} instead of {expected}: {evidence.story(id)}"
        elif state == states.SUCCESS and not ends:
            yield f"O4: successful without an end: {evidence.story(id)}"
        elif id in evidence.dead and not isinstance(evidence.results[id].result, WorkerLostError):
            yield f"O4: dead for another reason than a lost worker: {evidence.story(id)}"


ORACLES: tuple[Callable[[Evidence], Iterator[str]], ...] = (no_loss, no_phantom, no_riddle, truth)


@dataclass(slots=True)
class Figures:
    """What one experiment, or many of one kind, measured. Recoveries are in seconds."""

    trials: int = 0
    tasks: int = 0
    faults: int = 0
    lost: int = 0
    dead: int = 0
    duplicates: int = 0
    unexplained: int = 0
    recoveries: list[float] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Add another experiment's figures."""
        self.trials += other.trials
        self.tasks += other.tasks
        self.faults += other.faults
        self.lost += other.lost
        self.dead += other.dead
        self.duplicates += other.duplicates
        self.unexplained += other.unexplained
        self.recoveries += other.recoveries


def judge(evidence: Evidence) -> Figures:
    """Ask all oracles; raise AssertionError with their complaints, else return the figures."""
    complaints = [text for oracle in ORACLES for text in oracle(evidence)]
    if complaints:
        shown = "\n".join(complaints[:10])
        raise AssertionError(f"{len(complaints)} complaints, of which the first are:\n{shown}")
    extra = list(duplicates(evidence))
    return Figures(
        trials=1,
        tasks=len(evidence.history.sent),
        faults=len(evidence.history.faults),
        lost=sum(map(evidence.is_lost, evidence.forgotten)),
        dead=len(evidence.dead),
        duplicates=len(extra),
        recoveries=[one.recovery for one in extra],
    )


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lies; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
