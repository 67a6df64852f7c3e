"""Signatures as values; what they come to in Celery is in tests/compat/test_signatures.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

import umbel
from tests.conftest import calls, only_call
from umbel import Signature, Umbel, maybe_signature, shared_task, signature
from umbel.exceptions import NotRegistered
from umbel.message import decode

Made = umbel.Task[..., Any]


@pytest.fixture
def add(app: Umbel) -> Made:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_a_copy_of_a_plain_call_shares_nothing_that_can_be_changed(add: Made) -> None:
    one: Signature[Any] = Signature("add", [1], {"y": 2})
    for copied in (one.clone(), signature(one), add.s(1, y=2).clone()):
        assert (copied, type(copied.args)) == (one, tuple)
        copied.kwargs["y"] = copied.options["queue"] = "changed"
    assert (one.kwargs, one.options) == ({"y": 2}, {})
    assert add.s(1).clone().type is add
    assert Signature({"task": "add", "args": [1], "kwargs": {}}).clone().args == (1,)


def test_a_signature_is_sent_with_more_arguments_and_options(app: Umbel, add: Made) -> None:
    result = add.s(2).set(priority=3).apply_async((1,), queue="q", countdown=None)
    (found,) = calls(app, "q")
    assert (found.id, found.args, found.task) == (result.id, [1, 2], "add")


def test_a_task_that_is_not_known_is_sent_by_its_name(app: Umbel) -> None:
    result = app.signature("far.away", (1,)).delay(0)
    found = only_call(app)
    assert (found.id, found.task, found.args) == (result.id, "far.away", [0, 1])
    with pytest.raises(NotRegistered, match=r"There is no task .far\.away."):
        _ = app.signature("far.away").type


def test_a_signature_goes_through_an_apply_async_of_the_tasks_own(app: Umbel) -> None:
    class Tenant(umbel.Task[..., Any]):
        def apply_async(  # type: ignore[override]  # as Celery's users write it
            self, args: Any = None, kwargs: Any = None, **options: Any
        ) -> Any:
            return super().apply_async(args, kwargs, headers={"tenant": "a"}, **options)

    @app.task(base=Tenant, name="t")
    def work() -> None: ...

    work.s().delay()
    assert only_call(app).headers == {"tenant": "a"}


def test_a_signature_finds_its_app(add: Made) -> None:
    app = add.app
    other = Umbel(broker="memory://", backend="memory://")
    assert add.s().app is app
    assert add.s().clone().app is app
    written = json.loads(json.dumps(add.s(1)))
    assert maybe_signature(written, app).app is app
    assert maybe_signature(written).app is other
    assert signature(written, app=app).type is add
    with pytest.raises(NotRegistered):
        _ = maybe_signature(written).type


def test_a_shared_task_has_signatures_of_the_current_app(app: Umbel) -> None:
    @shared_task(name="shared")
    def work(x: int) -> int:
        return x

    app.set_current()
    sig = work.s(5)
    assert isinstance(sig, Signature)
    assert (sig.task, sig.app, sig()) == ("shared", app, 5)


def test_a_frozen_signature_keeps_its_id_when_it_is_sent(app: Umbel, add: Made) -> None:
    sig = add.s(1, 2)
    result = sig.freeze()
    assert sig.id == result.id
    assert sig.delay().id == result.id == only_call(app).id
    assert result.app is app


def test_waiting_for_a_signature_by_its_operator(app: Umbel, add: Made) -> None:
    app.conf.task_always_eager = True
    assert add.s(1, 2).apply((), {}).get() == 3
    assert ~add.s(1, 2) == 3


def test_what_is_no_signature_says_so(app: Umbel, add: Made) -> None:
    with pytest.raises(TypeError):
        _ = add.s(1) | 5
    with pytest.raises(
        NotImplementedError, match=r"no kind 'ring' of signatures\. There are: chain,"
    ):
        app.signature({"task": "celery.ring", "subtask_type": "ring"})
    with pytest.raises(TypeError, match="'add' is no signature, nor its dictionary"):
        maybe_signature("add", app)


def test_kinds_of_ones_own(app: Umbel) -> None:
    @Signature.register_type("own-kind")
    class Own(Signature[Any]):
        @classmethod
        def from_dict(cls, d: Any, app: Any = None) -> Own:
            return cls(d, app=app)

    try:
        made = app.signature({"task": "t", "subtask_type": "own-kind"})
        assert isinstance(made, Own)
        assert made.app is app
        assert type(app.signature({"task": "t"})) is Signature
    finally:
        del Signature.TYPES["own-kind"]


def test_an_argument_that_is_a_signature_travels_as_its_dictionary(app: Umbel, add: Made) -> None:
    add.s(1, 2).clone().set(headers={"a": "b"})
    app.send_task("run", (add.s(1),))
    (argument,) = only_call(app).args
    assert maybe_signature(argument, app)(1) == 2


def test_the_class_shows_its_attributes() -> None:
    assert Signature.args.__doc__ == "The positional arguments."


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_links_travel_as_plain_dictionaries(app: Umbel, add: Made, serializer: str) -> None:
    app.conf.accept_content = ["json", serializer]
    inner = add.s(5)
    outer = add.s(2).set(link=[inner], headers={"a": [1]})
    group: Signature[Any] = Signature(
        "celery.group", kwargs={"tasks": [add.s(1)]}, subtask_type="group"
    )
    result = add.apply_async((1, 2), link=outer, link_error=[group], serializer=serializer)
    (found,) = app.queues.find(result.id)
    call = decode(found.message, app.conf.snapshot.accept_content)
    (callback,), (errback,) = call.callbacks, call.errbacks
    kinds = {
        type(callback),
        type(callback["options"]["link"][0]),
        type(errback["kwargs"]["tasks"][0]),
    }
    assert kinds == {dict}
    assert callback["options"]["headers"] == {"a": [1]}
    assert errback["kwargs"]["tasks"][0]["task"] == "add"
    assert type(outer.options["link"][0]) is Signature  # what was given stays as it is
