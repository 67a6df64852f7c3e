"""The versions of umbel's tables: which there are, which a database has, and bringing it up to date.

Each version is a folder of scripts in ``versions/``, which are run in the order of their names, all new
versions in one transaction. A lock of the database lets two who migrate at once do it one after the other.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from umbel.engines.postgres.address import Address
from umbel.engines.postgres.errors import NOT_ALLOWED, TAKEN, forbidden, foreign, missing, sqlstate
from umbel.engines.postgres.link import Link
from umbel.exceptions import ImproperlyConfigured, OperationalError

logger = logging.getLogger("umbel.postgres")

#: The version that this umbel needs.
VERSION = 2
#: The oldest umbel's version that works with these tables.
OLDEST = 2
#: Seconds that a migration may take: it may wait for a running one.
PATIENCE = 600.0
#: The oldest PostgreSQL that has all that the functions use.
OLDEST_SERVER = 130000
#: Seconds that a look takes at most.
LOOK = 5.0
#: The names of what a script makes.
_MADE = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (\w+)", re.MULTILINE)


class Migrations:
    """The tables in one schema of one database."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._schema = address.quoted

    def check(self, link: Link) -> None:
        """Raise ImproperlyConfigured unless the tables can be used; make them where there are none.

        Only a schema without any tables of umbel's is touched, and only if the options allow it.
        """
        found = self._version(link)
        if found is None and self._address.create_tables:
            self.migrate(link)
            return
        problem = self._problem(found)
        if problem is not None:
            raise ImproperlyConfigured(problem)

    def problem(self, link: Link) -> str | None:
        """Return why the tables cannot be used as they are, or not be made; nothing is made."""
        try:
            found = self._version(link)
            if found is None and self._address.create_tables:
                return self._unmakeable(link)
        except ImproperlyConfigured as error:
            return str(error)
        return self._problem(found)

    def _unmakeable(self, link: Link) -> str | None:
        """Return why the tables, of which none are there, cannot be made."""
        self._check_server(link)
        names = [name for script in _scripts(1) for name in _MADE.findall(script)]
        found = link.execute(
            "SELECT relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = %s AND relname = ANY (%s::text[]) ORDER BY relname",
            (self._address.schema, names),
            LOOK,
        )
        if found:
            made = self._version(link)
            if made is not None:  # by somebody else, since this began to look
                return self._problem(made)
            raise self._foreign(", ".join(name for (name,) in found))
        if not self._may_make(link):
            return forbidden(self._address.shown, self._address.schema)
        return None

    def _may_make(self, link: Link) -> bool:
        """Tell whether this user may make tables. Where not, they would become temporary ones."""
        [(allowed,)] = link.execute(
            "SELECT CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')"
            " ELSE has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE') END"
            " FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace n ON nspname = %s",
            (self._address.schema,),
            LOOK,
        )
        return bool(allowed)

    def _problem(self, found: tuple[int, int] | None) -> str | None:
        shown, schema = self._address.shown, self._address.schema
        if found is None:
            return missing(shown, schema, "none are there")
        version, oldest = found
        if version < VERSION:
            return (
                f"The tables of umbel in the schema {schema!r} of {shown} have version {version}, and this"
                f" umbel needs {VERSION}. Run: umbel -A APP migrate"
            )
        if oldest > VERSION:
            return (
                f"The tables of umbel in the schema {schema!r} of {shown} have version {version}, which"
                f" needs a newer umbel: this one knows {VERSION}. Upgrade umbel here."
            )
        return None

    def _version(self, link: Link) -> tuple[int, int] | None:
        """Return the version that is there, and the oldest that works with it; None where there is none.

        Raises ImproperlyConfigured where another program has such a table.
        """
        # Not by to_regclass, which remembers what was not there when this transaction began.
        found = link.execute(
            "SELECT relkind = 'r' AND 2 = (SELECT count(*) FROM pg_catalog.pg_attribute"
            " WHERE attrelid = pg_class.oid AND attname IN ('version', 'oldest')"
            " AND atttypid = 'pg_catalog.int4'::regtype)"
            " FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = %s AND relname = 'migration'",
            (self._address.schema,),
            LOOK,
        )
        if not found:
            return None
        if not found[0][0]:
            raise self._foreign("one is called migration")
        [(version, oldest)] = link.execute(
            f"SELECT max(version), max(oldest) FROM {self._schema}.migration",  # noqa: S608 - quoted
            (),
            LOOK,
        )
        return None if version is None else (version, oldest)

    def migrate(self, link: Link) -> list[int]:
        """Bring the tables up to date, in one transaction; return the versions that were new.

        Raises ImproperlyConfigured for a server that umbel cannot use, tables of a newer umbel or of
        another program, and a user who may not make any.
        """
        self._check_server(link)
        with self._transaction(link), self._knowing_why():
            # Whoever comes second waits here, and finds it done.
            link.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('umbel migrate ' || %s, 0))",
                (self._address.schema,),
                PATIENCE,
            )
            found = self._version(link)
            if found is not None and found[1] > VERSION:
                raise ImproperlyConfigured(str(self._problem(found)))
            have = 0 if found is None else found[0]
            new = list(range(have + 1, VERSION + 1))
            if new and not self._may_make(link):
                raise ImproperlyConfigured(forbidden(self._address.shown, self._address.schema))
            if new:
                self._run(link, new)
        if new:
            logger.info(
                "The tables of umbel in the schema %r of %s have version %d now.",
                self._address.schema,
                self._address.shown,
                VERSION,
            )
        return new

    @contextmanager
    def _knowing_why(self) -> Iterator[None]:
        """Raise ImproperlyConfigured for what waiting will not mend."""
        try:
            yield
        except OperationalError as error:
            shown, schema = self._address.shown, self._address.schema
            if sqlstate(error) in TAKEN:
                raise self._foreign(str(error.__cause__).splitlines()[0]) from error
            if sqlstate(error) == NOT_ALLOWED:
                raise ImproperlyConfigured(forbidden(shown, schema)) from error
            raise

    def _foreign(self, detail: str) -> ImproperlyConfigured:
        return ImproperlyConfigured(foreign(self._address.shown, self._address.schema, detail))

    def _run(self, link: Link, versions: list[int]) -> None:
        found = link.execute(
            "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s",
            (self._address.schema,),
            LOOK,
        )
        if not found:  # so that who may not make schemas can use one that somebody else made
            link.execute_script(f"CREATE SCHEMA {self._schema}", LOOK)
        # Functions keep the path that they are made with.
        link.execute_script(f"SET LOCAL search_path TO {self._schema}, pg_temp", LOOK)
        link.execute_script(_TABLE, LOOK)
        for version in versions:
            for script in _scripts(version):
                link.execute_script(script, PATIENCE)
            link.execute(
                "INSERT INTO migration (version, oldest) VALUES (%s, %s)", (version, OLDEST), LOOK
            )

    @contextmanager
    def _transaction(self, link: Link) -> Iterator[None]:
        link.execute_script("BEGIN ISOLATION LEVEL READ COMMITTED", LOOK)
        try:
            yield
        except BaseException:
            link.close()  # which undoes all of it
            raise
        link.execute_script("COMMIT", PATIENCE)

    def _check_server(self, link: Link) -> None:
        [(version, encoding)] = link.execute(
            "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')",
            (),
            LOOK,
        )
        if version < OLDEST_SERVER:
            raise ImproperlyConfigured(
                f"PostgreSQL at {self._address.shown} is version {version // 10000}, and umbel needs"
                f" {OLDEST_SERVER // 10000} or later."
            )
        if encoding != "UTF8":
            raise ImproperlyConfigured(
                f"The database at {self._address.shown} has the encoding {encoding}, and umbel needs UTF8:"
                " createdb --encoding=UTF8 --template=template0 NAME."
            )


_TABLE = """
CREATE TABLE IF NOT EXISTS migration (
    version integer PRIMARY KEY,
    oldest integer NOT NULL,
    applied timestamptz NOT NULL DEFAULT now()
)
"""


def _scripts(version: int) -> list[str]:
    """Return the scripts of a version, in their order."""
    folder = files(__package__).joinpath("versions", f"{version:04}")
    names = sorted(one.name for one in folder.iterdir() if one.name.endswith(".sql"))
    return [folder.joinpath(name).read_text("utf-8") for name in names]
