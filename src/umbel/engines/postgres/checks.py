"""What is worth saying about a server when a worker starts."""

from __future__ import annotations

from umbel.engines.postgres.link import Link

#: Seconds that looking may take: a worker starts without.
LIMIT = 1.0


def warnings_of(link: Link, shown: str) -> list[str]:
    """Return a sentence for each property of a server that endangers what is stored there."""
    [(fsync, commit, vacuum)] = link.execute(
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
        " current_setting('autovacuum')",
        (),
        LIMIT,
    )
    found = []
    if fsync == "off":
        found.append(
            f"PostgreSQL at {shown} does not bring its data to the disk (fsync is off): a crash of the"
            " machine may destroy the whole database. Set fsync = on there."
        )
    if commit == "off":
        found.append(
            f"PostgreSQL at {shown} does not wait for the disk (synchronous_commit is off): a crash of the"
            " server loses the tasks and results of the last moments."
        )
    if vacuum == "off":
        found.append(
            f"PostgreSQL at {shown} never cleans its tables (autovacuum is off): those of umbel grow without"
            " an end. Set autovacuum = on there."
        )
    return found
