import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel import limits
from umbel.exceptions import MessageTooLarge
from umbel.limits import DEFAULT, FixedLimits, check_sent, json_is_deeper, shown, value_is_deeper
from umbel.settings import Settings


def depth(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


nested = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('[{"\\'), inner, max_size=3)
    ),
    max_leaves=30,
)


def test_the_settings_defaults_are_those_that_hold_without_settings() -> None:
    settings = Settings()
    for name in FixedLimits.__dataclass_fields__:
        assert getattr(settings, name) == getattr(DEFAULT, name)


@settings(deadline=None, max_examples=200)
@given(nested, st.integers(0, 12))
def test_the_depth_is_told_without_decoding(value: Any, most: int) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert json_is_deeper(text.encode(), most) is (depth(value) > most)
    assert value_is_deeper(value, most) is (depth(value) > most)


@pytest.mark.parametrize("most", [0, 1, 7, 8, 9, 500])
def test_the_depth_is_exact(most: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        fits, more = ((opening * n + "1" + closing * n).encode() for n in (most, most + 1))
        assert not json_is_deeper(fits, most)
        assert json_is_deeper(more, most)
    side_by_side = ("[" + "[[[]]]," * 2000 + "1]").encode()
    assert json_is_deeper(side_by_side, most) is (most < 4)


@pytest.mark.parametrize(
    "text", [b"[" * 10**6, b'"' + b'\\"[' * 10**6, b"]" * 10**6, b'"["' * 10**5]
)
def test_text_that_is_no_json_takes_no_longer(text: bytes) -> None:
    json_is_deeper(text, 500)


def test_sizes_for_people() -> None:
    assert [shown(5000), shown(32 * 2**20)] == ["5,000 bytes", "32.0 MiB"]


def test_what_is_too_large_names_the_setting() -> None:
    small = FixedLimits(message_max_bytes=10, message_max_decompressed=20)
    check_sent(10, 10, small)
    check_sent(20, 5, small)
    with pytest.raises(MessageTooLarge, match=r"it has 11 bytes, and message_max_bytes allows 10"):
        check_sent(11, 11, small)
    with pytest.raises(MessageTooLarge, match=r"21 bytes, and message_max_decompressed allows 20"):
        check_sent(21, 5, small)
    assert "message_max_bytes" in str(limits.too_large(11, small))
