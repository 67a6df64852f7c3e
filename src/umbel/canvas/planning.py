"""From a workflow to what is sent for it. Pure: signatures in, items out; nothing is sent here.

What is sent is what Celery 5.7 sends (celery/canvas.py), so that each step may run on either's workers: the
first calls, each with the rest of its chain, and with the body of its chord. Ids are fixed in advance, by
`new_id`; who plans the same again with the same ids makes the same calls.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from umbel.canvas.algebra import (
    body_of,
    flat,
    fresh,
    group_id_of,
    header_of,
    is_plain,
    kind_of,
    link_callback,
    link_errback,
    meant,
    routed_as,
    steps,
)
from umbel.canvas.kinds import CLASSES
from umbel.canvas.merging import merged_arguments, merged_options
from umbel.canvas.pieces import Piece, cut, is_carried, stand_in
from umbel.canvas.signature import Signature
from umbel.links import Tail, as_data, as_list
from umbel.result import GroupResult
from umbel.tails import RawTail

if TYPE_CHECKING:
    from umbel.app import Umbel

Sig = Signature[Any]
Options = Mapping[str, Any]

#: Where a call stands in a workflow.
_PLACE = ("task_id", "group_id", "group_index", "chord", "root_id")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One call to send, with its options; `result` is its result to be.

    Of a plain call of a group `shared` has the options that all its plain calls have, one and the same
    mapping, and `options` are its id and its place.
    """

    signature: Sig
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: Options
    result: Any
    shared: Options | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """A chord that begins: how many results its body waits for, and those of its header's members.

    It must be known before the last of its calls is sent, which is the item after this one. One of size 0
    comes before the first, for who has to know of all of them before any is sent.
    """

    size: int
    result: GroupResult
    body: Mapping[str, Any]

    @property
    def is_nested(self) -> bool:
        """Whether members have several results."""
        return any(isinstance(one, GroupResult) for one in self.result.results)


@dataclass(frozen=True, slots=True)
class Child:
    """A result that becomes a child of the call that sends the workflow."""

    result: Any


Item = Leaf | Opening | Child | Piece
References = tuple[
    Callable[[Mapping[str, Any]], int], Callable[[Mapping[str, Any]], Options], float | None
]
"""How a workflow goes by reference: what a step's bytes are, and where its stand-in is sent."""
Planned = Generator[Item, None, Any]
"""The items of a workflow in the order in which they are sent; returns its result."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What makes the plain calls of one group: those of which the group says everything but the arguments."""

    app: Umbel
    new_id: Callable[[], str]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: Options
    #: What makes results, by the name of the task.
    results: dict[str, Callable[[str], Any]]

    def leaf(self, sig: Sig, index: int) -> Leaf:
        """Return the call of a signature at a place."""
        name = sig["task"]
        make = self.results.get(name)
        if make is None:
            known = sig._type or self.app.tasks.find(name)
            make = self.app.AsyncResult if known is None else known.AsyncResult
            self.results[name] = make
        args, kwargs = sig["args"], sig["kwargs"]
        if not sig["immutable"]:
            args, kwargs = merged_arguments(args, kwargs, self.args, self.kwargs)
        task_id = self.new_id()
        options = {"task_id": task_id, "group_index": index}
        return Leaf(sig, args, kwargs, options, make(task_id), self.options)


class Planner:
    """Plans workflows of one app."""

    def __init__(
        self, app: Umbel, new_id: Callable[[], str], references: References | None = None
    ) -> None:
        self._app = app
        self._references = references
        self._new_id = new_id
        self._reply_to = app.thread_oid
        #: Messages of protocol 1 have no chain: there each step is linked to the one before.
        self._by_links = app.conf.snapshot.task_protocol == 1

    # What is sent

    def send(
        self,
        sig: Mapping[str, Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Options,
    ) -> Planned:
        """Plan a signature of any kind, with more arguments and options. An empty chain comes to None."""
        own = fresh(sig, self._app)
        given = _told(options)
        merged = merged_options(own.options, given)
        if given.get("chord") and given.get("group_id"):
            # In a header each call counts for the chord, of whichever group it was when ids were fixed.
            merged["group_id"] = given["group_id"]
        match kind_of(own):
            case "chain":
                return self._chain(own, args, kwargs, merged)
            case "group":
                return self._group(own, args, kwargs, merged)
            case "chord":
                return self._chord(own, args, kwargs, merged)
        return self._task(own, args, kwargs, merged)

    def _task(
        self, sig: Sig, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> Planned:
        args, kwargs, _ = sig._merge(args, kwargs)
        options.setdefault("task_id", self._new_id())
        if (name := routed_as(sig)) is not None:
            options.setdefault("route_name", name)
        result = sig.AsyncResult(options["task_id"])
        yield Leaf(sig, args, kwargs, options, result)
        return result

    def _chain(
        self, sig: Sig, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> Planned:
        if sig.args and not sig.immutable:
            args = (*args, *sig.args)
        place = _taken(options, _PLACE)
        links = _taken(options, ("link", "link_error"))
        sig.options.clear()  # they are all in what was merged
        found = steps(sig)
        if not found:
            return None
        return (yield from self._steps(found, args, kwargs, {**place, **links}, options))

    def _steps(
        self,
        found: list[Sig],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        place: Options,
        options: Options,
    ) -> Planned:
        """Plan steps in the normal form; the last stands at a place, and the first has more options."""
        if place.get("link"):
            found[-1].extend_list_option("link", place["link"])
        for errback in as_list(place.get("link_error")) or ():
            for step in found:
                link_errback(step, errback)
        where = {name: place[name] for name in _PLACE if name in place}
        first, *rest = found
        if not rest:
            return (yield from self.send(first, args, kwargs, {**options, **where}))
        rest, result = self._fixed_steps(rest, where)
        if self._by_links:
            for step, after in reversed(list(pairwise([first, *rest]))):
                step.append_to_list_option("link", after)
            rest = []
        outer = options.get("chain")
        if isinstance(outer, RawTail):
            outer = Tail(outer)
        tail = Tail(outer if isinstance(outer, Tail) else as_data(as_list(outer) or []))
        ahead = [as_data(step) for step in rest]
        if self._references is not None and ahead:
            ahead, pieces = cut(ahead, self._new_id, *self._references)
            yield from pieces
        tail += reversed(ahead)
        root = {"root_id": where["root_id"]} if where.get("root_id") else {}
        before = yield from self.send(first, args, kwargs, {**options, **root, "chain": tail})
        _head(result).parent = before
        return result

    def _group(
        self, sig: Sig, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> Planned:
        if sig.args and not sig.immutable:
            args = (*args, *sig.args)
        if options.get("chain"):
            sig.options.clear()
            tail = reversed(as_list(options.pop("chain")) or ())
            whole = CLASSES["chain"]([sig, *tail], app=sig._app)
            return (yield from self.send(whole, args, kwargs, options))
        group = options.pop("task_id", None) or self._new_id()
        if not options.get("chord"):
            options["group_id"] = group
        is_child = options.pop("add_to_parent", True)
        links = _taken(options, ("link", "link_error"))
        results: list[Any] = []
        plain = None if links else self._plain(sig, args, kwargs, options)
        members = flat(sig["kwargs"]["tasks"], sig._app, plain is not None)
        for index, member in enumerate(members):
            if plain is not None and is_plain(member):
                leaf = plain.leaf(member, index)
                results.append(leaf.result)
                yield leaf
                continue
            _linked(member, links)
            own = {**options, "group_index": index, "add_to_parent": False}
            results.append((yield from self.send(member, args, kwargs, own)))
        result = GroupResult(group, results, app=self._app)
        if len(results) == 1 and isinstance(results[0], GroupResult):
            result = results[0]
        if is_child and results:
            yield Child(result)
        return result

    def _chord(
        self, sig: Sig, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> Planned:
        body_of(sig)  # it must have one
        group = group_id_of(sig) or self._new_id()
        if options.get("task_id") == group:
            del options["task_id"]  # Celery has it there
        sig.options.clear()
        sig["kwargs"]["header"] = _with_id(header_of(sig), group, sig)
        sig, *after = steps(sig)
        if after:  # what follows its body follows it
            place = _taken(options, (*_PLACE, "link", "link_error"))
            return (yield from self._steps([sig, *after], args, kwargs, place, options))
        if sig.args and not sig.immutable:
            args = (*args, *sig.args)
        kwargs = {**(sig["kwargs"].get("kwargs") or {}), **kwargs}
        if isinstance(options.get("chain"), RawTail):
            options["chain"] = Tail(options["chain"])  # each call of the header has it in its body
        is_child = options.pop("add_to_parent", True)
        later = _taken(options, ("countdown", "eta"))
        body, result = self._body(sig, options)
        rest = {name: options[name] for name in options if name not in _OF_BODY}
        header = {
            **rest,
            **later,
            "group_id": group,
            "chord": (yield from self._body_data(body)),
            "add_to_parent": False,
        }
        members = flat(header_of(sig), sig._app, plain=True)
        plain = self._plain(sig, args, kwargs, header)
        results = yield from self._header(group, members, plain)
        if not results:
            yield from self.send(body, ([],), {}, {"add_to_parent": is_child})
        before = GroupResult(group, results, app=self._app)
        if is_child and results:
            yield Child(before)
        _head(result).parent = before
        return result

    def _header(
        self,
        group: str,
        members: Iterable[Sig],
        plain: Plain,
    ) -> Planned:
        """Plan the calls of a chord's header, which is opened before the last of them."""
        args, kwargs, options = plain.args, plain.kwargs, plain.options
        results: list[Any] = []
        held: list[Item] = [Opening(0, GroupResult(group, [], app=self._app), options["chord"])]
        for index, member in enumerate(members):
            yield from held
            if is_plain(member):
                leaf = plain.leaf(member, index)
                results.append(leaf.result)
                held = [leaf]
                continue
            held = []
            planned = self.send(member, args, kwargs, {**options, "group_index": index})
            results.append((yield from _keeping(planned, held)))
        if results:
            size = sum(len(one._leaves()) for one in results)
            yield Opening(size, GroupResult(group, results, app=self._app), options["chord"])
        yield from held
        return results

    def _body_data(self, body: Sig) -> Generator[Item, None, dict[str, Any]]:
        """Return a chord's body as each call of its header carries it: as data, or what stands in for it."""
        data: dict[str, Any] = as_data(body)
        if self._references is None:
            return data
        size_of, place_of, expires = self._references
        if is_carried(size_of(data)):
            return data
        piece = Piece(self._new_id(), [data])
        yield piece
        return stand_in(piece.id, data, place_of(data), expires)

    def _plain(
        self, sig: Sig, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options
    ) -> Plain:
        """Return what makes the plain calls of a group, to which the arguments and options are given."""
        shared = {**_told(options), "add_to_parent": False}
        return Plain(self._app, self._new_id, args, kwargs, shared, {})

    def _body(self, sig: Sig, options: dict[str, Any]) -> tuple[Sig, Any]:
        """Return a chord's body as its header carries it, and its result; it has the chord's options."""
        body = fresh(sig["kwargs"]["body"], sig._app)
        for link in as_list(options.pop("link", None)) or ():
            link_callback(body, link)
        for errback in as_list(options.pop("link_error", None)) or ():
            link_errback(body, errback, header=False)
        where = {name: options[name] for name in _PLACE if options.get(name) is not None}
        kept = {name: options[name] for name in options if name not in (*_PLACE, "parent_id")}
        body.options.update(kept)
        return self._fixed(body, where)

    # What is sent later

    def fixed(self, sig: Mapping[str, Any], place: Options) -> tuple[Sig, Any]:
        """Return a signature whose ids are all there, as a copy, and its result to be.

        `place` are options that say where it stands: those of `Signature.freeze`.
        """
        return self._fixed(fresh(sig, self._app), place)

    def _fixed(self, sig: Sig, place: Options) -> tuple[Sig, Any]:
        match kind_of(sig):
            case "chain":
                return self._fixed_chain(sig, place)
            case "group":
                return self._fixed_group(sig, place)
            case "chord":
                return self._fixed_chord(sig, place)
        options = sig.options
        for name, value in place.items():
            if value is None:
                continue
            # In a header each call counts for the chord, of whichever group it was when ids were fixed.
            if name == "task_id" or (name == "group_id" and not place.get("chord")):
                options.setdefault(name, value)
            else:
                options[name] = value
        options.setdefault("task_id", self._new_id())
        options.setdefault("reply_to", self._reply_to)
        if (routed := routed_as(sig)) is not None:
            options.setdefault("route_name", routed)
        return sig, sig._result_of(options["task_id"])

    def _fixed_chain(self, sig: Sig, place: Options) -> tuple[Sig, Any]:
        found = steps(sig)
        if not found:
            return sig, None
        moved = ("link", "link_error", "group_id", "group_index", "chord", "root_id")
        root = place.get("root_id") or sig.options.get("root_id")
        for name in moved:
            sig.options.pop(name, None)
        found, result = self._fixed_steps(found, {**place, "root_id": root})
        sig["kwargs"]["tasks"] = found
        sig.options["task_id"] = result.id
        return sig, result

    def _fixed_steps(self, found: list[Sig], place: Options) -> tuple[list[Sig], Any]:
        """Return steps whose ids are there, and the last one's result, which knows those before it."""
        root = {"root_id": place.get("root_id")}
        made: list[Sig] = []
        last, later = None, None
        for step in reversed(found):
            own, result = self._fixed(step, root if made else place)
            made.append(own)
            if later is None:
                last = result
            else:
                _head(later).parent = result
            later = result
        return made[::-1], last

    def _fixed_group(self, sig: Sig, place: Options) -> tuple[Sig, Any]:
        options = sig.options
        group = options.setdefault("task_id", place.get("task_id") or self._new_id())
        own = {name: options.pop(name, None) for name in ("group_id", "chord", "root_id")}
        own |= {name: place[name] for name in own if place.get(name) is not None}
        if not own["chord"]:
            own["group_id"] = group
        tasks, results = [], []
        for index, member in enumerate(flat(sig["kwargs"]["tasks"], sig._app)):
            task, result = self._fixed(member, {**own, "group_index": index})
            tasks.append(task)
            results.append(result)
        sig["kwargs"]["tasks"] = tasks
        if own["root_id"]:
            options["root_id"] = own["root_id"]
        return sig, GroupResult(group, results, app=self._app)

    def _fixed_chord(self, sig: Sig, place: Options) -> tuple[Sig, Any]:
        group = group_id_of(sig) or self._new_id()
        if sig.options.get("task_id") == group:
            del sig.options["task_id"]
        root = place.get("root_id") or sig.options.get("root_id")
        header = {"group_id": group, "root_id": root}
        tasks, results = [], []
        for index, member in enumerate(flat(header_of(sig), sig._app)):
            task, result = self._fixed(member, {**header, "group_index": index})
            tasks.append(task)
            results.append(result)
        own = _taken(sig.options, _OF_PLACE)
        sig["kwargs"]["header"] = _with_id(tasks, group, sig)
        sig.options["task_id"] = group
        before = GroupResult(group, results, app=self._app)
        if sig["kwargs"].get("body") is None:
            return sig, before
        body, result = self._fixed(
            meant(fresh(sig["kwargs"]["body"], sig._app)), {**own, **_told(place), "root_id": root}
        )
        sig["kwargs"]["body"] = body
        _head(result).parent = before
        return sig, result


_OF_BODY = frozenset({"task_id", "chain", "chord", "link", "link_error", "group_id", "group_index"})
#: What a chord that stands somewhere passes on to its body.
_OF_PLACE = ("task_id", "group_id", "group_index", "chord")


def _with_id(tasks: Any, group: str, chord: Sig) -> Sig:
    """Return a chord's header as a group that has its id."""
    made: Sig = CLASSES["group"](tasks, app=chord._app, task_id=group)
    return made


def _linked(sig: Sig, links: Options) -> None:
    """Add links to a signature, which is a copy of the caller's own."""
    if links.get("link"):
        sig.extend_list_option("link", links["link"])
    for errback in as_list(links.get("link_error")) or ():
        link_errback(sig, errback)


def _head(result: Any) -> Any:
    """Return the first of the results that lead to one."""
    while result.parent is not None:
        result = result.parent
    return result


def _keeping(planned: Planned, last: list[Item]) -> Planned:
    """Yield items but for the last, which is put into a list."""
    while True:
        try:
            item = next(planned)
        except StopIteration as end:
            return end.value
        yield from last
        last[:] = [item]


def _told(options: Options) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _taken(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: options.pop(name) for name in names if name in options}
