"""What chords hear of a call's end, as values. Pure.

A call of a chord's header is a member: its outcome is a part of its group. When a call fails, so does what
would have followed it in its chain and never runs; of that too chords may have to hear.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from umbel import records, states
from umbel.backend import chord_expiry, expiry
from umbel.canvas.algebra import calls_of
from umbel.canvas.pieces import is_stand_in, within
from umbel.clock import utc
from umbel.exceptions import DecodeError
from umbel.links import as_list, is_signature, next_of
from umbel.message import Call
from umbel.ports import GroupPart
from umbel.records import CallInfo, ResultRecord, TaskResult
from umbel.settings import Settings
from umbel.tails import RawTail
from umbel.values import value
from umbel.worker.outcome import Waiting

logger = logging.getLogger("umbel.worker")


@value
class Member:
    """The end of a call that belongs to a chord's header; `body` is the chord's, as the message has it."""

    part: GroupPart
    body: Mapping[str, Any]
    root_id: str


@value
class Claim:
    """A complete group, which whoever settles a delivery has claimed."""

    group: str
    claimant: str
    key: str
    #: The piece that held the body of its chord.
    piece: str | None = None


@value
class Unreached:
    """A piece whose steps never run, and the failure before them; see `umbel.canvas.pieces`.

    Their results are `stored` unless those of the call before them are not wanted.
    """

    piece: str
    error: BaseException
    traceback: str | None
    tag: str
    stored: bool = True


@value
class Doom:
    """What never runs since something before it failed: its results, and the chords that hear of it.

    Of `unreached` pieces it is still to be read what they hold.
    """

    results: tuple[ResultRecord, ...] = ()
    members: tuple[Member, ...] = ()
    unreached: tuple[Unreached, ...] = ()


def member_of(
    call: Call, state: str, value: Any, tag: str, settings: Settings, now: float
) -> Member:
    """Return the end of a call as a chord hears of it.

    Raises EncodeError for a value that cannot be written.
    """
    document = records.encode_part(call.id, state, value, settings)
    part = GroupPart(
        group=call.group_id or "",
        part=call.id,
        index=call.group_index,
        document=document,
        claimant=f"{call.id} {tag}",
        expires=chord_expiry(settings, now),
    )
    return Member(part, call.chord, call.root_id or call.id)


def doom_of_chain(
    chain: Any,
    error: BaseException,
    traceback: str | None,
    tag: str,
    settings: Settings,
    now: float,
) -> Doom:
    """Return what becomes of the rest of a chain, of which a call has failed."""
    try:
        written = as_list(chain) or []
    except DecodeError as reason:  # raw until now
        logger.warning(
            "What follows a call that failed cannot be read, and is not told: %s", reason
        )
        written = [next_of(chain)]
    steps = [step for step in written if is_signature(step)]
    calls = [call for step in steps for call in calls_of(step)]
    return doom_of(calls, error, traceback, tag, settings, now)


def doom_of(
    calls: Sequence[Mapping[str, Any]],
    error: BaseException,
    traceback: str | None,
    tag: str,
    settings: Settings,
    now: float,
) -> Doom:
    """Return the failures of calls that never run."""
    ends = expiry(settings, states.FAILURE, now)
    results, members, unreached = [], [], []
    for call in calls:
        options = call.get("options") or {}
        if is_stand_in(call):
            unreached.append(Unreached(call["kwargs"]["piece"], error, traceback, tag))
        task_id = options.get("task_id")
        if not isinstance(task_id, str):
            continue
        result = TaskResult(
            task_id=task_id,
            state=states.FAILURE,
            result=error,
            traceback=traceback or None,
            date_done=utc(now),
            parent_id=options.get("parent_id"),
            group_id=options.get("group_id"),
            call=CallInfo(call["task"], call.get("args"), call.get("kwargs"))
            if settings.result_extended
            else None,
        )
        results.append(records.encode(result, ends, settings))
        if is_signature(options.get("chord")) and options.get("group_id"):
            members.append(_doomed(options, error, tag, settings, now))
    return Doom(tuple(results), tuple(members), tuple(unreached))


def _doomed(
    options: Mapping[str, Any], error: BaseException, tag: str, settings: Settings, now: float
) -> Member:
    task_id = options["task_id"]
    index = options.get("group_index")
    part = GroupPart(
        group=options["group_id"],
        part=task_id,
        index=index if isinstance(index, int) else None,
        document=records.encode_part(task_id, states.FAILURE, error, settings),
        claimant=f"{task_id} {tag}",
        expires=chord_expiry(settings, now),
    )
    return Member(part, options["chord"], options.get("root_id") or task_id)


def needs_its_thread(members: Sequence[Member], waiting: Sequence[Waiting]) -> bool:
    """Tell whether the thread that runs tasks may have to settle a call's end, and better does so now.

    Errbacks of a chord may have to be called, which helpers do not. While what is to run next is a call of
    the same header, that is not complete.
    """
    try:
        after = waiting[0].prepared.call
    except IndexError:
        return False  # a helper has just given it back
    group = None if after is None or not after.chord else after.group_id
    return any(one.part.group != group and has_errbacks(one.body) for one in members)


def has_errbacks(body: Mapping[str, Any]) -> bool:
    """Tell whether errbacks may follow if the body of a chord never runs, or of a chord behind it."""
    return any(
        # What is in a piece, or was not read, may have some.
        isinstance(one, RawTail)
        or is_stand_in(one)
        or bool((one.get("options") or {}).get("link_error"))
        for one in within(body)
    )
