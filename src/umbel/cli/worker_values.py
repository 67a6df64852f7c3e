"""What the words of ``umbel worker`` mean: names of nodes, numbers of children, pools."""

from __future__ import annotations

import os
import platform

import click

from umbel.exceptions import ImproperlyConfigured
from umbel.nodenames import DEFAULT, host_format
from umbel.worker.autoscale import Bounds

#: Our names, and Celery's.
POOLS = ("prefork", "threads", "asyncio", "solo", "processes", "gevent", "eventlet", "custom")


def concurrency(given: str | None) -> int | None:
    """Return how many tasks are to run at a time, if that is said."""
    if given == "auto":
        return _processors()
    if given is not None:
        return _number(given, given, "--concurrency", "no number of processes, such as 4, nor auto")
    return None


def bounds(autoscale: str | None) -> Bounds | None:
    """Return what --autoscale says: most and fewest tasks at a time, in either order, or the most alone."""
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
