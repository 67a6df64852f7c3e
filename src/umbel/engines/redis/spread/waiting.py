"""Waiting in several places at once: in each on a connection of its own, by a thread for that time."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread

from umbel.engines.redis.consumer import RedisConsumer
from umbel.message import Delivery
from umbel.ports import FetchRequest

#: A consumer of one place, and what to fetch there.
Asked = tuple[RedisConsumer, FetchRequest]


def wait_for_any(asked: Sequence[Asked], seconds: float) -> list[Delivery]:
    """Fetch with all of them, up to `seconds`, until one has something or fails, or is interrupted.

    More may come than one of them was to fetch, when several had something at the same moment. Raises the
    first error.
    """
    found: list[Delivery] = []
    errors: list[BaseException] = []

    def wait(consumer: RedisConsumer, request: FetchRequest) -> None:
        try:
            found.extend(consumer.fetch(request, seconds))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for all
            errors.append(error)
        for other, _ in asked:
            if other is not consumer:
                other.interrupt()

    threads = [Thread(target=wait, args=one, daemon=True) for one in asked[1:]]
    for thread in threads:
        thread.start()
    wait(*asked[0])
    for thread in threads:
        thread.join()
    for consumer, _ in asked:
        consumer.uninterrupt()
    if errors:
        raise errors[0]
    return found
