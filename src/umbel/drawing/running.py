"""What became of a call, and of all that belongs to it, as a figure: of the results that are stored.

A result names the calls that its own made, and the one that made it, and its group: so a figure begins
with the first call that led to the one that is asked for. The body of a chord is made by whichever call of
the header ended last, and is none of its children: that tells it from those. What was never stored is not
known: what has not begun yet, in a chord that a client has sent the calls that have not ended, and tasks'
names without ``result_extended``. The result that the client got knows them: more can be drawn of it than
of an id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from umbel import kin, records, states
from umbel.backend import Backend, ResultBase
from umbel.canvas.texts import shortened
from umbel.drawing.figure import MOST, Call, Gap, Parallel, Step, in_series, shown_of
from umbel.drawing.workflows import arguments_of
from umbel.progress import Progress
from umbel.records import TaskResult
from umbel.representation import careful_repr

#: Characters of a value or of an error that are shown.
LONGEST = 40
#: Calls after each other that are drawn of what follows one, and before it.
DEEPEST, HIGHEST = 60, 40
#: A call or a group as documents have it: its id with its parent's, and the members of a group or None.
Written = Any


def figure_of_result(result: ResultBase, most: int = MOST) -> Step:
    """Return a result with all that belongs to it as a figure.

    Raises OperationalError when the store cannot be reached.
    """
    backend = getattr(result, "backend")  # noqa: B009 - both kinds of results have one
    return _Drawing(backend, most).whole(result.as_tuple())


class _Drawing:
    """A figure in the making: what was read, and what is in it already."""

    def __init__(self, backend: Backend, most: int) -> None:
        self._backend = backend
        self._most = most
        self._known: dict[str, TaskResult | None] = {}
        self._drawn: set[str] = set()
        self._bodies: dict[str, str] = {}
        self._loose: dict[str, list[str]] = {}
        self._asked = ""
        self._depth = 0

    def whole(self, written: Written) -> Step:
        ids, members = written
        own, above = _split(ids)
        self._asked = own
        if above or members is not None:
            self._drawn.update(_ids_of(written))
            return self._series(written)
        first, groups, is_first = self._climb(own)
        step = self._call(first)
        if not is_first:
            step = in_series([Gap("calls before this one"), step])
        for group in groups:
            others = [one for one in self._members(group) if one not in self._drawn]
            self._read(others)
            step = self._group(group, [step, *(self._call(one) for one in others)])
        return step

    # Reading

    def _read(self, ids: Collection[str]) -> None:
        missing = [one for one in ids if one not in self._known]
        if not missing:
            return
        found = self._backend.store.get(missing)
        for one in missing:
            record = found.get(one)
            self._known[one] = (
                None if record is None else records.decode(record, self._backend.form)
            )

    def _look(self, task_id: str) -> TaskResult | None:
        self._read([task_id])
        return self._known[task_id]

    def _members(self, group: str) -> list[str]:
        """Return the calls of a group that are known: it was saved, or a chord has heard of them."""
        store = self._backend.store
        if not store.counts_parts:
            return []
        saved = self._backend.group_as_saved(group)
        if saved is not None:
            return list(_calls_of(saved))
        return [records.decode_part(part, self._backend.form)[0] for part in store.parts(group)]

    # Upwards

    def _climb(self, task_id: str) -> tuple[str, list[str], bool]:
        """Return the first call that led to one, and the groups around it which nothing stored names.

        And whether it is the first: nobody climbs for ever.
        """
        around: list[str] = []
        seen = {task_id}
        while (found := self._look(task_id)) is not None:
            if len(seen) > HIGHEST:
                return task_id, around, False
            if found.group_id and found.group_id not in around:
                around.append(found.group_id)
            above = found.parent_id
            parent = self._look(above) if above and above not in seen else None
            if above is None or parent is None:
                break
            children = {one for child in parent.children or () for one in _ids_of(child)}
            if task_id not in children:
                if parent.group_id:
                    self._bodies[parent.group_id] = task_id
                else:
                    self._loose.setdefault(above, []).append(task_id)
            around = [group for group in around if group not in children]
            seen.add(above)
            task_id = above
        return task_id, around, True

    # Downwards

    def _series(self, written: Written) -> Step:
        """Return a call or a group, after what came before it in its chain."""
        line = [written]
        while (above := _split(line[-1][0])[1]) is not None:
            line.append(above)
        line.reverse()
        first, left, last = shown_of(len(line), self._most)
        steps = [self._one(line[n]) for n in first]
        if left:
            steps.append(self._gap(line[len(first) : len(first) + left]))
        return in_series([*steps, *(self._one(line[n]) for n in last)])

    def _one(self, written: Written) -> Step:
        """Return a call or a group, without what came before it."""
        ids, members = written
        own = _split(ids)[0]
        if members is None:
            return self._call(own)
        return self._group(own, self._each(members), len(members))

    def _call(self, task_id: str) -> Step:
        """Return a call, and what followed from it."""
        self._drawn.add(task_id)
        found = self._look(task_id)
        step = call_of(task_id, found, task_id == self._asked)
        children = [] if found is None else [child for child in found.children or ()]
        children += [((one, None), None) for one in self._loose.get(task_id, ())]
        new = [child for child in children if _split(child[0])[0] not in self._drawn]
        if not new:
            return step
        if self._depth >= DEEPEST:
            return in_series([step, Gap("calls that followed")])
        self._depth += 1
        after = self._each(new)
        self._depth -= 1
        return in_series([step, after[0] if len(after) == 1 else Parallel("all of", tuple(after))])

    def _each(self, written: Sequence[Written]) -> list[Step]:
        """Return calls and groups, of which those in the middle are left out where there are too many."""
        first, left, last = shown_of(len(written), self._most)
        self._read([_split(ids)[0] for ids, members in written if members is None])
        gap = [self._gap([written[n] for n in range(len(first), len(first) + left)])] * bool(left)
        return [
            *(self._series(written[n]) for n in first),
            *gap,
            *(self._series(written[n]) for n in last),
        ]

    def _gap(self, written: Sequence[Written]) -> Gap:
        """Return what is said of calls that are left out: how many there are in each state."""
        self._read([_split(ids)[0] for ids, members in written if members is None])
        counts: dict[str, int] = {}
        for ids, _ in written:
            found = self._known.get(_split(ids)[0])
            state = states.PENDING if found is None else found.state
            counts[state] = counts.get(state, 0) + 1
        listed = ", ".join(f"{count:,} {state}" for state, count in counts.items())
        return Gap(f"{len(written):,} more calls: {listed}")

    def _group(self, group: str, members: Sequence[Step], size: int | None = None) -> Step:
        """Return a group, of that size if it is known, and the body of its chord if that is known."""
        title = f"group, {len(members)} known" if size is None else f"group of {size}"
        step: Step = Parallel(title, tuple(members)) if members else Gap("an empty group")
        body = self._bodies.get(group)
        if body is None or body in self._drawn:
            return step
        return in_series([step, self._call(body)])


def call_of(task_id: str, found: TaskResult | None, chosen: bool = False) -> Call:
    """Return what is stored of a call as one in a figure. Its name is known only with ``result_extended``."""
    if found is None:
        return Call(task_id, state=states.PENDING, task_id=task_id, chosen=chosen)
    call, told = found.call, None
    if found.state not in states.ALL_STATES:
        told = Progress.of(found.result)
    name = task_id if call is None or not call.name else call.name
    arguments = "" if name == task_id or call is None else arguments_of(call.args, call.kwargs)
    note = _note(found) if told is None else str(told)
    fraction = None if told is None else told.fraction
    return Call(name, arguments, found.state, note, fraction, task_id, chosen)


def _note(found: TaskResult) -> str:
    if found.result is None:
        return ""
    if isinstance(found.result, BaseException):
        return _short(careful_repr(found.result))
    if found.state == states.STARTED and isinstance(found.result, dict):
        return str(found.result.get("hostname", ""))
    return _short(shortened(found.result, 4 * LONGEST))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _split(ids: Any) -> tuple[str, Written]:
    """Return an id, and the parent that is written with it or None."""
    return (str(ids[0]), ids[1]) if isinstance(ids, list | tuple) else (str(ids), None)


def _ids_of(written: Written) -> Iterator[str]:
    """Yield the ids in what is written of a call or a group: its own, its parents', its members'."""
    left = [written]
    while left:
        one = left.pop()
        above, members = kin.kin_of(one)
        yield str(kin.split(one[0])[0])
        left += [above] if above else []
        left += members


def _calls_of(written: Written) -> Iterator[str]:
    """Yield the ids of the calls that a call or a group consists of."""
    ids, members = written
    if members is None:
        yield _split(ids)[0]
    for member in members or ():
        yield from _calls_of(member)
