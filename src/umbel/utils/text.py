"""What Celery has in ``celery.utils.text``: texts cut, joined and put into the plural."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["abbr", "abbrtask", "indent", "join", "pluralize", "str_to_list", "truncate"]


def str_to_list(value: str | Iterable[str]) -> Iterable[str]:
    """Return the parts of a text with commas; a list as it is."""
    return value.split(",") if isinstance(value, str) else value


def truncate(s: str, maxlen: int = 128, suffix: str = "...") -> str:
    """Return a text cut at the last space before `maxlen`, with a suffix; a shorter one as it is."""
    return f"{s[:maxlen].rsplit(' ', 1)[0]}{suffix}" if 0 < maxlen <= len(s) else s


def abbr(S: str | None, max: int, ellipsis: str | bool = "...") -> str:
    """Return a text of at most `max` characters, the ellipsis among them; ``???`` for None."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    return f"{S[: max - len(ellipsis)]}{ellipsis}" if isinstance(ellipsis, str) else S[:max]


def abbrtask(S: str | None, max: int) -> str:
    """Return a task's name of at most `max` characters, what is cut off its module marked: ``pro[.]add``."""
    if S is None or len(S) <= max:
        return abbr(S, max)
    module, _, name = S.rpartition(".")
    return f"{abbr(module, max - len(name) - 3, False)}[.]{name}"


def indent(t: str, indent: int = 0, sep: str = "\n") -> str:
    """Return a text with each line set in by so many spaces."""
    return sep.join(f"{' ' * indent}{line}" for line in t.split(sep))


def join(texts: Iterable[str | None], sep: str = " ") -> str:
    """Return the texts that are not empty, joined."""
    return sep.join(text for text in texts if text)


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """Return a word in the plural unless `n` is 1."""
    return text if n == 1 else f"{text}{suffix}"
