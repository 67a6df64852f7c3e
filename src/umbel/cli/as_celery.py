"""``celery``: the ``umbel`` command under Celery's name, as ``python -m celery`` and as a console script."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.cli.base import group as celery
from umbel.cli.base import main as run

__all__ = ["celery", "main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; `argv` are the words after ``celery``, this process's by default."""
    run(argv, program="celery")


if __name__ == "__main__":
    main()
