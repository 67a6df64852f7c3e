"""Workflows that are run where they are called: as plain calls of functions, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from umbel import states
from umbel.canvas.algebra import (
    body_of,
    flat,
    fresh,
    header_of,
    kind_of,
    link_callback,
    link_errback,
    meant,
    no_body,
    steps,
)
from umbel.canvas.lazy import Lazy
from umbel.canvas.merging import merged_options
from umbel.canvas.signature import Signature
from umbel.clock import unique_id
from umbel.links import as_list
from umbel.result import GroupResult

if TYPE_CHECKING:
    from umbel.app import Umbel

Sig = Signature[Any]
_LINKS = ("link", "link_error")


def parts(sig: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the signatures that a workflow consists of; of what a generator gives the first alone."""
    match kind_of(sig):
        case "chord":
            yield from _known(header_of(sig))
            yield sig["kwargs"].get("body")
        case "chain" | "group":
            yield from _known(sig["kwargs"]["tasks"])


def _known(tasks: Any) -> Iterable[Any]:
    return islice(tasks, 1) if isinstance(tasks, Lazy) else tasks


def app_of(sig: Mapping[str, Any]) -> Umbel | None:
    """Return the app of a signature, or of the first of its parts that has one."""
    own: Umbel | None = getattr(sig, "_app", None)
    if own is not None:
        return own
    found = (app_of(part) for part in parts(sig) if part is not None)
    return next((app for app in found if app is not None), None)


def leaves(sig: Mapping[str, Any]) -> int:
    """Return how many results a signature gives to the chord whose header it belongs to."""
    match kind_of(sig):
        case "group":
            return sum(leaves(task) for task in flat(sig["kwargs"]["tasks"], None))
        case "chain":
            found = steps(fresh(sig))
            return leaves(found[-1]) if found else 0
        case "chord":
            body = sig["kwargs"].get("body")
            return 0 if body is None else leaves(body)
    return 1


def run_chain(
    chain: Sig, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
    """Run a chain's steps, each with the value of the one before; return the last one's result."""
    merged = merged_options(chain.options, options)
    links = {name: merged.pop(name) for name in _LINKS if name in merged}
    own = fresh(chain)
    own.options.clear()
    if own.args and not own.immutable:
        args = (*args, *own.args)
    found = steps(own)
    last: Any = None
    for number, step in enumerate(found):
        _link(step, links if number == len(found) - 1 else {"link_error": links.get("link_error")})
        given = (args, kwargs) if last is None else ((_value(last),), {})
        result = step.apply(*given, **merged)
        result.parent, last = last, result
        if result._leaves() == [result] and result.state in (states.IGNORED, states.REJECTED):
            break
    return last


def run_group(
    group: Sig, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> GroupResult:
    """Run a group's calls; return their results."""
    merged = merged_options(group.options, options)
    group_id = merged.pop("task_id", None) or unique_id()
    links = {name: merged.pop(name) for name in _LINKS if name in merged}
    if group.args and not group.immutable:
        args = (*args, *group.args)
    results = []
    for member in flat(group["kwargs"]["tasks"], group._app):
        _link(member, links)
        results.append(member.apply(args, kwargs, **{**merged, "group_id": group_id}))
    return GroupResult(group_id, results, app=group.app)


def run_chord(
    chord: Sig,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    propagate: bool,
    options: Mapping[str, Any],
) -> Any:
    """Run a chord's header, and its body with the list of its values; return the body's result."""
    merged = merged_options(chord.options, options)
    links = {name: merged.pop(name) for name in _LINKS if name in merged}
    body = meant(fresh(body_of(chord), chord._app))
    if not steps(body):
        raise no_body(chord)
    for link in as_list(links.pop("link", None)) or ():
        link_callback(body, link)
    _link(body, links)
    task_id = merged.pop("task_id", None)
    header = Signature.TYPES["group"](header_of(chord), app=chord._app)
    if chord.args and not chord.immutable:
        args = (*args, *chord.args)
    throw = {"throw": options["throw"]} if options.get("throw") is not None else {}
    before = header.apply(args, kwargs, **throw)
    given = {"task_id": task_id} if task_id and kind_of(body) == "task" else {}
    result = body.apply((_value(before, propagate),), **given, **throw)
    _head(result).parent = before
    return result


def _value(result: Any, propagate: bool = True) -> Any:
    """Return the value of what has run here: nobody waits for that, within a task or not."""
    return result.get(propagate=propagate, disable_sync_subtasks=False)


def _head(result: Any) -> Any:
    while result.parent is not None:
        result = result.parent
    return result


def _link(sig: Sig, links: Mapping[str, Any]) -> None:
    if links.get("link"):
        sig.extend_list_option("link", links["link"])
    for errback in as_list(links.get("link_error")) or ():
        link_errback(sig, errback, header=False)
