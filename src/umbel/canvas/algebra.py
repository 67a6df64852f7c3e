"""How two signatures become one, and what a workflow comes to. Pure: what is given is never changed.

`join` is the operator ``|``: one table of kinds, whose results are Celery's (celery/canvas.py). `steps` is
the one normal form: a list of steps of which each is a call, a chord, or a group that is the last.
Everything that sends or runs a workflow begins with that, so no nesting needs rules of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from umbel.canvas.kinds import CLASSES, class_of, no_signature
from umbel.canvas.lazy import Lazy, has_one
from umbel.current import get_current_app
from umbel.links import as_list, is_signature
from umbel.settings import Settings

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.canvas.signature import Signature

    Sig = Signature[Any]

#: Options of a chain that say where it stands; they are its last call's.
OF_LAST = ("task_id", "group_id", "group_index", "chord")
#: Options of a chain that are not its first call's alone.
_SHARED = frozenset({*OF_LAST, "root_id", "parent_id", "link", "link_error"})


_MAPS = ("celery.map", "celery.starmap")
_CHUNKS = "celery.chunks"
#: Tasks that call others: their signatures have no kind, and copies of them no class of their own.
_OF_OTHERS = frozenset({*_MAPS, _CHUNKS})


def kind_of(sig: Mapping[str, Any]) -> str:
    """Return "chain", "group" or "chord"; anything else is one call: "task"."""
    found = sig.get("subtask_type")
    return found if found and found in ("chain", "group", "chord") else "task"


def is_plain(sig: Mapping[str, Any]) -> bool:
    """Tell whether a signature is a call with arguments and nothing else."""
    return (
        type(sig) is CLASSES[None]
        and not sig["options"]
        and sig["subtask_type"] is None
        and sig["task"] not in _OF_OTHERS
    )


def is_empty_group(sig: Mapping[str, Any]) -> bool:
    """Tell whether a signature is a group of nothing."""
    return kind_of(sig) == "group" and not sig["kwargs"]["tasks"]


# Joining


def join(left: Sig, right: Sig) -> Sig:
    """Return what runs `left`, and then `right` with its result: ``left | right``."""
    match kind_of(left), kind_of(right):
        case "group", "group" if is_empty_group(right):
            return left
        case "group", _:
            return _chord(left, right)
        case "chain", _:
            return _extended(left, right)
        case "chord", "chain":
            return _chain([left, *unchained(right)], left)
        case "chord", _:
            return _after_chord(left, unrolled(right))
        case _, "chain":
            return _chain([left, *unchained(right)], left)
    return _chain([left, unrolled(right)], left)


def _after_chord(left: Sig, right: Sig) -> Sig:
    if kind_of(right) == "group":
        return _chain([left, right], left)
    return _with_body(left, join(_own_body(left), right))


def _extended(left: Sig, right: Sig) -> Sig:
    """Return a chain with more steps."""
    parts = folded([right], unchained(left))
    return parts if not isinstance(parts, list) else _chain(parts, left)


def folded(sigs: Iterable[Sig], before: list[Sig] | None = None) -> list[Sig] | Sig:
    """Return the tasks of the chain that runs one signature after the other, after those `before`.

    An empty chain before a group is that group: then what came of it is returned.
    """
    found = list(before or ())
    rest = iter(sigs)
    for sig in rest:
        if is_empty_group(sig):
            continue
        one = unrolled(sig)
        if kind_of(one) == "chain":
            inner = folded(unchained(one), found)
            if not isinstance(inner, list):
                return _all_joined(inner, rest)
            found = inner
        elif kind_of(one) == "group" and not found:
            return _all_joined(one, rest)
        else:
            _append(found, one)
    return found


def _all_joined(first: Sig, rest: Iterable[Sig]) -> Sig:
    for sig in rest:
        first = join(first, sig)
    return first


def _append(found: list[Sig], sig: Sig) -> None:
    """Add one that is no chain to the tasks of a chain, by Celery's rules."""
    last, kind = (found[-1] if found else None), kind_of(sig)
    if last is not None and kind_of(last) == "group" and kind != "group":
        found[-1] = _chord(last, sig)
    elif last is not None and kind_of(last) == "chord" and kind != "chord":
        found[-1] = _with_body(last, join(_own_body(last), sig))
    else:
        found.append(sig)


def unrolled(sig: Sig) -> Sig:
    """Return the only member of a group that has one; all else as it is."""
    if kind_of(sig) != "group" or not has_one(sig["kwargs"]["tasks"]):
        return sig
    return fresh(sig["kwargs"]["tasks"][0], sig._app)


def unchained(chain: Sig) -> list[Sig]:
    """Return the tasks of a chain, as copies that have what the chain says of them all.

    Its links are its last task's, its errbacks each task's, its place the last's, other options the first's.
    """
    options = chain.options
    tasks = [fresh(task, chain._app) for task in chain["kwargs"]["tasks"]]
    if not tasks:
        return tasks
    for link in as_list(options.get("link")) or ():
        tasks[-1].append_to_list_option("link", link)
    for errback in as_list(options.get("link_error")) or ():
        for task in tasks:
            link_errback(task, errback)
    for name in OF_LAST:
        if options.get(name) is not None:
            tasks[-1].options.setdefault(name, options[name])
    for name, value in options.items():
        if name not in _SHARED:
            tasks[0].options.setdefault(name, value)
    return tasks


def link_callback(sig: Sig, callback: Any) -> None:
    """Let a call follow a signature of any kind; `sig` is a copy of the caller's own.

    Of a group it follows the first member, without its result, and of a chord the body.
    """
    kind = kind_of(sig)
    if kind == "group" and sig["kwargs"]["tasks"]:
        first, *others = sig["kwargs"]["tasks"]
        own = fresh(first, sig._app)
        link_callback(own, fresh(callback, sig._app).clone().set(immutable=True))
        sig["kwargs"]["tasks"] = [own, *others]
    elif kind == "chord":
        body = sig["kwargs"]["body"] = fresh(body_of(sig), sig._app)
        link_callback(body, callback)
    else:
        sig.append_to_list_option("link", callback)


def link_errback(sig: Sig, errback: Any, header: bool = True) -> None:
    """Let an errback follow the failure of a signature of any kind; `sig` is a copy of the caller's own.

    Of a chord it follows the body; with `header` also each call of the header, where the settings say so.
    """
    match kind_of(sig):
        case "group":
            sig["kwargs"]["tasks"] = [fresh(task, sig._app) for task in sig["kwargs"]["tasks"]]
            for task in sig["kwargs"]["tasks"]:
                link_errback(task, errback, header)
        case "chord":
            body = fresh(sig["kwargs"]["body"], sig._app)
            link_errback(body, errback, header)
            sig["kwargs"]["body"] = body
            if header and _settings(sig).task_allow_error_cb_on_chord_header:
                _link_header(sig, errback)
        case _:
            sig.append_to_list_option("link_error", errback)


def _settings(sig: Sig) -> Settings:
    return (sig._app or get_current_app()).conf.snapshot


def _link_header(chord: Sig, errback: Any) -> None:
    """Let an errback follow each call of a chord's header."""

    def linked(task: Mapping[str, Any]) -> Mapping[str, Any]:
        own = fresh(task, chord._app)
        link_errback(own, errback)
        return own

    header, tasks = chord["kwargs"].get("header"), map(linked, header_of(chord))
    members = Lazy(tasks) if isinstance(header_of(chord), Lazy) else list(tasks)
    if not isinstance(header, Mapping):
        chord["kwargs"]["header"] = members
        return
    own = chord["kwargs"]["header"] = fresh(header, chord._app)
    own["kwargs"]["tasks"] = members


def fresh(sig: Mapping[str, Any], app: Umbel | None = None) -> Sig:
    """Return a copy of a signature, or a signature of a dictionary, whose options may be changed.

    Its arguments are not copied, nor the parts of a workflow. Raises TypeError for what is neither.
    """
    if not isinstance(sig, dict | Mapping):
        raise no_signature(sig)
    kind: Any = class_of(sig) if type(sig) is dict or sig.get("subtask_type") else type(sig)
    own: Sig = kind.__new__(kind)
    dict.update(own, sig)
    options = dict(sig.get("options") or {})
    for name in ("link", "link_error"):
        if options.get(name):
            options[name] = list(as_list(options[name]) or ())
    own["options"] = options
    own["args"] = own.get("args") or ()
    own["kwargs"] = dict(own.get("kwargs") or {})
    own._app = getattr(sig, "_app", None) or app
    own._type = getattr(sig, "_type", None)
    return own


# The normal form


def steps(sig: Sig) -> list[Sig]:
    """Return a signature as steps, each a copy: calls and chords, and last perhaps a group.

    A chord's body is one step: what follows it in the body follows the chord.
    """
    return _steps_of(sig if kind_of(sig) in ("chain", "chord") else fresh(sig))


def _steps_of(sig: Sig) -> list[Sig]:
    """Return the same; a call or a group is a copy already."""
    match kind_of(sig):
        case "chain":
            found: list[Sig] = []
            tasks = unchained(sig)
            for task in tasks:
                for step in _steps_of(unrolled(task)):
                    _add_step(found, step)
            return found or [fresh(task) for task in tasks[-1:] if is_empty_group(task)]
        case "chord":
            return list(_of_chord(sig))
    return [meant(sig)]


def meant(sig: Sig) -> Sig:
    """Return the group that chunks are, wherever they stand; all else as it is.

    Chunks whose id is fixed stay one call, for whose result somebody may wait.
    """
    if sig.get("task") != _CHUNKS or sig.get("options", {}).get("task_id"):
        return sig
    made: Sig = CLASSES["chunks"].from_dict(sig, sig._app).group()
    return made


def routed_as(sig: Mapping[str, Any]) -> str | None:
    """Return the name of the task that a map calls, by whose routes it goes; None of any other call."""
    if sig.get("task") not in _MAPS:
        return None
    task = (sig.get("kwargs") or {}).get("task")
    name = task.get("task") if isinstance(task, Mapping) else getattr(task, "name", task)
    return name if isinstance(name, str) else None


def _of_chord(sig: Sig) -> Iterator[Sig]:
    own = fresh(sig)
    body = own["kwargs"].get("body")
    if body is not None:
        own["kwargs"]["body"] = meant(fresh(body, own._app))
    if body is None or kind_of(body) != "chain":
        yield own
        return
    first, *rest = steps(fresh(body, own._app)) or (None,)
    if first is None:
        raise no_body(own)
    own["kwargs"]["body"] = first
    links = {name: own.options.pop(name) for name in ("link", "link_error") if name in own.options}
    where = {name: own.options.pop(name) for name in OF_LAST if name in own.options}
    if where.get("task_id") == group_id_of(own):  # so it is where a chord was frozen
        where.pop("task_id", None)
    found = [own, *rest]
    for link in as_list(links.get("link")) or ():
        found[-1].append_to_list_option("link", link)
    for errback in as_list(links.get("link_error")) or ():
        for step in found:
            link_errback(step, errback, header=False)
    found[-1].options.update(where)
    yield from found


def _add_step(found: list[Sig], step: Sig) -> None:
    """Add a step. A group that is not the last becomes the header of a chord."""
    if is_empty_group(step):
        return
    last = found[-1] if found else None
    if last is not None and kind_of(last) == "group":
        found[-1] = _chord(last, step)
    elif last is not None and _ends_in_group(last):
        found[-1] = _after_group(last, step)
    else:
        found.append(step)


def _ends_in_group(sig: Sig) -> bool:
    """Tell whether a chord's body is a group, or a chord whose body is one."""
    while kind_of(sig) == "chord" and sig["kwargs"].get("body") is not None:
        sig = sig["kwargs"]["body"]
        if kind_of(sig) == "group":
            return True
    return False


def _after_group(chord: Sig, step: Sig) -> Sig:
    body = fresh(chord["kwargs"]["body"], chord._app)
    after = _chord(body, step) if kind_of(body) == "group" else _after_group(body, step)
    return _with_body(chord, after)


def header_of(chord: Mapping[str, Any]) -> Any:
    """Return the signatures of a chord's header, which may be written as a group."""
    header = chord["kwargs"].get("header")
    return header["kwargs"]["tasks"] if isinstance(header, Mapping) else header or ()


def body_of(chord: Sig) -> Mapping[str, Any]:
    """Return the body of a chord. Raises TypeError where it has none."""
    body: Mapping[str, Any] | None = chord["kwargs"].get("body")
    if body is None:
        raise no_body(chord)
    return body


def _own_body(chord: Sig) -> Sig:
    """Return the body of a chord as a signature. Raises TypeError where it has none."""
    return fresh(body_of(chord), chord._app)


def no_body(chord: Sig) -> TypeError:
    """Return the error of a chord that has no body, or an empty chain for one."""
    return TypeError(
        f"The chord of {header_of(chord)!r} has no body: give it one, chord(header, body)."
    )


def group_id_of(chord: Mapping[str, Any]) -> str | None:
    """Return the id of a chord's header, if that has one."""
    header = chord["kwargs"].get("header")
    found = header.get("options", {}).get("task_id") if isinstance(header, Mapping) else None
    return found if isinstance(found, str) else None


def flat(
    tasks: Iterable[Mapping[str, Any]], app: Umbel | None, plain: bool = False
) -> Iterator[Sig]:
    """Yield the members of a group as copies: those of groups among them too, and no empty chains.

    With `plain` not even what `is_plain` is copied: it is not to be changed then.
    """
    for task in tasks:
        if plain and is_plain(task):
            yield task  # type: ignore[misc]
            continue
        sig = meant(fresh(task, app))
        if kind_of(sig) == "group":
            yield from flat(sig["kwargs"]["tasks"], sig._app, plain)
        elif kind_of(sig) != "chain" or steps(sig):
            yield sig


def frozen_groups(sig: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids that the headers of chords in a signature have already: it may have been sent before.

    Within groups only those are looked for whose own id is fixed, as that of all in what was frozen is.
    """
    kind, kwargs = kind_of(sig), sig.get("kwargs") or {}
    parts: Any = ()
    if kind == "chain" or (kind == "group" and (sig.get("options") or {}).get("task_id")):
        parts = kwargs["tasks"]
    elif kind == "chord":
        group = group_id_of(sig)
        if group is not None:
            yield group
            parts = header_of(sig)
        parts = [*parts, kwargs["body"]] if kwargs.get("body") is not None else parts
    for part in () if isinstance(parts, Lazy) else parts:
        if kind_of(part) != "task":
            yield from frozen_groups(part)


def uncounted(sig: Mapping[str, Any], app: Umbel | None) -> Sig:
    """Return a copy of a signature in which no header of a chord has an id, as `frozen_groups` finds them.

    So its chords count for themselves, also where the same ones were sent before. Ids of calls stay.
    """
    own = fresh(sig, app)
    parts, kind = own["kwargs"], kind_of(own)
    if kind == "chord":
        if own.options.get("task_id") == group_id_of(own):
            own.options.pop("task_id", None)
        parts["header"] = header_of(own)
        if parts.get("body") is not None:
            parts["body"] = uncounted(parts["body"], own._app)
    name = "header" if kind == "chord" else "tasks"
    if kind != "task" and not isinstance(parts[name], Lazy):
        parts[name] = [
            one if kind_of(one) == "task" else uncounted(one, own._app) for one in parts[name]
        ]
    return own


def calls_of(sig: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the calls that give the result of a signature: of a chord those of its body.

    Of a chain all are given, since each has a result that somebody may wait for.
    """
    kind, kwargs = kind_of(sig), sig.get("kwargs") or {}
    if kind == "task":
        yield sig
        return
    parts = [kwargs.get("body")] if kind == "chord" else kwargs.get("tasks") or ()
    for part in parts:
        if part is not None and is_signature(part):
            yield from calls_of(part)


# Making


def _with_body(chord: Sig, body: Sig) -> Sig:
    made = fresh(chord)
    made["kwargs"]["body"] = body
    return made


def _chain(tasks: list[Sig], first: Sig) -> Sig:
    made: Sig = CLASSES["chain"](tasks, app=first._app)
    return made


def _chord(header: Sig, body: Sig) -> Sig:
    made: Sig = CLASSES["chord"](header, body, app=header._app)
    return made
