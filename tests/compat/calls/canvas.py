"""Signatures that are sent as they are, and what is linked to a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.compat.calls.model import TASK_ID, Case, Kit


def _signature(name: str, call: Callable[[Kit], Any], **conf: Any) -> Case:
    return Case(f"signature-{name}", call, conf=conf, needs="canvas")


def _other(kit: Kit) -> Any:
    return kit.make(name="proj.other")


def _stamped(kit: Kit) -> Any:
    signature = kit.echo.s(1)
    signature.stamp(monitor="m-1")
    return signature.apply_async(task_id=TASK_ID)


def _linked(kit: Kit) -> Any:
    signature = kit.echo.s(1)
    signature.link(_other(kit).s(2))
    signature.link_error(_other(kit).s())
    return signature.apply_async(task_id=TASK_ID)


def _one(x: Any) -> Any:
    return x


CASES: list[Case] = [
    _signature("s", lambda kit: kit.echo.s(1, a=2).apply_async(task_id=TASK_ID)),
    _signature("s-delay", lambda kit: kit.echo.s(1, a=2).delay()),
    _signature(
        "s-more-args", lambda kit: kit.echo.s(2).apply_async((1,), {"b": 3}, task_id=TASK_ID)
    ),
    _signature("si", lambda kit: kit.echo.si(2).apply_async(task_id=TASK_ID)),
    _signature("si-more-args", lambda kit: kit.echo.si(2).apply_async((1,), task_id=TASK_ID)),
    _signature("set", lambda kit: kit.echo.s().set(queue="q", priority=3, task_id=TASK_ID).delay()),
    _signature(
        "set-and-options",
        lambda kit: kit.echo.s().set(queue="q").apply_async(queue="r", task_id=TASK_ID),
    ),
    _signature(
        "set-countdown", lambda kit: kit.echo.s().set(countdown=9).apply_async(task_id=TASK_ID)
    ),
    _signature("set-expires", lambda kit: kit.echo.s().set(expires=60, task_id=TASK_ID).delay()),
    _signature(
        "set-headers",
        lambda kit: (
            kit.echo.s().set(headers={"x": "y"}).apply_async(headers={"z": "1"}, task_id=TASK_ID)
        ),
    ),
    _signature(
        "signature",
        lambda kit: kit.echo.signature((1,), {"a": 2}, queue="q").apply_async(task_id=TASK_ID),
    ),
    _signature(
        "by-name",
        lambda kit: kit.app.signature("other.task", (1,), queue="q").apply_async(task_id=TASK_ID),
    ),
    _signature(
        "from-dict", lambda kit: kit.app.signature(dict(kit.echo.s(1))).apply_async(task_id=TASK_ID)
    ),
    _signature(
        "clone", lambda kit: kit.echo.s(1).clone((2,), {"a": 3}).apply_async(task_id=TASK_ID)
    ),
    _signature(
        "partial-call",
        lambda kit: kit.echo.s(1).clone(immutable=True).apply_async((9,), task_id=TASK_ID),
    ),
    _signature("stamp", _stamped),
    _signature(
        "routed",
        lambda kit: kit.echo.s(1).apply_async(task_id=TASK_ID),
        task_routes={"proj.*": "routed"},
    ),
    _signature("error", lambda kit: kit.make(_one, name="proj.one").s().delay()),
    _signature(
        "link", lambda kit: kit.echo.apply_async((1,), link=_other(kit).s(2), task_id=TASK_ID)
    ),
    _signature(
        "link-many",
        lambda kit: kit.echo.apply_async(
            (1,), link=[_other(kit).s(2), _other(kit).si()], task_id=TASK_ID
        ),
    ),
    _signature(
        "link-error",
        lambda kit: kit.echo.apply_async((1,), link_error=_other(kit).s(), task_id=TASK_ID),
    ),
    _signature("link-of-signature", _linked),
    _signature("as-argument", lambda kit: kit.echo.apply_async((kit.echo.s(1),), task_id=TASK_ID)),
]
