"""How dead letters are shown."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.app import Umbel
from umbel.cli.output import show_table
from umbel.cli.times import shown
from umbel.ports import DeadLetter
from umbel.settings import zone


def show_letters(app: Umbel, letters: Sequence[DeadLetter]) -> None:
    """Print a table of dead letters; times are in the app's time zone."""
    here = zone(app.conf.snapshot)
    show_table(
        ("key", "died", "queue", "task", "reason"),
        [
            (
                letter.key,
                shown(letter.died_at, here),
                letter.queue,
                letter.message.headers.get("task", "?"),
                letter.reason,
            )
            for letter in letters
        ],
        empty="There are no such dead letters.",
    )


def as_data(letter: DeadLetter) -> dict[str, object]:
    """Return all that is known of a dead letter, for JSON."""
    return {
        "key": letter.key,
        "queue": letter.queue,
        "reason": letter.reason,
        "died_at": letter.died_at,
        "crashes": letter.crashes,
        "headers": dict(letter.message.headers),
        "properties": dict(letter.message.properties),
        "body": letter.message.body.decode("utf-8", "backslashreplace"),
    }


def messages(count: int) -> str:
    """Return ``1 message`` or ``2 messages``."""
    return f"{count} message{'' if count == 1 else 's'}"
