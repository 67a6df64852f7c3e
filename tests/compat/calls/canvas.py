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


def _fails(*args: Any) -> Any:
    raise ValueError("no")


def _unsendable(x: Any) -> Any:
    return object()


def _runs(
    name: str, options: Callable[[Kit], dict[str, Any]], function: Any = None, **conf: Any
) -> Case:
    """Return a case in which a call with these options is run by a worker: what follows is recorded."""

    def call(kit: Kit) -> Any:
        task = kit.make(function, name="proj.first") if function else kit.echo
        task.apply_async((1,), task_id=TASK_ID, **options(kit))
        kit.work()

    return _signature(f"{name}-runs", call, **conf)


def _once_more(kit: Kit) -> Any:
    def function(self: Any) -> Any:
        raise self.retry(countdown=5)

    task = kit.make(function, name="proj.again", bind=True)
    task.apply_async(link=_other(kit).s(), link_error=_other(kit).si(2), task_id=TASK_ID)
    kit.work()


def _old_errback(kit: Kit) -> Any:
    def errback(request: Any, error: Any, traceback: Any) -> None:
        kit.notes.append(f"{request.id} {request.task} {error!r} {type(traceback).__name__}")

    return kit.make(errback, name="proj.errback").s()


def _bound_errback(kit: Kit) -> Any:
    def errback(self: Any, request: Any, error: Any, traceback: Any) -> None: ...

    return kit.make(errback, name="proj.errback", bind=True).s()


def _partial_errback(kit: Kit) -> Any:
    def errback(a: Any, request: Any, error: Any) -> None: ...

    return kit.make(errback, name="proj.errback").s(1, 2)


def _short_errback(kit: Kit) -> Any:
    def errback(task_id: Any) -> None: ...

    return kit.make(errback, name="proj.errback").s()


def _failing_errback(kit: Kit) -> Any:
    def errback(request: Any, error: Any, traceback: Any) -> None:
        raise KeyError("errback")

    return kit.make(errback, name="proj.errback").s()


def _chain(kit: Kit) -> Any:
    tail = [_other(kit).s(2).set(task_id="last"), _other(kit).s(1).set(task_id="second")]
    return {"chain": [dict(one) for one in tail]}


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
    _runs("link", lambda kit: {"link": _other(kit).s(2)}),
    _runs("link-immutable", lambda kit: {"link": _other(kit).si(2)}),
    _runs("link-by-name", lambda kit: {"link": kit.app.signature("far.away", (2,))}),
    _runs("link-options", lambda kit: {"link": _other(kit).s().set(queue="q", task_id="own")}),
    _runs("link-linked", lambda kit: {"link": _other(kit).s().on_error(_other(kit).s())}),
    _runs("link-many", lambda kit: {"link": [_other(kit).s(2), _other(kit).si(3)]}),
    _runs("link-fails", lambda kit: {"link": _other(kit).s()}, _fails),
    _runs(
        "link-priority",
        lambda kit: {"link": _other(kit).s(), "priority": 3},
        task_inherit_parent_priority=True,
    ),
    _runs("link-root", lambda kit: {"link": _other(kit).s(), "root_id": "r", "parent_id": "p"}),
    _runs("link-unsendable", lambda kit: {"link": _other(kit).s()}, _unsendable),
    _runs("link-error", lambda kit: {"link_error": _short_errback(kit)}, _fails),
    _runs("link-error-any", lambda kit: {"link_error": kit.app.signature("far.away")}, _fails),
    _runs("link-error-immutable", lambda kit: {"link_error": _short_errback(kit)}, _fails),
    _runs("link-error-old", lambda kit: {"link_error": _old_errback(kit)}, _fails),
    _runs("link-error-fails", lambda kit: {"link_error": _failing_errback(kit)}, _fails),
    _runs("link-error-bound", lambda kit: {"link_error": _bound_errback(kit)}, _fails),
    _runs("link-error-partial", lambda kit: {"link_error": _partial_errback(kit)}, _fails),
    _runs(
        "link-error-many",
        lambda kit: {"link_error": [_short_errback(kit), kit.app.signature("far.away", (2,))]},
        _fails,
    ),
    _runs("link-error-of-success", lambda kit: {"link_error": _short_errback(kit)}),
    _runs("chain-option", _chain),
    _runs("chain-option-fails", _chain, _fails),
    _runs("chain-and-link", lambda kit: {**_chain(kit), "link": _other(kit).s(9)}),
    _signature("retry-keeps-links", _once_more),
    _signature("as-argument", lambda kit: kit.echo.apply_async((kit.echo.s(1),), task_id=TASK_ID)),
]
