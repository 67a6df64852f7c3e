"""What is done with signatures, knowing neither Celery nor umbel; `outcomes` says what came of each."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.compat.calls.model import Renumber, error_record

Json = Any


def _add(x: Any, y: Any) -> Any:
    return x + y


def _other(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


def _bound(self: Any, x: Any) -> Any:
    return self.name, x


@dataclass
class Kit:
    """An app with tasks, and the library's module of workflows."""

    app: Any
    canvas: Any

    def __post_init__(self) -> None:
        """Make the tasks."""
        self.add = self.app.task(shared=False, name="proj.add")(_add)
        self.other = self.app.task(shared=False, name="proj.other")(_other)
        self.bound = self.app.task(shared=False, name="proj.bound", bind=True)(_bound)
        _ = self.add.name, self.other.name, self.bound.name  # Celery makes them only now


def plain(value: Any) -> Json:
    """Return a value as JSON that tells tuples from lists, and signatures from dictionaries."""
    if isinstance(value, dict):
        found = {str(key): plain(item) for key, item in sorted(value.items())}
        return {"signature": found} if hasattr(value, "apply_async") else found
    if isinstance(value, tuple):
        return {"tuple": [plain(item) for item in value]}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return {"result": value.id} if hasattr(value, "id") else repr(value)


def _changed(signature: Any, change: Callable[[Any], Any]) -> Any:
    """Return what a change returned, and the signature after it."""
    returned = change(signature)
    return [returned, returned is signature, signature]


def _clone_is_apart(kit: Kit) -> Any:
    first = kit.add.s(1, y=2).set(queue="q", headers={"a": 1})
    first.link(kit.other.s())
    second = first.clone((0,), {"z": 1}, priority=3)
    second.kwargs["w"] = 2
    second.options["headers"]["b"] = 2
    second.options["link"].append("more")
    return [first, second]


def _linked(kit: Kit) -> Any:
    sig = kit.add.s(1, 2)
    other = kit.other.s(3)
    returned = [sig.link(other), sig.link(other), sig.link(kit.other.s(4))]
    errors = [sig.link_error(kit.other.si()), sig.on_error(kit.other.s(5)) is sig]
    return [sig, returned, errors]


def _flattened(kit: Kit) -> Any:
    sig, second, third = kit.add.s(1), kit.other.s(2), kit.other.s(3)
    sig.link(second)
    second.link(third)
    sig.link(kit.other.s(4))
    return sig.flatten_links()


def _one_link_as_option(kit: Kit) -> Any:
    sig = kit.add.s(1).set(link=kit.other.s(2))
    sig.link(kit.other.s(3))
    return sig


def _frozen_twice(kit: Kit) -> Any:
    sig = kit.add.s(1, 2)
    first = sig.freeze("first", group_id="g", root_id="r", parent_id="p", group_index=0)
    second = sig.freeze("second", group_id="h", root_id="s", parent_id="q", group_index=3)
    return [first, second, sig, sig.id, sig.root_id, sig.parent_id]


def _attributes(kit: Kit) -> Any:
    sig = kit.add.s(1, y=2).set(task_id="i", root_id="r", parent_id="p")
    names = ("task", "args", "kwargs", "options", "subtask_type", "immutable")
    more = ("id", "root_id", "parent_id", "name")
    return {name: getattr(sig, name) for name in (*names, *more)}


def _attributes_set(kit: Kit) -> Any:
    sig = kit.add.s(1)
    sig.id, sig.root_id, sig.parent_id = "i", "r", "p"
    sig.args, sig.kwargs, sig.immutable = (5,), {"a": 1}, True
    sig.task = "proj.another"
    return sig


def _from_request(kit: Kit, **fields: Any) -> Any:
    request = {
        "id": "i",
        "args": (1,),
        "kwargs": {"y": 2},
        "root_id": "r",
        "retries": 1,
        "callbacks": [dict(kit.other.s())],
        "delivery_info": {"exchange": "", "routing_key": "q", "priority": 3},
        "headers": {"a": "b"},
        **fields,
    }
    kit.add.push_request(**request)
    try:
        made = kit.add.signature_from_request()
    finally:
        kit.add.pop_request()
    # What nothing was said of may be missing or None.
    options = {name: value for name, value in made.options.items() if value is not None}
    return [made.task, made.args, made.kwargs, options]


def _stamped(kit: Kit, **more: Any) -> Any:
    sig = kit.add.s(1)
    sig.link(kit.other.s(2))
    sig.link_error(kit.other.s(3))
    sig.stamp(monitor="m", **more)
    return sig


def _stamped_twice(kit: Kit, append: bool) -> Any:
    return kit.add.s(1).stamp(monitor="m").stamp(append_stamps=append, monitor="n")


def _visited(kit: Kit) -> Any:
    class Visitor(kit.canvas.StampingVisitor):  # type: ignore[misc,name-defined]
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return {"seen": sig.task, "stamped_headers": ["seen"]}

        def on_callback(self, callback: Any, **headers: Any) -> Any:
            return {"call": "back"}

        def on_errback(self, errback: Any, **headers: Any) -> Any:
            return {"err": "back"}

    sig = kit.add.s(1)
    sig.link(kit.other.s(2))
    sig.link_error(kit.other.s(3))
    return sorted_names(sig.stamp(Visitor(), header="h"))


def sorted_names(sig: Any) -> Any:
    """Sort the names of stamps, of which Celery makes a set."""
    for one in (sig, *sig.options.get("link", ()), *sig.options.get("link_error", ())):
        if "stamped_headers" in one["options"]:
            one["options"]["stamped_headers"] = sorted(one["options"]["stamped_headers"])
    return sig


def _copied(kit: Kit) -> Any:
    sig = kit.add.s([1]).set(headers={"a": [1]})
    made = copy.deepcopy(sig)
    made["options"]["headers"]["a"].append(2)
    return [sig, made, made["args"] is sig.args]


def _pickled(kit: Kit) -> Any:
    data = pickle.dumps(kit.add.s(1, y=2).set(queue="q"))
    return pickle.loads(data)  # noqa: S301 - written just now


def _through_json(kit: Kit) -> Any:
    sig = kit.add.s(1, y=2).set(queue="q")
    sig.link(kit.other.s(3))
    read = json.loads(json.dumps(sig))
    made = kit.canvas.maybe_signature(read, kit.app)
    return [read, made, made.clone((9,)), made == sig]


def _shares_options(kit: Kit) -> Any:
    first = dict(kit.add.s(1))
    second = kit.canvas.signature(first)
    second.options["queue"] = "q"
    return [first, second]


def _same(kit: Kit) -> Any:
    sig = kit.add.s(1)
    maybe = kit.canvas.maybe_signature
    return [maybe(sig) is sig, maybe(sig, clone=True) is sig, maybe(None), maybe("proj.add")]


def _merged(sig: Any, *given: Any, **more: Any) -> Any:
    args, kwargs, options = sig._merge(*given, **more)
    return [list(args), dict(kwargs), dict(options)]


CASES: dict[str, Callable[[Kit], Any]] = {
    "s": lambda kit: kit.add.s(1, y=2),
    "s-nothing": lambda kit: kit.add.s(),
    "si": lambda kit: kit.add.si(1, 2),
    "signature": lambda kit: kit.add.signature((1,), {"y": 2}, {"queue": "q"}, priority=3),
    "signature-list": lambda kit: kit.add.signature([1, 2]),
    "signature-immutable": lambda kit: kit.add.signature((1, 2), immutable=True, countdown=5),
    "subtask": lambda kit: kit.add.subtask((1,), {"y": 2}),
    "by-name": lambda kit: kit.app.signature("proj.far", (1,), {"a": 2}, queue="q"),
    "by-name-nothing": lambda kit: kit.app.signature("proj.far"),
    "of-task": lambda kit: kit.canvas.signature(kit.add, (1,), app=kit.app),
    "of-dict": lambda kit: kit.canvas.signature(dict(kit.add.s(1)), app=kit.app),
    "of-dict-shares-options": _shares_options,
    "of-signature": lambda kit: kit.canvas.signature(kit.add.s(1)),
    "of-part-of-a-dict": lambda kit: kit.canvas.signature({"task": "proj.add"}),
    "from-dict": lambda kit: kit.canvas.Signature.from_dict(dict(kit.add.s(1))),
    "made": lambda kit: kit.canvas.Signature("t", (1,), {"a": 1}, {"queue": "q"}, priority=1),
    "made-of-nothing": lambda kit: kit.canvas.Signature(),
    "maybe": _same,
    "attributes": _attributes,
    "attributes-of-nothing": lambda kit: [kit.add.s().id, kit.add.s().root_id],
    "attributes-set": _attributes_set,
    "repr": lambda kit: repr(kit.add.s(1, y="two")),
    "repr-nothing": lambda kit: repr(kit.add.s()),
    "repr-keywords": lambda kit: repr(kit.other.s(a=1, b=[2])),
    "repr-nested": lambda kit: repr(kit.other.s(kit.add.s(1, 2), {"a": kit.add.s(3)})),
    "repr-by-name": lambda kit: repr(kit.app.signature("proj.far", (1,))),
    "reprcall": lambda kit: kit.add.s(2).reprcall(1, z=3),
    "reprcall-immutable": lambda kit: kit.add.si(2).reprcall(1, z=3),
    "repr-list": lambda kit: repr([kit.add.s(1)]),
    "merge-args": lambda kit: _merged(kit.other.s(3, 4), (1, 2)),
    "merge-kwargs": lambda kit: _merged(kit.other.s(a=1, b=2), (), {"b": 3, "c": 4}),
    "merge-options": lambda kit: _merged(
        kit.other.s().set(queue="q", priority=1), (), {}, {"queue": "r", "countdown": 2}
    ),
    "merge-nothing": lambda kit: _merged(kit.other.s(1).set(queue="q")),
    "merge-immutable": lambda kit: _merged(kit.other.si(1, a=2), (3,), {"b": 4}, {"queue": "q"}),
    "merge-forced": lambda kit: _merged(
        kit.other.si(1), (3,), {"b": 4}, {"queue": "q"}, force=True
    ),
    "merge-group": lambda kit: _merged(kit.other.s().set(group_id="g"), (), {}, {"group_id": "h"}),
    "merge-stamps": lambda kit: _merged(
        kit.other.s().set(stamped_headers=["a"], a=1), (), {}, {"a": 2, "stamped_headers": ["b"]}
    ),
    "clone": lambda kit: kit.add.s(2).clone((1,), {"z": 3}, queue="q"),
    "clone-immutable": lambda kit: kit.add.si(2).clone((1,), {"z": 3}, queue="q"),
    "clone-list": lambda kit: kit.add.signature([1]).clone(),
    "clone-is-apart": _clone_is_apart,
    "partial": lambda kit: kit.add.s(2).partial((1,)),
    "replace": lambda kit: (
        kit.add.s(1, y=2).set(queue="q").replace((5,), {"a": 6}, {"priority": 7})
    ),
    "replace-with-nothing": lambda kit: kit.add.s(1, y=2).replace(kwargs={}),
    "replace-one": lambda kit: kit.add.s(1, y=2).set(queue="q").replace(args=[7]),
    "set": lambda kit: _changed(kit.add.s(1), lambda sig: sig.set(queue="q", countdown=None)),
    "set-immutable": lambda kit: _changed(kit.add.s(1), lambda sig: sig.set(immutable=True)),
    "set-immutable-by-position": lambda kit: _changed(kit.add.si(1), lambda sig: sig.set(False)),
    "call": lambda kit: kit.add.s(2)(1),
    "call-immutable": lambda kit: kit.other.si(2)(1),
    "call-bound": lambda kit: kit.bound.s(2)(),
    "call-order": lambda kit: kit.other.s(3, a=1)(1, 2, b=2),
    "apply": lambda kit: kit.add.s(2).apply((1,)).get(),
    "apply-options": lambda kit: kit.add.s(1, 2).apply(task_id="i").id,
    "link": _linked,
    "link-one-as-option": _one_link_as_option,
    "link-flattened": _flattened,
    "extend-list-option": lambda kit: _changed(
        kit.add.s(), lambda sig: sig.extend_list_option("link", [kit.other.s(1), kit.other.s(1)])
    ),
    "freeze": lambda kit: _changed(kit.add.s(1, 2), lambda sig: sig.freeze()),
    "freeze-given": lambda kit: _changed(kit.add.s(1, 2), lambda sig: sig.freeze("i")),
    "freeze-again": _frozen_twice,
    "freeze-with-id": lambda kit: _changed(
        kit.add.s(1, 2).set(task_id="own"), lambda sig: sig.freeze("other")
    ),
    "freeze-chord": lambda kit: _changed(
        kit.add.s(1, 2), lambda sig: sig.freeze("i", chord=kit.other.s(9))
    ),
    "freeze-by-name": lambda kit: _changed(
        kit.app.signature("proj.far"), lambda sig: sig._freeze("i")
    ),
    "from-request": _from_request,
    "from-request-exchange": lambda kit: _from_request(
        kit, delivery_info={"exchange": "media", "routing_key": "a.b"}
    ),
    "stamp": _stamped,
    "stamp-several": lambda kit: sorted_names(_stamped(kit, other=[1, 2])),
    "stamp-names": lambda kit: _stamped(kit, stamped_headers=["monitor"], more=1),
    "stamp-again": lambda kit: _stamped_twice(kit, append=False),
    "stamp-again-appended": lambda kit: _stamped_twice(kit, append=True),
    "stamp-visitor": _visited,
    "deepcopy": _copied,
    "pickle": _pickled,
    "json": _through_json,
    "json-method": lambda kit: kit.add.s(1).__json__(),
    "equal": lambda kit: [kit.add.s(1) == kit.add.s(1), kit.add.s(1) == dict(kit.add.s(1))],
    "unknown-task": lambda kit: kit.app.signature("proj.far").type,
    "pipe-to-number": lambda kit: kit.add.s(1) | 5,
    "in-place-pipe-to-number": lambda kit: kit.add.s(1).__ior__(5) is NotImplemented,
}


def outcome(case: Callable[[Kit], Any], kit: Kit) -> Json:
    """Return what came of a case: its value, or the class of the exception that it raised."""
    try:
        value: Json = {"value": plain(case(kit))}
    except Exception as error:  # noqa: BLE001 - the error is what the case is about
        value = {"error": error_record(error)["class"]}
    return Renumber()(value)
