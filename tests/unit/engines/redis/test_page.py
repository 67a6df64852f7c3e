"""The page about Redis names every option that is read and every key that is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import umbel.engines.redis

HERE = Path(umbel.engines.redis.__file__).parent
PAGE = (Path(__file__).parents[4] / "docs" / "redis.md").read_text("utf-8")
SETTINGS, KEYS = PAGE.partition("## Settings")[2].split("## Keys")


def _found(pattern: str, *files: str) -> Iterator[str]:
    for name in files:
        for path in HERE.glob(name):
            yield from re.findall(pattern, path.read_text("utf-8"))


def test_every_option_is_there() -> None:
    options = {
        *_found(r'(?:given|options)\.get\("(\w+)"', "address.py", "keys.py", "order.py"),
        *_found(r'seconds\("(\w+)"', "address.py"),
        *_found(r'"(ssl_\w+)",', "address.py"),
    }
    assert len(options) > 25
    # The prefix of results is made from the global_keyprefix of their own options.
    assert {name for name in options - {"result_keyprefix"} if f"`{name}`" not in SETTINGS} == set()


def test_every_key_is_there() -> None:
    keys = {
        *_found(r"P \.\. '([a-z-]+)", "lua/*.lua"),
        *_found(r"own\}([a-z-]+)", "*.py", "spread/*.py"),
    } - {"nothing"}
    assert {"owners", "held", "lease", "values", "inbox"} <= keys
    missing = {key for key in keys if re.search(rf"[`:]{key}[:`]", KEYS) is None}
    assert missing - {"broadcast"} == set()  # that is a channel
    assert "celery-task-meta-ID:umbel-state" in KEYS
