"""Chords that are complete: their bodies are sent, or what follows their failure.

A body needs all results of its header, so it takes two steps, each of which may be done again. First the
parts of a batch are recorded in the result store, which counts them: one of those who ask for a complete
group gets the claim. Then what follows is settled together with the delivery that completed it. Ids and tags
are computed from the group's id, so whoever does this makes the same messages. Who dies in between is
delivered again, and gets the same claim; the group is closed when its delivery has been settled.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from umbel import records, states
from umbel.backend import chord_expiry, run_name
from umbel.canvas.algebra import calls_of, steps
from umbel.exceptions import ChordError, DecodeError, OperationalError
from umbel.failpoints import fail_point
from umbel.following import (
    after_failure,
    call_errbacks,
    collect_errbacks,
    read,
    request_of,
)
from umbel.options import warn_once
from umbel.outbox import Outbox
from umbel.pieces import body_of, is_due, load, renew
from umbel.ports import ResultStore
from umbel.request import Request
from umbel.worker.chords import Claim, Doom, Member, doom_of, doom_of_chain

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.worker.decide import Verdict

logger = logging.getLogger("umbel.worker")

#: Pieces of workflows that a process remembers to have renewed.
REMEMBERED = 10_000


class NotHere(Exception):
    """Errbacks that take the error would have to be called, in a thread that runs no code of tasks."""


class Chords:
    """Completes chords for who settles. `plainly`: without running any code of tasks, as supervisors do."""

    def __init__(self, app: Umbel, store: ResultStore | None, plainly: bool = False) -> None:
        self._app = app
        self._store = store
        self._plainly = plainly
        #: Pieces that were renewed here, with until when.
        self._renewed: dict[str, float] = {}
        #: What follows complete groups, until they are closed: a settle that was not answered is made again.
        self._reached: dict[tuple[str, str], tuple[Outbox, Doom, str | None]] = {}

    def heard(
        self, verdicts: Sequence[Verdict], hold: list[Verdict] | None = None
    ) -> tuple[Sequence[Verdict], list[Claim]]:
        """Record what chords hear of verdicts; return the verdicts with what follows complete chords.

        With `hold` no errback is called here: verdicts that would need that are put there, as they were, and
        are left out of what is returned. Raises OperationalError when the store does not answer; all of it
        may be done again.
        """
        store = self._store
        waiting = [(place, one) for place, each in enumerate(verdicts) for one in each.members]
        if waiting and store is None:
            warn_once("Calls of chords are run, but no results are kept: nobody counts them.")
        if store is None or not store.counts_parts:
            return verdicts, []
        for id in {id: None for verdict in verdicts for id in verdict.renewed}:
            self._renew(store, id)
        made, claims = [self._with_unreached(store, one) for one in verdicts], []
        held = set[int]()
        waiting = [(place, one) for place, each in enumerate(made) for one in each.members]
        while waiting:
            answers = store.add_parts([member.part for _, member in waiting])
            fail_point("chords.after_parts")
            completed = [item for item, mine in zip(waiting, answers, strict=True) if mine]
            waiting = []
            for place, member in completed:
                verdict = made[place]
                try:
                    outbox, doom, piece = self._reach(store, member, calls=hold is None)
                except NotHere:
                    held.add(place)
                    continue
                key = verdict.settlement.delivery.key
                claims.append(Claim(member.part.group, member.part.claimant, key, piece))
                made[place] = _with(verdict, outbox, doom)
                waiting += [(place, one) for one in doom.members]
        if hold is None or not held:
            return made, claims
        hold += [verdicts[place] for place in sorted(held)]
        keys = {one.settlement.delivery.key for one in hold}
        left = [one for place, one in enumerate(made) if place not in held]
        return left, [claim for claim in claims if claim.key not in keys]

    def pass_on(self, verdicts: Sequence[Verdict]) -> None:
        """Tell a store that counts in a way of its own what chords hear of verdicts, whose results it has.

        Raises OperationalError when the store does not answer; all of it may be done again.
        """
        if self._store is not None and not self._store.counts_parts:
            members = [member for each in verdicts for member in each.members]
            if members:
                self._store.pass_on([(member.part, member.body) for member in members])

    def _renew(self, store: ResultStore, id: str) -> None:
        """Keep a piece for longer: once, however many calls lead to it and pass here."""
        settings, now = self._app.conf.snapshot, self._app.clock.time()
        if not is_due(self._renewed.get(id, now), settings, now):
            return
        try:
            renew(self._app, store, id)
        except DecodeError as error:
            logger.warning("A piece of a workflow cannot be read, and is not renewed: %s", error)
        if len(self._renewed) >= REMEMBERED:
            self._renewed.clear()
        self._renewed[id] = chord_expiry(settings, now) or now

    def _with_unreached(self, store: ResultStore, verdict: Verdict) -> Verdict:
        """Add to a verdict what becomes of the steps in pieces that are never reached."""
        if not verdict.unreached:
            return verdict
        doom = self._whole(store, Doom(unreached=verdict.unreached))
        return replace(
            verdict,
            others=(*verdict.others, *doom.results),
            members=(*verdict.members, *doom.members),
            used=(*verdict.used, *(one.piece for one in doom.unreached)),
        )

    def _whole(self, store: ResultStore, doom: Doom) -> Doom:
        """Return a doom with that of all the steps in its pieces."""
        settings, now = self._app.conf.snapshot, self._app.clock.time()
        results, members = list(doom.results), list(doom.members)
        found, left = [], list(doom.unreached)
        while left:
            one = left.pop()
            found.append(one)
            try:
                piece = load(self._app, store, one.piece)
            except DecodeError as error:
                logger.warning("Steps that never run cannot be read, and are not told: %s", error)
                continue
            calls = [call for step in piece.steps for call in calls_of(step)] if piece else []
            more = doom_of(calls, one.error, one.traceback, one.tag, settings, now)
            results += more.results if one.stored else ()
            members += more.members
            left += [replace(each, stored=one.stored) for each in more.unreached]
        return Doom(tuple(results), tuple(members), tuple(found))

    def _reach(
        self, store: ResultStore, member: Member, calls: bool
    ) -> tuple[Outbox, Doom, str | None]:
        """Return what follows a group that a member completes, and the piece that its body was in.

        Its errbacks are called only once. Raises NotHere, and has called none, if there are some to call and
        it must not.
        """
        key = (member.part.group, member.part.claimant)
        if key not in self._reached:
            end = _End(self._app, store, member, self._plainly, calls)
            doom = self._whole(store, end.reach())
            self._reached[key] = end.outbox, doom, end.piece
        return self._reached[key]

    def close(self, claims: Sequence[Claim], refused: Collection[str]) -> None:
        """Close groups whose deliveries have been settled. What is not closed expires by itself."""
        store = self._store
        if store is None:
            return
        fail_point("chords.before_close")
        for claim in claims:
            self._reached.pop((claim.group, claim.claimant), None)
            if claim.key in refused:
                continue
            try:
                store.close_group(claim.group, claim.claimant)
            except OperationalError as error:
                logger.warning("The chord %s cannot be closed, and expires: %s", claim.group, error)


def _with(verdict: Verdict, outbox: Outbox, doom: Doom) -> Verdict:
    settlement = verdict.settlement
    return replace(
        verdict,
        settlement=replace(settlement, publish=(*settlement.publish, *outbox.publications)),
        others=(*verdict.others, *doom.results),
        openings=(*verdict.openings, *outbox.openings),
        used=(*verdict.used, *(one.piece for one in doom.unreached)),
    )


class _End:
    """The end of one chord's header."""

    def __init__(
        self, app: Umbel, store: ResultStore, member: Member, plainly: bool, calls: bool
    ) -> None:
        self._calls = calls
        self._app = app
        self._store = store
        self._member = member
        self._plainly = plainly
        self._group = member.part.group
        self._body: Mapping[str, Any] = member.body
        #: The piece that the body was in, if it was in one.
        self.piece: str | None = None
        #: Which run of the chord it is, where it was sent with ids that it had.
        self._run = store.saved_group(run_name(self._group))
        run = self._run or ""
        name = self._group + (run if isinstance(run, str) else run.decode())
        tag = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
        self.outbox = Outbox(tag, self._group, "chord")
        # What follows is sent as if by the call that completed the chord.
        self._request = Request(
            id=member.part.part, root_id=member.root_id, called_directly=False, task=None
        )

    def reach(self) -> Doom:
        """Send the body; if the header or that fails, its errbacks. Return what never runs then.

        Nothing follows a group that was closed after its claim was given. Who closes one has sent what
        follows, and may have died then, so that its delivery came here; the store may hear its word late.
        """
        # The chord may have been sent again since it was claimed: what there is then is another run's.
        if self._run is not None and self._store.add_parts([self._member.part]) != [True]:
            return Doom()
        # In this order: while there are parts, the document before them was that of the open group.
        document, parts = self._store.saved_group(self._group), self._store.parts(self._group)
        if not parts or (self._run and self._store.saved_group(run_name(self._group)) != self._run):
            return Doom()
        try:
            self._body, self.piece = body_of(self._app, self._store, self._body)
            values = self._values(document, parts)
        except (LookupError, DecodeError) as error:
            logger.warning("The body of the chord %s cannot be read: %s", self._group, error)
            return self._fail(ChordError(f"Its body cannot be read: {error}"))
        except ChordError as error:
            logger.warning("Chord %r raised: %r", self._group, error)
            return self._fail(error)
        try:
            with self.outbox.open(self._request):
                self._app.dispatch(read(self._body, self._app), (values,), plainly=self._plainly)
        except OperationalError:
            raise
        except Exception as error:
            logger.exception("Chord callback for %r raised: %r", self._group, error)
            self.outbox.clear()
            return self._fail(ChordError(f"Callback error: {error!r}"))
        return Doom()

    def _values(self, document: str | bytes | None, parts: Sequence[str | bytes]) -> list[Any]:
        """Return the values of the header. Raises ChordError when one of its calls has failed."""
        form = self._app.conf.snapshot
        try:
            found = [records.decode_part(one, form) for one in parts]
            structure = (
                None if document is None else records.decode_group(self._group, document, form)
            )
        except Exception as error:
            raise ChordError(f"Join error: {error!r}") from error
        for task_id, state, value in found:
            if state in states.PROPAGATE_STATES:
                cause = value if isinstance(value, BaseException) else None
                raise ChordError(f"Dependency {task_id} raised {value!r}") from cause
        if structure is None:
            return [value for _, _, value in found]
        values = {task_id: value for task_id, _, value in found}
        nested = _nested(structure, values)
        known = set(_leaves(structure))
        added = [value for task_id, _, value in found if task_id not in known]
        return [*(nested if isinstance(nested, list) else [nested]), *added]

    def _fail(self, error: ChordError) -> Doom:
        """Let the body fail: send its errbacks, and return the results of what never runs."""
        settings, now = self._app.conf.snapshot, self._app.clock.time()
        about = (None, self._member.part.claimant, settings, now)
        try:
            body = read(self._body, self._app)
            tail = body.options.get("chain")
            first, *rest = steps(body)
        except Exception:
            logger.exception("The body of the chord %s cannot be read", self._group)
            return Doom()
        calls = list(calls_of(first))
        for call in calls:
            self._call_errbacks(call, error)
        rest_calls = [call for step in rest for call in calls_of(step)]
        doom = doom_of([*calls, *rest_calls], error, *about)
        after = doom_of_chain(tail, error, *about)
        return Doom(
            (*doom.results, *after.results),
            (*doom.members, *after.members),
            (*doom.unreached, *after.unreached),
        )

    def _call_errbacks(self, call: Mapping[str, Any], error: ChordError) -> None:
        request = request_of(call, self._member.root_id)
        direct, sent = after_failure(request, self._app, self.outbox.new_id)
        if self._plainly:
            for errback in direct:
                logger.warning(
                    "The errback %s of the chord %s is not called: it takes the error, and no child is here"
                    " to run it.",
                    errback.task,
                    self._group,
                )
        elif direct and not self._calls:
            raise NotHere
        else:
            call_errbacks(direct, request, error, "")
        collect_errbacks(self.outbox, sent, request, plainly=self._plainly)


def _nested(written: Any, values: Mapping[str, Any]) -> Any:
    """Return the values of calls as ``as_tuple`` nests them."""
    ids, members = written
    own = ids[0] if isinstance(ids, list | tuple) else ids
    if members is None:
        return values.get(own)
    return [_nested(member, values) for member in members]


def _leaves(written: Any) -> Iterator[str]:
    """Yield the ids of calls that ``as_tuple`` has written."""
    ids, members = written
    if members is None:
        yield ids[0] if isinstance(ids, list | tuple) else ids
    for member in members or ():
        yield from _leaves(member)
