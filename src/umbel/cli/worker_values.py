"""What the words of ``umbel worker`` mean: names of nodes, numbers of children, pools."""

from __future__ import annotations

import os
import platform

import click

from umbel.exceptions import ImproperlyConfigured
from umbel.nodenames import DEFAULT, host_format
from umbel.worker.autoscale import Bounds

#: Celery's names, of which not all are there yet.
POOLS = ("prefork", "solo", "processes", "threads", "gevent", "eventlet", "custom")


def executor(pool: str | None) -> str | None:
    """Return what is to run the tasks. Raises BadParameter for what does not exist yet.

    That is no warning: a thousand greenlets are not a thousand processes.
    """
    if pool == "processes":  # Celery's other name of it
        return "prefork"
    if pool not in (None, "prefork", "solo"):
        raise click.BadParameter(
            f"There is no pool {pool!r} yet: use -P prefork (child processes) or -P solo (this process).",
            param_hint="--pool",
        )
    return pool


def children(given: str | None, autoscale: str | None) -> tuple[int | None, int | None]:
    """Return how many children are wanted, if that is said, and how many --autoscale allows at most."""
    scale = _bounds(autoscale)
    return (_children(given), None) if scale is None else (scale.fewest, scale.most)


def _children(given: str | None) -> int | None:
    if given == "auto":
        return _processors()
    if given is not None:
        return _number(given, given, "--concurrency", "no number of processes, such as 4, nor auto")
    return None


def _bounds(autoscale: str | None) -> Bounds | None:
    """Return what --autoscale says: most and fewest children, in either order, or the most alone."""
    if autoscale is None:
        return None
    what = "no pair of numbers, such as 10,3"
    first, _, second = autoscale.partition(",")
    numbers = [_number(first, autoscale, "--autoscale", what)]
    if (
        second and second.strip() != "0"
    ):  # Celery's may have none; here a node without children fetches nothing
        numbers.append(_number(second, autoscale, "--autoscale", what))
    return Bounds(max(numbers), min(numbers) if len(numbers) > 1 else 1)


def _number(text: str, whole: str, option: str, what: str) -> int:
    try:
        found = int(text)
    except ValueError:
        found = 0
    if found < 1:
        raise click.BadParameter(f"{whole!r} is {what}.", param_hint=option)
    return found


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def node_name(given: str | None) -> str:
    """Return the node's name, with Celery's abbreviations.

    %h host with domain, %n its first part, %d domain.
    """
    text = host_format(given or f"{DEFAULT}@%h")
    if "@" not in text:
        text = f"{text}@{platform.node()}"
    if any(character.isspace() for character in text):
        raise ImproperlyConfigured(f"The node name {text!r} contains white space.")
    return text
