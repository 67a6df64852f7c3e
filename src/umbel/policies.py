"""When something is tried again, and after how long: a publish that failed, a task that raised."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from umbel.checks import refuse_unknown, require_number
from umbel.exceptions import OperationalError


@dataclass(frozen=True, slots=True)
class PublishPolicy:
    """When a publish that failed is tried again, and after how long.

    The pauses begin with `interval_start` seconds and grow by `interval_step`, by at most `interval_max`. A
    broker that is full, or refuses what the settings say, is no reason to try again, unless `retry_errors`
    name it.
    """

    max_retries: int | None = None
    interval_start: float = 0.0
    interval_step: float = 0.2
    interval_max: float = 1.0
    retry_errors: tuple[type[BaseException], ...] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        most = self.max_retries
        if most is not None and (type(most) is not int or most < 0):
            raise ValueError(f"max_retries is {most!r}, but must be a number of tries, or None.")
        for name in ("interval_start", "interval_step", "interval_max"):
            if getattr(self, name) is None:
                raise TypeError(f"{name} is None, but must be a number of seconds.")
            require_number(name, getattr(self, name), low=0.0)
        errors: tuple[Any, ...] = self.retry_errors or ()
        for kind in errors:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"retry_errors has {kind!r}, which is no class of exceptions.")

    def pause(self, retries: int, error: BaseException) -> float | None:
        """Return the seconds to wait after an error and `retries` earlier tries; None to give up."""
        if self.max_retries is not None and retries >= self.max_retries:
            return None
        if self.retry_errors is not None:
            wanted = isinstance(error, self.retry_errors)
        else:
            wanted = isinstance(error, OperationalError) and error.passes
        if not wanted:
            return None
        return self.interval_start + min(retries * self.interval_step, self.interval_max)


_POLICY_NAMES = tuple(entry.name for entry in fields(PublishPolicy))


def publish_policy(*keywords: Mapping[str, Any]) -> PublishPolicy:
    """Return a policy from mappings, of which later ones count more. Raises TypeError for unknown names."""
    merged: dict[str, Any] = {}
    for mapping in keywords:
        if not isinstance(mapping, Mapping):
            raise TypeError(f"retry_policy is {mapping!r}, but must be a mapping.")
        refuse_unknown(mapping, _POLICY_NAMES, "retry_policy")
        merged.update(mapping)
    errors = merged.get("retry_errors")
    if errors is not None:
        merged["retry_errors"] = (errors,) if isinstance(errors, type) else tuple(errors)
    return PublishPolicy(**merged)


def checked_policy(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of what a policy can be made of. Raises TypeError or ValueError otherwise."""
    publish_policy(keywords)
    return dict(keywords)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a task that raised one of `errors` is retried by itself, and after how long.

    With `backoff` (seconds, or True for 1) the wait doubles with each try up to `backoff_max`
    seconds; `jitter` replaces it by a random time between 0 and that.
    """

    errors: tuple[type[BaseException], ...] = ()
    never: tuple[type[BaseException], ...] = ()
    backoff: float = 0.0
    backoff_max: float = 600.0
    jitter: bool = True
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def wants(self, error: BaseException) -> bool:
        """Tell whether the error is to be retried."""
        return isinstance(error, self.errors) and not isinstance(error, self.never)

    def delay(self, retries: int, rng: random.Random) -> float | None:
        """Return the seconds to wait after `retries` earlier tries, None for the task's default."""
        if not self.backoff:
            return None
        # Celery takes whole seconds and no less than one; a fraction is taken as it is here.
        factor = self.backoff if self.backoff < 1.0 else int(self.backoff)
        # Beyond 2**62 the cap applies anyway; the bound keeps the power small.
        seconds = min(self.backoff_max, factor * 2 ** min(retries, 62))
        if not self.jitter:
            return float(seconds)
        return rng.uniform(0, seconds) if seconds < 1 else float(rng.randrange(int(seconds) + 1))
