"""What is worth saying about a server when a worker starts."""

from __future__ import annotations

from umbel.engines.postgres.link import Link
from umbel.ports import Spare

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


#: The limits of the server, of the database and of the user, each with what counts for it; -1 is none.
_CONNECTIONS = """
    WITH open AS (
        SELECT usesysid, datid FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    )
    SELECT
        current_setting('max_connections')::int - CASE WHEN rolsuper THEN 0 ELSE
            current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true)::int, 0) END,
        (SELECT count(*) FROM open)::int,
        datconnlimit,
        (SELECT count(*) FROM open WHERE datid = pg_database.oid)::int,
        rolconnlimit,
        (SELECT count(*) FROM open WHERE usesysid = pg_roles.oid)::int,
        rolsuper
    FROM pg_roles, pg_database
    WHERE rolname = session_user AND datname = current_database()
"""


def spare_connections(link: Link, shown: str) -> Spare | None:
    """Return how many connections more the server takes of this user; None where a pooler is between."""
    if link.find_pooler():
        return None
    [(most, used, of_database, there, of_user, own, is_super)] = link.execute(
        _CONNECTIONS, (), LIMIT
    )
    limits = [(most - used, f"max_connections lets it take {most}")]
    if not is_super:  # for whom the other limits do not count
        if of_database >= 0:
            limits.append((of_database - there, f"the database takes {of_database}"))
        if of_user >= 0:
            limits.append((of_user - own, f"the user may have {of_user}"))
    left, limit = min(limits)
    return Spare(f"PostgreSQL at {shown}", left, limit)
