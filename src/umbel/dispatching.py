"""Sending workflows: from what is planned (`umbel.canvas.planning`) to publications, in few batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from umbel import calls, current, serialization
from umbel.backend import chord_expiry, run_name, written
from umbel.calls import Target
from umbel.canvas.algebra import fresh, frozen_groups, routed_as
from umbel.canvas.pieces import Piece, first_call
from umbel.canvas.planning import Item, Leaf, Opening, Planner, References
from umbel.clock import unique_id
from umbel.exceptions import ImproperlyConfigured
from umbel.links import readable
from umbel.message import Publication
from umbel.options import call_options, without_strange
from umbel.pieces import kept
from umbel.ports import GroupOpening
from umbel.publish import Template
from umbel.records import encode_group
from umbel.result import AsyncResult
from umbel.routing import DESTINATION
from umbel.series import Series

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.canvas.signature import Signature

#: Publications that are sent in one batch.
BULK = 2000
#: Seconds after which a batch is sent with what comes then, however few there are: a generator may be slow.
SLOW = 0.2
#: Chords and pieces that are stored in one batch.
TOGETHER = 100


def dispatch(
    self: Umbel,
    sig: Mapping[str, Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    plainly: bool = False,
) -> Any:
    """Send a signature of any kind, with more arguments and options; return its result to be.

    With `plainly` no code of tasks is run, whose classes may have an `apply_async` of their own.
    """
    self.finalize()
    outbox = current.outbox.get()
    new_id = unique_id if outbox is None else outbox.new_id
    sender = _Sender(self, plainly)
    if outbox is None:
        sender.restart(frozen_groups(sig))
    references = sender.references if self.conf.snapshot.workflow_by_reference else None
    planner = Planner(self, new_id, references)
    planned = planner.send(fresh(sig, self), args, kwargs or {}, options or {})
    while True:
        try:
            item = next(planned)
        except StopIteration as end:
            sender.flush()
            if isinstance(end.value, AsyncResult):
                end.value.just_sent = True
            return end.value
        sender.take(item)


class _Sender:
    """Sends the items of one workflow."""

    def __init__(self, app: Umbel, plainly: bool) -> None:
        self._app = app
        self._plainly = plainly
        self._batch: list[Publication] = []
        #: Until when what comes is kept for the batch.
        self._until = app.clock.monotonic() + SLOW
        #: What has to be stored before the batch is sent.
        self._openings: list[GroupOpening] = []
        #: Chords of which the store has to be told before any of their calls may end.
        self._unopened: set[str] = set()
        #: What makes the plain calls of the group that is sent now, by their tasks; and its options.
        self._series: dict[str, Series | None] = {}
        self._shared: Mapping[str, Any] | None = None

    @property
    def references(self) -> References:
        """How workflows go by reference."""
        app = self._app
        return self._size_of, self._place_of, chord_expiry(app.conf.snapshot, app.clock.time())

    def _size_of(self, step: Mapping[str, Any]) -> int:
        name = self._app.conf.snapshot.result_serializer
        return len(serialization.serializer(name).dumps(step))

    def _place_of(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that send a stand-in where the first call of a step goes."""
        call, app = first_call(step), self._app
        given = without_strange({k: v for k, v in call["options"].items() if k in DESTINATION})
        name = call["options"].get("route_name") or routed_as(call)
        options = call_options({**given, "route_name": name})
        task = app.tasks.find(call["task"])
        args, kwargs = call.get("args") or (), call.get("kwargs") or {}
        where, _ = app.amqp.router.where(call["task"], options, task, args, kwargs)
        if where.exchange:
            return {"exchange": where.exchange, "routing_key": where.key}
        return {"queue": where.queue}

    def restart(self, groups: Iterable[str]) -> None:
        """Let chords that were sent before, with the ids that they have, count from the beginning.

        What follows them is another publish each time: by the name of the run brokers tell it from the last.
        """
        found, store = list(groups), self._app.results
        if not found or store is None or not store.counts_parts:
            return
        store.restart_groups(found)
        expires = chord_expiry(self._app.conf.snapshot, self._app.clock.time())
        store.open_groups(
            [GroupOpening(run_name(group), 0, expires, unique_id(), {}) for group in found]
        )

    def take(self, item: Item) -> None:
        """Send an item, or keep it for the batch."""
        if isinstance(item, Leaf):
            self._call(item)
        elif isinstance(item, Opening):
            self._open(item)
        elif isinstance(item, Piece):
            self._keep_piece(item)
        else:
            calls.add_to_parent(item.result)

    def _call(self, leaf: Leaf) -> None:
        shared = leaf.shared
        if shared is None:
            self._single(leaf)
            return
        if shared is not self._shared:
            self._shared, self._series = shared, {}
        name = leaf.signature["task"]
        if name not in self._series:
            self._series[name] = self._series_of(leaf.signature, shared)
        made = self._series[name]
        if made is None:
            self._single(replace(leaf, options={**shared, **leaf.options}))
            return
        calls.require_arguments(leaf.args, leaf.kwargs)
        self._keep(made.publication(**leaf.options, args=leaf.args, kwargs=leaf.kwargs))
        leaf.result.just_sent, leaf.result.ignored = True, made.ignored

    def _series_of(self, sig: Signature[Any], shared: Mapping[str, Any]) -> Series | None:
        """Return what makes the plain calls of a task in a group, if nobody wants to have a say in each."""
        app = self._app
        task = sig._type or app.tasks.find(sig.task)
        if type(app).send_task is not type(app).own_send_task:
            return None
        if task is not None and type(task).apply_async is not task.originals["apply_async"]:
            return None
        options = call_options(shared, f"The signature of {sig.task}")
        by_name = Target(Template(sig.task, ignore_result=None))
        target = by_name if task is None else task.target(app, options)
        return calls.series_maker(app, target, options)

    def _keep(self, publication: Publication) -> None:
        """Keep a publication for the batch."""
        self._batch.append(publication)
        if self._unopened:
            return
        if len(self._batch) >= BULK or self._app.clock.monotonic() >= self._until:
            self.flush()
            self._until = self._app.clock.monotonic() + SLOW

    def _single(self, leaf: Leaf) -> None:
        app, sig, options = self._app, leaf.signature, leaf.options
        task = sig._type or app.tasks.find(sig.task)
        if task is not None and type(task).apply_async is not task.originals["apply_async"]:
            if not self._plainly:
                self._store_openings()
                task.apply_async(leaf.args, leaf.kwargs, **readable(options))
                return
            options = without_strange(options)
        checked = call_options(options, f"The signature of {sig.task}")
        by_name = Target(Template(sig.task, ignore_result=None))
        target = by_name if task is None else task.target(app, checked)
        if type(app).send_task is not type(app).own_send_task and not self._plainly:
            self._store_openings()
            calls.send_by_app(app, target, leaf.args, leaf.kwargs, checked, readable(options))
            return
        publication = calls.maker(app, target, checked)(leaf.args, leaf.kwargs)
        calls.note_result(app, leaf.result, checked, task)
        self._keep(publication)

    def _keep_piece(self, piece: Piece) -> None:
        store = self._app.results
        if store is None or not store.counts_parts:
            raise ImproperlyConfigured(
                "workflow_by_reference needs a result store of one of umbel's engines, which keeps what"
                " messages only name: set result_backend."
            )
        self._make(kept(self._app, piece))

    def _make(self, opened: GroupOpening) -> None:
        """Store what has to be there before the next publications are, or leave it to who settles."""
        outbox = current.outbox.get()
        if outbox is not None:
            outbox.openings.append(opened)
            return
        self._openings.append(opened)
        if len(self._openings) >= TOGETHER:
            self._store_openings()

    def _store_openings(self) -> None:
        """Store what has to be there before anything more is sent."""
        openings, self._openings = self._openings, []
        if openings:
            self._app.result_store().open_groups(openings)

    def _open(self, opening: Opening) -> None:
        app, settings = self._app, self._app.conf.snapshot
        if app.results is None:
            raise ImproperlyConfigured(
                "A chord needs a result store, which counts the results of its header: set result_backend."
            )
        group, counts = opening.result.id or "", app.results.counts_parts
        if not opening.size:
            self._unopened.update(() if counts else (group,))
            return
        self._unopened.discard(group)
        expires = chord_expiry(settings, app.clock.time())
        document = None
        if opening.is_nested or not counts:
            document = encode_group(written(opening.result, settings), settings)
        self._make(GroupOpening(group, opening.size, expires, document, opening.body))

    def flush(self) -> None:
        """Send what was kept."""
        self._store_openings()
        batch, self._batch = self._batch, []
        if batch:
            self._app.publish(batch)
