"""What is said of deliveries to their broker just before they start."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from umbel.ports import Consumer, WentBack
from umbel.worker.outcome import Job, Prepared, is_early

logger = logging.getLogger("umbel.worker")


def are_to_be_marked(prepared: Sequence[Prepared]) -> bool:
    """Tell whether something is to be said of any: it may run once, or was handed over before."""
    for one in prepared:
        policy = one.policy
        is_said = one.delivery.count > 1 or (policy is not None and not policy.acks_late)
        if is_said and isinstance(one.work, Job):
            return True
    return False


def mark(consumer: Consumer, prepared: Sequence[Prepared]) -> bool:
    """Say what is to be said of these. False when they went back meanwhile: none of them may start."""
    early = [item.delivery for item in prepared if is_early(item)]
    again = [item.delivery for item in prepared if _comes_again(item) and not is_early(item)]
    try:
        if early:
            consumer.mark_early(early)
        if again:
            consumer.expect_start(again)
    except WentBack as error:
        logger.warning("%s %d messages that had not started run elsewhere.", error, len(prepared))
        return False
    return True


def _comes_again(item: Prepared) -> bool:
    return item.delivery.redelivered and isinstance(item.work, Job)
