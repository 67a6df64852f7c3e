"""Places that tests have for themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Where files are in memory, if the system has such a place.
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - used by tempfile


@contextmanager
def own_runtime_directory() -> Iterator[None]:
    """Keep the nodes of a test apart from all others.

    A node that was killed leaves its directory, which goes by the URL of its broker; and a port that
    was free for one server is free for another one, later.
    """
    with (
        tempfile.TemporaryDirectory(
            prefix="umbel-run-", dir=MEMORY, ignore_cleanup_errors=True
        ) as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", name)
        yield
