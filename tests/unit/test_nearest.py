from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.nearest import SLIPS, distance, nearest

WORDS = st.text("abc_", max_size=8)


def levenshtein(one: str, other: str) -> int:
    """The definition, as it stands in textbooks."""

    @cache
    def between(i: int, j: int) -> int:
        if min(i, j) == 0:
            return max(i, j)
        return min(
            between(i - 1, j) + 1,
            between(i, j - 1) + 1,
            between(i - 1, j - 1) + (one[i - 1] != other[j - 1]),
        )

    return between(len(one), len(other))


@given(WORDS, WORDS, st.integers(1, 10))
def test_the_distance_is_levenshteins_up_to_enough(one: str, other: str, enough: int) -> None:
    found, true = distance(one, other, enough), levenshtein(one, other)
    assert min(found, enough) == min(true, enough)


@given(WORDS, st.lists(WORDS), st.integers(0, 4))
def test_the_nearest_is_the_first_of_the_least_distance(
    name: str, known: list[str], slips: int
) -> None:
    within = [word for word in known if levenshtein(name, word) <= slips]
    expected = min(within, key=lambda word: levenshtein(name, word), default=None)
    assert nearest(name, known, slips) == expected


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("broker_url", "broker_url"),
        ("broker_ulr", "broker_url"),
        ("brokerurl", "broker_url"),
        ("brokr_ur", "broker_url"),
        ("broke_u", None),
        ("result", None),
        ("", None),
    ],
)
def test_up_to_two_slips_are_forgiven(name: str, found: str | None) -> None:
    assert SLIPS == 2
    assert nearest(name, ["broker_url", "result_backend"]) == found
