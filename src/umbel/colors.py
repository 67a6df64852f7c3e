"""Texts in colours: `colored`, which is also what ``app.log.colored()`` returns, as in Celery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RESET = "\x1b[0m"
_COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_STYLES = {"bold": 1, "underline": 4, "blink": 5, "reverse": 7, "bright": 8}
_CODES = {
    **{name: f"\x1b[1;{30 + number}m" for number, name in enumerate(_COLORS)},
    **{f"i{name}": f"\x1b[1;{40 + number}m" for number, name in enumerate(_COLORS)},
    **{name: f"\x1b[{number}m" for name, number in _STYLES.items()},
    "reset": RESET,
}


class colored:
    """A text in colours: ``str(c.red("so ", c.bold("very"), " red"))`` with ``c = colored()``.

    Methods are the names of colours, with an ``i`` before them those of the ground, and ``bold``,
    ``underline``, ``blink``, ``reverse``, ``bright``. With `enabled` False all of it is plain text.
    """

    def __init__(self, *parts: object, enabled: bool = True, op: str = "") -> None:
        self.s = parts
        self.enabled = enabled
        self.op = op

    @property
    def names(self) -> dict[str, Callable[..., colored]]:
        """The colours by name."""
        return {name: getattr(self, name) for name in _COLORS}

    def node(self, parts: tuple[object, ...], op: str) -> colored:
        """Return a text that begins with a terminal's control sequence."""
        return type(self)(*parts, enabled=self.enabled, op=op)

    def __getattr__(self, name: str) -> Callable[..., colored]:
        code = _CODES.get(name)
        if code is None:
            raise AttributeError(f"There is no colour or style {name!r}.")
        return lambda *parts: self.node(parts, code)

    def no_color(self) -> str:
        """Return the text without colours."""
        return "".join(
            part.no_color() if isinstance(part, colored) else str(part) for part in self.s
        )

    def embed(self) -> str:
        """Return the text without its end, so that what follows is coloured too."""
        if not self.enabled:
            return self.no_color()
        # What stands after a part in another colour gets this one's colour again.
        return self.op + "".join(
            f"{part}{self.op}" if isinstance(part, colored) else str(part) for part in self.s
        )

    def __str__(self) -> str:
        return f"{self.embed()}{RESET}" if self.enabled else self.no_color()

    def __repr__(self) -> str:
        return repr(self.no_color())

    def __add__(self, other: Any) -> str:
        return f"{self}{other}"
