"""Pieces of workflows in the result store: kept before anything names them, read when it is their turn.

`umbel.canvas.pieces` says what they are. They are stored like the documents of groups, and expire as chords
do, after a week. Whoever settles a step in the second half of the time of what it leads to prolongs that, and
whoever reads a piece then those behind it; so none is lost before it is reached, however many steps come
before it. That time travels with the messages, so nobody has to ask before. A piece that was reached is
deleted when what it held has been sent, where that is settled in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from umbel import records
from umbel.backend import chord_expiry
from umbel.canvas.pieces import Piece, ahead, ahead_in, is_stand_in
from umbel.message import Call, Message
from umbel.ports import GroupOpening, ResultStore
from umbel.serialization import JSON, serializer_of
from umbel.settings import Settings

if TYPE_CHECKING:
    from umbel.app import Umbel


def kept(app: Umbel, piece: Piece) -> GroupOpening:
    """Return a piece as the result store keeps it."""
    settings = app.conf.snapshot
    expires = chord_expiry(settings, app.clock.time())
    written = {"steps": list(piece.steps), "following": piece.following, "expires": expires}
    return GroupOpening(piece.id, 0, expires, records.encode_group(written, settings))


def load(app: Umbel, store: ResultStore, id: str) -> Piece | None:
    """Return a piece; None where there is none any more, or nothing that is one.

    Raises OperationalError when the store does not answer, and DecodeError for what cannot be read.
    """
    found = _read(app, store, id)
    if found is None:
        return None
    piece, expires = found
    if is_due(expires, app.conf.snapshot, app.clock.time()):
        _keep(app, store, _led_to(piece))
    return piece


def _read(app: Umbel, store: ResultStore, id: str) -> tuple[Piece, Any] | None:
    """Return a piece, and when it expires."""
    document = store.saved_group(id)
    found = None if document is None else records.decode_group(id, document, app.conf.snapshot)
    said: dict[str, Any] = found if isinstance(found, dict) else {}
    steps = said.get("steps")
    if not isinstance(steps, list) or not steps:
        return None
    return Piece(id, steps, said.get("following")), said.get("expires")


def _led_to(piece: Piece) -> list[str]:
    following = [] if piece.following is None else [piece.following]
    return [*following, *(id for id, _ in ahead(piece.steps))]


def _keep(app: Umbel, store: ResultStore, ids: Iterable[str]) -> None:
    """Keep pieces, and all that they lead to, for longer: the furthest first.

    Where one has its new time, so has all that is behind it, whoever dies in between.
    """
    left, led_to = list(ids), dict[str, None]()
    while left:
        id = left.pop()
        if id not in led_to and (found := _read(app, store, id)) is not None:
            led_to[id] = None
            left += _led_to(found[0])
    for id in reversed(led_to):  # read again, since there may be more of them than fit into memory
        if (found := _read(app, store, id)) is not None:
            store.open_groups([kept(app, found[0])])


def is_due(expires: Any, settings: Settings, now: float) -> bool:
    """Tell whether half of the time is over that a piece has, which expires then."""
    anew = chord_expiry(settings, now)
    if anew is None or not isinstance(expires, int | float):
        return False
    return expires - now <= (anew - now) / 2


def due(call: Call | None, message: Message, settings: Settings, now: float) -> tuple[str, ...]:
    """Return the pieces that a call's message leads to, and that are to be renewed now that it has passed."""
    if call is None or not (call.chain or call.chord):
        return ()
    shows = serializer_of(message.content_type) is JSON and not message.headers.get("compression")
    found = ahead_in(message.body) if shows else ahead(call.chain, call.chord)
    return tuple({id: None for id, expires in found if is_due(expires, settings, now)})


def renew(app: Umbel, store: ResultStore, id: str) -> None:
    """Keep a piece, and what is behind it, for longer, unless somebody has done so.

    Raises OperationalError when the store does not answer, and DecodeError for what cannot be read.
    """
    found = _read(app, store, id)
    if found is not None and is_due(found[1], app.conf.snapshot, app.clock.time()):
        _keep(app, store, [id])


def body_of(
    app: Umbel, store: ResultStore, body: Mapping[str, Any]
) -> tuple[Mapping[str, Any], str | None]:
    """Return a chord's body, and the piece that held it, if a message has only its stand-in.

    Raises LookupError when it is not kept any more, and what `load` raises.
    """
    if not is_stand_in(body):
        return body, None
    id = body["kwargs"]["piece"]
    piece = load(app, store, id)
    if piece is None:
        raise LookupError(gone(id))
    return piece.steps[0], id


def gone(id: str) -> str:
    """Say that a piece is not there."""
    return (
        f"The rest of this workflow (piece {id}) is not in the result store any more: it was deleted, or no"
        " step had its turn for as long as result_chord_expires says."
    )
