"""What a settlement does on RabbitMQ: what it publishes, and what it acknowledges or gives back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from time import monotonic
from typing import Any

from umbel.engines.rabbitmq.core import Core
from umbel.engines.rabbitmq.envelope import EARLY
from umbel.engines.rabbitmq.held import ITSELF, Held, Holdings, Named
from umbel.engines.rabbitmq.wire import Number
from umbel.ports import Action, Settlement


def messages_of(core: Core, item: Settlement, copied: Collection[str]) -> list[Named]:
    """Return what has to be published before a delivery is acknowledged."""
    delivery = item.delivery
    messages = [
        (f"follows {number}", core.outgoing(one)) for number, one in enumerate(item.publish)
    ]
    crashes = delivery.crashes + item.crashed
    match item.action:
        case Action.PARK:
            messages.append((ITSELF, core.parked(delivery, item.due or 0.0, crashes)))
        case Action.DEAD_LETTER:
            messages.append((ITSELF, core.dead(item, crashes)))
        case Action.REQUEUE if delivery.key in copied:
            messages.append((ITSELF, core.back(delivery, crashes)))
    return messages


def is_copied(held: Holdings, item: Settlement) -> bool:
    """Tell whether what goes back does so as a copy: it says more then, or lies in another queue."""
    one = held.by_key.get(item.delivery.key)
    return item.crashed or one is None or one.apart


def struck_off(
    held: Holdings, known: Sequence[Settlement], copied: Collection[str]
) -> tuple[list[tuple[Settlement, Number]], list[Number]]:
    """Strike settled deliveries off; return what is to be acknowledged, and what goes back as it is."""
    done, back = [], []
    for item in known:
        key = item.delivery.key
        one = held.by_key.pop(key, None)
        if one is None:
            continue
        if item.action is Action.REQUEUE and key not in copied:
            back.append(one.number)
        else:
            done.append((item, one.number))
    return done, back


def moved(
    holdings: Holdings,
    held: Sequence[Held],
    copies: Sequence[Number],
    more: Sequence[Mapping[str, Any]],
) -> list[Number]:
    """Let copies, which say `more`, take the place of what is held; return what is to be acknowledged."""
    done = []
    for one, copy, says in zip(held, copies, more, strict=True):
        done.append(one.number)
        if holdings.by_key.get(one.delivery.key) is one:
            one.number, one.since, one.apart = copy, monotonic(), True
            one.said = {name: says[name] for name in says if name == EARLY}
        else:  # settled meanwhile
            done.append(copy)
    return done
