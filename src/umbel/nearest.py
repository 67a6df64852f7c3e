"""The name that was probably meant: a slip of the pen away by edit distance, or just similar."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Insertions, deletions and substitutions up to which a name is taken for a slip.
SLIPS = 2


def nearest(name: str, known: Iterable[str], slips: int = SLIPS) -> str | None:
    """Return the known name that differs from `name` by the fewest letters, `slips` at most."""
    best, least = None, slips + 1
    letters = set(name)
    for candidate in known:
        # Each letter that only one of them has takes a slip: cheap to see, and true of most names.
        if abs(len(candidate) - len(name)) >= least or len(letters.difference(candidate)) >= least:
            continue
        found = distance(name, candidate, least)
        if found < least:
            best, least = candidate, found
    return best


def meant(name: str, known: Iterable[str]) -> str:
    """Return the question what was meant, to follow an error; empty when nothing is similar."""
    similar = difflib.get_close_matches(name, list(known), n=1)
    return asked(similar[0]) if similar else ""


def asked(name: str) -> str:
    """Return the question whether this name was meant."""
    return f" Did you mean {name!r}?"


def distance(one: str, other: str, enough: int) -> int:
    """Return how many insertions, deletions and substitutions lie between two texts.

    Levenshtein's algorithm, row by row; it ends with `enough` as soon as it cannot be less.
    """
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
        if min(row) >= enough:
            return enough
    return row[-1]
