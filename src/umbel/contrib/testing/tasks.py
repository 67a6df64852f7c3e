"""A task for tests; importing this module gives it to all apps."""

from __future__ import annotations

from umbel.registry import shared_task


@shared_task(name="celery.ping")
def ping() -> str:
    """Answer ``pong``, which shows that a worker is there."""
    return "pong"
