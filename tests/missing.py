"""What becomes of tests whose server is not there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(server: str, what: str) -> NoReturn:
    """Skip a test that has no such server, or let it fail where ``UMBEL_REQUIRE_ENGINES`` names that."""
    if server in os.environ.get("UMBEL_REQUIRE_ENGINES", "").split(","):
        pytest.fail(f"{what}, and UMBEL_REQUIRE_ENGINES names {server}")
    pytest.skip(what)
