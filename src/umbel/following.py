"""What follows a call: its callbacks and the rest of its chain, or its errbacks.

`after_success` and `after_failure` say what that is. A worker collects the messages in an outbox, so that
they are sent in the step that settles the call; who runs a task where it is called sends them at once. What
follows, and with which ids and groups, is as in Celery 5.7 (celery/app/trace.py, celery/backends/base.py).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from umbel import calls
from umbel.canvas.algebra import kind_of
from umbel.canvas.kinds import class_of
from umbel.canvas.signature import Signature, signature
from umbel.exceptions import NotRegistered
from umbel.links import after_next, as_list, is_signature, next_of
from umbel.message import Call
from umbel.options import NO_OPTIONS, OPTION_NAMES, StepOptions, call_options, warn_once
from umbel.outbox import Outbox
from umbel.request import Request
from umbel.result import GroupResult, ResultBase
from umbel.tails import RawTail

if TYPE_CHECKING:
    from umbel.app import Umbel

logger = logging.getLogger("umbel.following")

Ids = Callable[[], str]
"""What returns another id each time."""


@dataclass(frozen=True, slots=True)
class Follower:
    """A call that follows another: its signature, what that gave, and further options."""

    signature: Signature[Any]
    args: tuple[Any, ...]
    options: Mapping[str, Any]

    def send(self) -> Any:
        """Send it as its task does; return its result to be."""
        return self.signature.apply_async(self.args, **self.options)

    def send_plainly(self) -> None:
        """Send it without any code of its task, whose class may have an `apply_async` of its own."""
        self.signature.app.dispatch(self.signature, self.args, {}, self.options, plainly=True)

    def run(self) -> None:
        """Run it here."""
        self.signature.apply(self.args, **self.options)


def refusal(call: Call) -> str | None:
    """Return why the call cannot be followed by what its message says; None where it can.

    Said before it runs, since it would have to run again. Of a chain the next step is looked at, whose turn
    it is after this call.
    """
    chord, chain = call.chord, call.chain
    step = next_of(chain)
    if not (chord or call.callbacks or call.errbacks) and _is_plain(step):
        if isinstance(chain, RawTail):  # whose step nobody can change
            _fine.step = step
        return None
    if chord and not (is_signature(chord) and call.group_id):
        return "the body of its chord is no signature, or it has no group"
    if chord is _fine.chord:
        chord = None
    for name, written in (
        ("link", call.callbacks),
        ("link_error", call.errbacks),
        ("chain", [step] if chain else []),
        ("chord", [chord] if chord else []),
    ):
        for link in as_list(written) or ():
            reason = _refusal_of(name, link)
            if reason is not None:
                return reason
    if chord:
        _fine.chord = chord
    return None


class _Fine:
    """What was looked at last, and can follow: of steps, and of chords, which calls of one header share."""

    chord: Any = None
    step: Any = None


_fine = _Fine()


def _refusal_of(name: str, link: Any) -> str | None:
    if not is_signature(link):
        return f"what follows it as {name} is no signature"
    if _is_simple(link):
        return None
    about = f"{link['task']}, which follows it as {name},"
    try:
        for one in parts_of(link):
            if not is_signature(one):
                return f"{about} has a part that is no signature"
            wrong = _wrong_kind(one)
            if wrong is not None:
                return f"{about} {wrong}"
            call_options(_known({**(one.get("options") or {}), "chord": None}, one["task"]))
    except (TypeError, ValueError, NotImplementedError) as error:
        return f"the options of {link['task']}, which follows it as {name}, are wrong: {error}"
    return None


#: Options that most steps have, and no others.
_IDS = frozenset({"task_id", "reply_to"})


def _is_simple(link: Mapping[str, Any]) -> bool:
    """Tell whether a signature is a call with its ids, of which nothing can be wrong."""
    for name, value in (link.get("options") or {}).items():
        if name not in _IDS or type(value) is not str or not value:
            return False
    return not link.get("subtask_type")


def _wrong_kind(written: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a workflow that has no parts, or is of no kind."""
    kind = kind_of(written)
    for part in _PARTS.get(kind, ()):
        if not isinstance(written.get("kwargs", {}).get(part), list | tuple | Mapping):
            return f"is a {kind} without {part}"
    try:
        class_of(written)
    except NotImplementedError:
        return f"is of the kind {written.get('subtask_type')!r}, which there is not"
    return None


def after_success(request: Request, value: Any, app: Umbel, new_id: Ids) -> list[Follower]:
    """Return what follows a call that has returned a value: its callbacks, and the next of its chain."""
    signatures = [read(one, app) for one in as_list(request.callbacks) or ()]
    groups = [one for one in signatures if kind_of(one) == "group"]
    if len(signatures) > 1:
        signatures = [one for one in signatures if kind_of(one) != "group"]
    else:
        groups = []
    followers = [Follower(one, (value,), _common(request, one, new_id)) for one in groups]
    followers += _together(signatures, request, value, new_id)
    tail = request.raw_chain
    if tail:
        step = read(next_of(tail), app)
        options = {**_common(request, step, new_id), "chain": after_next(tail)}
        followers.append(Follower(step, (value,), options))
    inherited = _inherited_priority(request, app)
    if not inherited:
        return followers
    return [replace(one, options={**one.options, **inherited}) for one in followers]


def send_after_success(request: Request, value: Any, app: Umbel, new_id: Ids) -> None:
    """Send what follows a call that has returned a value, as children of the call, which runs still."""
    if not request.callbacks and _send_plain_step(request, value, app, new_id):
        return
    sent: dict[str, list[Any]] = {}
    for follower in after_success(request, value, app, new_id):
        group = follower.options.get("group_id")
        result = follower.send()
        if group is not None and isinstance(result, ResultBase):
            sent.setdefault(group, []).append(result)
    for group, results in sent.items():
        calls.add_to_parent(GroupResult(group, results, app=app))


def _send_plain_step(request: Request, value: Any, app: Umbel, new_id: Ids) -> bool:
    """Send the next step of a chain, if there is one and it is a call like any other of its task.

    Tell whether it was sent. It is the same message as that of its signature, which takes twice as long.
    """
    tail = request.raw_chain
    step: Any = next_of(tail) if tail else None
    if step is None or Signature.apply_async is not _OWN_APPLY_ASYNC:
        return False
    if step is not _fine.step and not _is_plain(step):
        return False
    rest, task = after_next(tail), app.tasks.find(step["task"])
    if rest and not isinstance(rest, RawTail) and not _is_plain(rest[-1]):
        return False  # what is wrong with it is found out before this one is sent
    make = None if task is None else calls.step_maker(app, task)
    if make is None:
        return False
    options, args = step.get("options") or {}, step.get("args") or ()
    publication = make(
        args if step.get("immutable") else (value, *args),
        step.get("kwargs") or {},
        StepOptions(
            options.get("task_id") or new_id(),
            options.get("reply_to"),
            rest,
            request.root_id or request.id,
            request.id,
        ),
    )
    app.publish([publication])
    calls.result_of(app, publication, NO_OPTIONS, task)
    return True


def _is_plain(step: Any) -> bool:
    return type(step) is dict and is_signature(step) and _is_simple(step)


_OWN_APPLY_ASYNC = Signature.apply_async


def _together(
    signatures: Sequence[Signature[Any]], request: Request, value: Any, new_id: Ids
) -> list[Follower]:
    """Return calls that follow at the same time: several are a group."""
    if len(signatures) < 2:
        return [Follower(one, (value,), _common(request, one, new_id)) for one in signatures]
    return _group(signatures, request, value, new_id)


def _group(
    signatures: Sequence[Signature[Any]], request: Request, value: Any, new_id: Ids
) -> list[Follower]:
    group = new_id()
    return [
        Follower(
            one.clone(),
            (value,),
            {
                **_common(request, one, new_id),
                "group_id": group,
                "group_index": index,
                "add_to_parent": False,
            },
        )
        for index, one in enumerate(signatures)
    ]


def _common(request: Request, sig: Signature[Any], new_id: Ids) -> dict[str, Any]:
    return {
        "task_id": sig.id or new_id(),
        "parent_id": request.id,
        "root_id": request.root_id or request.id,
    }


def _inherited_priority(request: Request, app: Umbel) -> dict[str, Any]:
    priority = (request.delivery_info or {}).get("priority")
    if priority is None or not app.conf.snapshot.task_inherit_parent_priority:
        return {}
    return {"priority": priority}


# Errbacks


def after_failure(
    request: Request, app: Umbel, new_id: Ids
) -> tuple[list[Signature[Any]], list[Follower]]:
    """Return the errbacks to call where the task failed, and those to send, which get the call's id."""
    errbacks = [read(one, app) for one in as_list(request.errbacks) or ()]
    direct = [one for one in errbacks if _takes_the_error(one)]
    sent = [one for one in errbacks if not any(one is other for other in direct)]
    return direct, _group(sent, request, request.id, new_id) if sent else []


def _takes_the_error(errback: Signature[Any]) -> bool:
    """Tell whether a task takes more than one argument beside those that its signature has.

    Such an errback is called with request, exception and traceback. A task with ``bind=True`` must need them.
    """
    try:
        task = errback.type
    except NotRegistered:
        return False  # another worker has it
    if "function" not in vars(type(task)):
        return False  # a class of its own is no function that was made a task
    found = task.call_signature()
    if not errback.immutable and (errback.args or errback.kwargs):
        found = _left(found, errback.args, errback.kwargs)
    parameters = list(found.parameters.values())
    if task._is_bound:  # Celery sends all of these: so are those that can do with an id
        parameters = [one for one in parameters if one.default is one.empty]
    elif any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return True
    return (
        sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters) > 1
    )


def _left(
    found: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.Signature:
    """Return a signature without the parameters that arguments fill; as it is where they do not fit."""

    def function() -> None: ...

    function.__signature__ = found  # type: ignore[attr-defined]
    try:
        return inspect.signature(partial(function, *args, **kwargs))
    except (TypeError, ValueError):
        return found


def request_of(call: Mapping[str, Any], root_id: str | None = None) -> Request:
    """Return the request of a call that never ran, from its signature, as its errbacks get it."""
    options = call.get("options") or {}
    return Request(
        id=options.get("task_id"),
        task=call["task"],
        args=call.get("args"),
        kwargs=call.get("kwargs"),
        root_id=root_id,
        errbacks=options.get("link_error"),
        called_directly=False,
        group=options.get("group_id"),
        delivery_info={"is_eager": False},
    )


def call_errbacks(
    errbacks: Sequence[Signature[Any]], request: Request, error: BaseException, traceback: str
) -> None:
    """Call errbacks here. What one raises is logged, and the others are called all the same."""
    for errback in errbacks:
        try:
            errback(request, error, traceback)
        except Exception:
            logger.exception("Errback %r raised an exception", errback.name)


def collect_errbacks(
    outbox: Outbox, followers: Sequence[Follower], request: Request, plainly: bool
) -> None:
    """Put errbacks into an outbox; one that cannot be sent is logged, as the failure must be stored."""
    for follower in followers:
        try:
            with outbox.open(request):
                if plainly:
                    follower.send_plainly()
                else:
                    follower.send()
        except Exception:
            logger.exception(
                "The errback %s of task %s cannot be sent", follower.signature.task, request.id
            )


# Reading


def read(written: Mapping[str, Any], app: Umbel) -> Signature[Any]:
    """Return a signature of a message, without the options that nothing here knows.

    They are refused where calls are written. Celery's clients may write any, which its workers make
    properties of the message; a task with an `apply_async` of its own gets all.
    """
    sig = signature(_plain(written, app), app=app)
    sig["args"], sig["kwargs"] = sig.args or (), sig.kwargs or {}
    return sig


def _plain(written: Mapping[str, Any], app: Umbel) -> dict[str, Any]:
    """Return the dictionary of a signature, and of its parts, without options that nothing here knows."""
    made = dict(written)
    kwargs = dict(made.get("kwargs") or {})
    if _is_simple(made):
        made["kwargs"], made["options"] = kwargs, dict(made.get("options") or {})
        return made
    for name in _PARTS.get(kind_of(made), ()):
        part = kwargs.get(name)
        if isinstance(part, Mapping):
            kwargs[name] = _plain(part, app)
        elif part is not None:
            kwargs[name] = [_plain(one, app) for one in part]
    made["kwargs"] = kwargs
    options, task = _with_stamps(made.get("options") or {}), app.tasks.find(made["task"])
    if task is None or not task.has_own_apply_async:
        options = _known(options, made["task"])
    made["options"] = options
    return made


def _with_stamps(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options that name no stamps which they do not have.

    Celery's clients write such names on the parts of a chord whose header has a chain: they share a list.
    """
    names = options.get("stamped_headers")
    if not isinstance(names, list) or all(name in options for name in names):
        return options
    return {**options, "stamped_headers": [name for name in names if name in options]}


#: Where the parts of a workflow are.
_PARTS = {"chain": ("tasks",), "group": ("tasks",), "chord": ("header", "body")}


def parts_of(written: Mapping[str, Any]) -> Iterator[Any]:
    """Yield a signature, and those that it consists of."""
    yield written
    for name in _PARTS.get(kind_of(written), ()):
        part = (written.get("kwargs") or {}).get(name)
        for one in [part] if isinstance(part, Mapping) else part or ():
            if not is_signature(one):
                yield one
            else:
                yield from parts_of(one)


_NAMES = frozenset(OPTION_NAMES)


def _known(options: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return the options that are known, of those that it links to too."""
    options = _with_stamps(options)
    stamps = as_list(options.get("stamped_headers"))
    strange = [name for name in options if name not in _NAMES and name not in (stamps or ())]
    if strange and stamps is None:  # else it is what a visitor told itself
        warn_once(
            f"The options {', '.join(strange)} of the signature of {task} have no meaning here."
        )
    found = {name: value for name, value in options.items() if name not in strange}
    for name in ("link", "link_error"):
        if found.get(name):
            found[name] = [_known_of(link) for link in as_list(found[name]) or ()]
    return found


def _known_of(link: Any) -> Any:
    if not is_signature(link) or kind_of(link) != "task":
        return link
    return {**link, "options": _known(link.get("options") or {}, link["task"])}
