"""Which time limits a call has: its message's, else its task's, else the settings'."""

from __future__ import annotations

from umbel.app import Umbel
from umbel.worker.outcome import Prepared

NO_LIMITS = (0.0, 0.0)


def time_limits(prepared: Prepared) -> tuple[float, float]:
    """Return the hard and the soft limit in seconds; 0 for none, as in Celery."""
    call, policy = prepared.call, prepared.policy
    if call is None or policy is None:
        return NO_LIMITS
    return (
        call.time_limit or policy.time_limit,
        call.soft_time_limit or policy.soft_time_limit,
    )


def soft_beyond_hard(app: Umbel) -> list[str]:
    """Return the names of the app's own tasks of whose soft limit nobody hears: the hard one comes first."""
    settings = app.conf.snapshot
    limits = {name: task.limits(settings) for name, task in app.tasks.items()}
    return sorted(
        name
        for name, (hard, soft) in limits.items()
        if hard and soft and soft >= hard and not name.startswith("celery.")
    )


def hard_limited(app: Umbel) -> list[str]:
    """Return the names of the app's own tasks that have a hard limit."""
    settings = app.conf.snapshot
    return sorted(
        name
        for name, task in app.tasks.items()
        if not name.startswith("celery.") and task.limits(settings)[0]
    )
