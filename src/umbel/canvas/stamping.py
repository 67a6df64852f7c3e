"""Stamps: headers with names of one's own, put on a call and on all that belongs to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from umbel.canvas.kinds import CLASSES

Stamps = Mapping[str, Any]


class StampingVisitor(ABC):
    """Says what stamps each part of a workflow gets; subclass it, and give it to ``Signature.stamp``.

    Methods get the part and the stamps that it has so far, and return more of them. With a list of names as
    ``stamped_headers`` only those are stamps: what else is returned reaches the methods for the parts of this
    one, and no message.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> Stamps | None:
        """Return the stamps of a signature."""

    def on_group_start(self, sig: Any, **headers: Any) -> Stamps | None:
        """Return the stamps of all members of a group, before they are stamped themselves."""
        return {}

    def on_group_end(self, sig: Any, **headers: Any) -> None:
        """Be called when all members of a group have been stamped."""
        return

    def on_chain_start(self, sig: Any, **headers: Any) -> Stamps | None:
        """Return the stamps of all tasks of a chain, before they are stamped themselves."""
        return {}

    def on_chain_end(self, sig: Any, **headers: Any) -> None:
        """Be called when all tasks of a chain have been stamped."""
        return

    def on_chord_header_start(self, sig: Any, **header: Any) -> Stamps | None:
        """Return the stamps of a chord's header: by default those of a group; `sig` is the chord."""
        return self.on_group_start(as_group(sig), **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Be called when a chord's header has been stamped."""
        self.on_group_end(as_group(sig), **header)

    def on_chord_body(self, sig: Any, **header: Any) -> Stamps | None:
        """Return the stamps of a chord's body; `sig` is the chord."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> Stamps | None:
        """Return the stamps of a call that follows one that ended well."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> Stamps | None:
        """Return the stamps of a call that follows one that failed."""
        return {}


def as_group(chord: Any) -> Any:
    """Return a chord's header as a group, which it is from then on."""
    header = chord.kwargs["header"]
    if not isinstance(header, Mapping):
        header = chord.kwargs["header"] = CLASSES["group"](header, app=chord._app)
    return header


def stamps_of(
    options: Mapping[str, Any], headers: Stamps, seen: Stamps | None, append: bool
) -> dict[str, Any]:
    """Return the stamps that a call gets, with their names as ``stamped_headers``.

    These are `headers`, what a visitor has `seen`, and those that the `options` of the call have.
    """
    stamps = _joined_stamps(headers, seen, append)
    names = _unique((*stamps["stamped_headers"], *(options.get("stamped_headers") or ())))
    own = {name: value for name, value in options.items() if name in names}
    return {**_joined(stamps, own, append), "stamped_headers": names}


def linked_stamps(
    visitor: StampingVisitor | None, key: str, link: Any, headers: Stamps, append: bool
) -> dict[str, Any]:
    """Return the stamps with which a link is to be stamped, before its own visit."""
    seen = None
    if visitor is not None:
        visit = visitor.on_callback if key == "link" else visitor.on_errback
        seen = visit(link, **headers) or {}
    return _joined_stamps(headers, seen, append)


def _joined_stamps(headers: Stamps, seen: Stamps | None, append: bool) -> dict[str, Any]:
    """Return stamps with those that a visitor has seen."""
    stamps = _named(headers)
    if seen is not None:
        stamps = _joined(stamps, _named(seen), append)
        stamps["stamped_headers"] = _unique(stamps["stamped_headers"])
    return stamps


def _named(stamps: Stamps) -> dict[str, Any]:
    """Return stamps with a list of their names; one that is there already says which are stamps."""
    return {"stamped_headers": list(stamps), **stamps}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _joined(first: Stamps, second: Stamps, append: bool) -> dict[str, Any]:
    """Return two mappings as one. Of what both have, lists are joined, and else the first counts.

    With `append` both count, as a list.
    """
    joined = dict(first)
    for name, value in second.items():
        joined[name] = _both(joined[name], value, append) if name in joined else value
    return joined


def _both(one: Any, other: Any, append: bool) -> Any:
    if isinstance(one, dict):
        return _joined(one, other, append)
    if append:
        if one is None:
            return [other]
        one = [one] if isinstance(one, int | float | str) else list(one)
        return [*one, *other] if isinstance(other, list) else [*one, other]
    return [*one, *other] if isinstance(one, list) and isinstance(other, list) else one
