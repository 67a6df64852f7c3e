"""Settlements as the arguments of scripts."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.engines.redis.calls import Calls
from umbel.engines.redis.server import Argument
from umbel.message import Delivery, Publication
from umbel.ports import Action, Settlement
from umbel.records import ResultRecord

Sent = tuple[Publication, str]
"""What was published, and the envelope that was written of it."""

_ACK = Action.ACK
_CODES = {Action.ACK: "A", Action.REQUEUE: "R", Action.PARK: "P", Action.DEAD_LETTER: "D"}


def counted(values: Sequence[str]) -> tuple[Argument, ...]:
    """Return values behind their number."""
    return (len(values), *values)


def success(calls: Calls, result: ResultRecord | None) -> tuple[Argument, ...] | None:
    """Return a result that is none or a SUCCESS: its database, key, document, and when it expires.

    None for one of which a script has to know more.
    """
    if result is None:
        return "", "", "", 0
    where, stored, document, rank, expires, mark = calls.result(result)
    return (where, stored, document, expires) if rank == 1 and not mark else None


def finished(calls: Calls, item: Settlement) -> tuple[Argument, ...] | None:
    """Return the result of what is acknowledged and followed by nothing, as `success` does; else None."""
    if item.action is not _ACK or item.publish:
        return None
    return success(calls, item.result)


def chain_step(
    calls: Calls, settlements: Sequence[Settlement]
) -> tuple[Settlement, Publication, tuple[Argument, ...]] | None:
    """Return a step of a chain that is settled, what follows, and its result (lua/broker_follow.lua)."""
    if len(settlements) != 1 or len(settlements[0].publish) != 1:
        return None
    [item] = settlements
    [one] = item.publish
    if item.action is not _ACK or one.due is not None:
        return None
    result = success(calls, item.result)
    return None if result is None or result[0] else (item, one, result[1:])


def settling(
    calls: Calls, settlements: Sequence[Settlement]
) -> tuple[list[Argument], list[Sent], list[Delivery]]:
    """Return settlements (lua/broker_settle.lua), their follow-ups, and what is settled twice.

    Keys that are only acknowledged come first, then those with a SUCCESS, then all others.
    """
    acks: list[str] = []
    where: Argument = ""
    successes: list[Argument] = []
    others: list[Argument] = [0]
    follow_ups: list[Sent] = []
    twice: list[Delivery] = []
    seen: set[str] = set()
    for item in settlements:
        key = item.delivery.key
        if key in seen:
            twice.append(item.delivery)
            continue
        seen.add(key)
        if item.action is _ACK and not item.publish:
            if item.result is None:
                acks.append(key)
                continue
            where, stored, document, is_success, expires, mark = calls.result(item.result)
            if is_success and not mark:
                successes += (key, stored, document, expires)
                continue
        others[0] = int(others[0]) + 1
        others += _settlement(calls, item, follow_ups)
    said = [*counted(acks), where, len(successes) // 4, *successes, *others]
    return said, follow_ups, twice


def _settlement(calls: Calls, item: Settlement, follow_ups: list[Sent]) -> list[Argument]:
    """Return one of the others, and note its follow-ups."""
    values: list[Argument] = [
        item.delivery.key,
        _CODES[item.action],
        int(item.crashed),
        "" if item.due is None else item.due,
        (item.reason or "").encode("utf-8", "backslashreplace"),
        "" if item.expires is None else int(item.expires * 1000),
        0 if item.result is None else 1,
    ]
    if item.result is not None:
        values += calls.result(item.result)
    values.append(len(item.publish))
    for one in item.publish:
        name, base, tag, due, text = calls.publication(one)
        follow_ups.append((one, text))
        values += name, base, tag, due, labelled(name, base, text)
    return values


def labelled(name: str, base: int, text: str) -> str:
    """Return an envelope behind its label (lua/broker_common.lua), which says where it is from."""
    return f"L{len(name.encode())}:{base}:{name}{text}"
