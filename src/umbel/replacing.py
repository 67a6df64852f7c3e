"""What takes the place of a call while it runs: `Task.replace`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from umbel import pieces, publish
from umbel.canvas.algebra import fresh, kind_of, meant, steps, uncounted
from umbel.canvas.kinds import CLASSES
from umbel.canvas.planning import Planner
from umbel.canvas.signature import Signature, signature
from umbel.clock import unique_id
from umbel.exceptions import Ignore, ImproperlyConfigured
from umbel.following import read
from umbel.links import Tail, as_list
from umbel.message import Publication
from umbel.options import CallOptions
from umbel.outbox import Outbox
from umbel.ports import GroupOpening

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.request import Request

Sig = Signature[Any]


class Replaced(Ignore):
    """Raised by a task that was replaced: what takes its place is sent in the step that settles it."""

    publications: tuple[Publication, ...] = ()
    openings: tuple[GroupOpening, ...] = ()
    #: Pieces of the workflow that nobody needs once that is settled (canvas/pieces.py).
    used: tuple[str, ...] = ()


def replacement(task: Replaceable, sig: Sig) -> Sig:
    """Return what takes the place of the call of a task that runs now: it has its id, and what follows it."""
    request = task.request
    if sig.options.get("chord"):
        raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
    if kind_of(sig) == "chain" and not sig["kwargs"]["tasks"]:
        raise ImproperlyConfigured("Cannot replace with an empty chain")
    made = _single(uncounted(sig, task.app))
    if request.is_eager:
        return made  # what runs it here knows what follows
    for callback in as_list(request.callbacks) or ():
        made.link(callback) if kind_of(made) != "group" else None
    for errback in as_list(request.errbacks) or ():
        made.link_error(signature(dict(errback), app=task.app))
    nesting = (request.replaced_task_nesting or 0) + 1
    place = {
        "task_id": request.id,
        "group_id": request.group,
        "chord": request.chord,
        "root_id": request.root_id,
        "group_index": request.group_index,
    }
    fixed, _ = Planner(task.app, _ids(request, made)).fixed(made, place)
    made.update(fixed)
    _nest(made, nesting)
    tail = [
        {**step, "options": {**step["options"], "replaced_task_nesting": nesting}}
        for step in as_list(request.chain) or ()
    ]
    if tail:
        made.options["chain"] = tail
    return made


def _single(sig: Sig) -> Sig:
    """Return a signature that has one result, and no id for that yet: a group's are gathered by a chord.

    `sig` is a copy of the caller's own. An id that was fixed before is another call's: whoever waits for the
    one that is replaced would wait for ever.
    """
    sig.options.pop("task_id", None)
    sig = meant(sig)
    parts = sig["kwargs"]
    match kind_of(sig):
        case "group":
            gather = sig.app.tasks["celery.accumulate"].s(index=0)
            sig = CLASSES["chord"](sig, gather, app=sig._app)
        case "chain":
            tasks = [fresh(task, sig._app) for task in parts["tasks"]]
            while tasks and _is_nothing(tasks[-1]):
                tasks.pop()
            if not tasks:
                raise ImproperlyConfigured("Cannot replace with an empty chain")
            *before, last = tasks
            parts["tasks"] = [*before, _single(last)]
        case "chord" if parts.get("body") is not None:
            parts["body"] = _single(fresh(parts["body"], sig._app))
    return sig


def _is_nothing(sig: Sig) -> bool:
    return kind_of(sig) == "chain" and not steps(sig)


def _ids(request: Request, made: Sig) -> Callable[[], str]:
    """Return what gives ids: those of the call that is replaced, if it runs again and makes the same.

    If it makes something else then, that has other ids, and its chords are no part of the ones before.
    """
    if request.message_tag is None:
        return unique_id
    try:
        shape = json.dumps(made, default=repr, skipkeys=True)
    except (ValueError, RecursionError):  # it will be told when it is sent
        return unique_id
    digest = hashlib.sha256(shape.encode()).hexdigest()
    return Outbox(request.message_tag, request.id or "", f"in place, {digest}").new_id


def _nest(sig: Sig, nesting: int) -> None:
    sig.set(replaced_task_nesting=nesting)
    if kind_of(sig) == "chain":
        for task in sig["kwargs"]["tasks"]:
            task.options["replaced_task_nesting"] = nesting


def send_replacement(task: Replaceable, sig: Sig) -> Replaced:
    """Return what to raise: it has the messages of what takes the call's place."""
    request = task.request
    made = Replaced("Replaced by new task")
    if request.message_tag is None:
        sig.apply_async()
        return made
    outbox = Outbox(request.message_tag, request.id or "", "replacement")
    with outbox.open(request):
        sig.apply_async()
    made.publications, made.openings = tuple(outbox.publications), tuple(outbox.openings)
    return made


def send_rest(task: Replaceable, args: Sequence[Any], id: str) -> Replaced:
    """Return what the task `umbel.rest` raises: it has the messages of the first step of a piece.

    Raises LookupError when the piece is not kept any more, and what `load` raises.
    """
    app, request = task.app, task.request
    piece = pieces.load(app, app.result_store(), id)
    if piece is None:
        raise LookupError(pieces.gone(id))
    first, *others = piece.steps
    step = read(first, app)
    options: dict[str, Any] = {"parent_id": request.parent_id, "root_id": request.root_id}
    # What follows the piece: a call that was replaced by a chain has the rest of its own behind that.
    tail = Tail([*(as_list(request.chain) or ()), *reversed(others)])
    if tail:
        options["chain"] = tail
    made = Replaced("The rest of its chain goes on")
    if request.message_tag is None:
        step.apply_async(tuple(args), **options)
        return made
    outbox = Outbox(request.message_tag, request.id or "", "rest")
    with outbox.open(request):
        step.apply_async(tuple(args), **options)
    made.publications, made.openings = tuple(outbox.publications), tuple(outbox.openings)
    made.used = (id,)
    return made


class Replaceable:
    """A task as a part of workflows that change while they run."""

    if TYPE_CHECKING:

        @property
        def app(self) -> Umbel:
            """The task's app."""

        @property
        def request(self) -> Request:
            """The call that runs now."""

    def replace(self, sig: Sig) -> Any:
        """Let a signature take the place of this call: ``return self.replace(other.s(1))``.

        What follows this call, its chain and its chord follow the other one, which gets its id. Raises
        Ignore, which ends the task, but where its caller runs it: then it returns the other one's value.
        """
        return self.on_replace(replacement(self, sig))

    def on_replace(self, sig: Sig) -> Any:
        """Send what takes the place of this call, and end the call; for subclasses to add to."""
        if self.request.is_eager:
            return sig.apply().get(disable_sync_subtasks=False)
        raise send_replacement(self, sig)

    def add_to_chord(self, sig: Sig, lazy: bool = False) -> Any:
        """Add a signature to the header of the chord that this call belongs to, and send it.

        Its result is one more for the body. With `lazy` it is returned and has to be sent by you. Raises
        ValueError where this call belongs to no chord, and for an empty chain.
        """
        request, app = self.request, self.app
        if not request.chord or not request.group:
            raise ValueError("Current task is not member of any chord")
        number = request.__dict__["added"] = request.__dict__.get("added", 0) + 1
        outbox = Outbox(request.message_tag or unique_id(), request.id or "", f"addition {number}")
        made = meant(uncounted(sig, app)).set(
            group_id=request.group,
            group_index=request.group_index,
            chord=request.chord,
            root_id=request.root_id,
        )
        # Who dies now and runs again adds the same calls: the body would wait for the first ones for ever.
        fixed, result = Planner(app, outbox.new_id).fixed(made, {})
        made.update(fixed)
        if result is None:
            raise ValueError(
                "An empty chain cannot be added to a chord, whose body waits for a result: add a call."
            )
        for leaf in result._leaves():
            app.result_store().extend_group(request.group, leaf.id)
        if lazy:
            return made
        with outbox.open(request):
            result = made.apply_async()
        settings = app.conf.snapshot
        app.result_store().open_groups(outbox.openings)
        publish.deliver(app.broker, outbox.publications, settings, app.clock, CallOptions())
        return result
