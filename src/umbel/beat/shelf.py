"""Celery's file of last runs, ``celerybeat-schedule``, whose runs are taken over when umbel's beat begins.

The file is a shelf: a database of pickles, which may run any code when they are read. Here every name in them
stands for an inert object, but for those of times; so nothing is imported and nothing is called.
"""

from __future__ import annotations

import dbm
import io
import pickle
import platform
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from umbel.beat.runs import Runs
from umbel.beat.store import Store
from umbel.localtimes import aware
from umbel.loggers import get_logger

logger = get_logger(__name__)

#: What follows the name in the names of a shelf's files, whichever module of dbm made it.
SUFFIXES = ("", ".db", ".dat")
#: Larger files than this are not read.
MOST_BYTES = 64 * 1024 * 1024
#: Where a pickled entry has its name, its last run and their number (`ScheduleEntry.__reduce__`).
NAME, LAST_RUN, COUNT = 0, 2, 3


class _Inert(tzinfo):
    """Stands for anything that a pickle makes: it takes all arguments, and does nothing with them."""

    args: tuple[Any, ...] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        made = super().__new__(cls)
        made.args = args
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args

    def __setstate__(self, state: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Do nothing, for those that are lists."""

    extend = append

    def __setitem__(self, key: object, value: object) -> None:
        """Do nothing, for those that are mappings."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Know nothing, for those that are time zones."""
        return None

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        """Have no name."""
        return "?"


def _zone(key: Any = "UTC", *args: object) -> tzinfo:
    return ZoneInfo(key) if isinstance(key, str) else UTC


#: All that is not inert.
_KNOWN: Mapping[tuple[str, str], Any] = {
    ("datetime", "datetime"): datetime,
    ("datetime", "timedelta"): timedelta,
    ("datetime", "timezone"): timezone,
    ("zoneinfo", "ZoneInfo"): _zone,
    ("zoneinfo", "ZoneInfo._unpickle"): _zone,
    ("zoneinfo._zoneinfo", "ZoneInfo._unpickle"): _zone,
}


class _Unpickler(pickle.Unpickler):
    """Imports nothing: see this module's head."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        if name == "getattr":  # how some name ZoneInfo's method
            return lambda owner, attribute: owner if owner is _zone else _Inert
        return _KNOWN.get((module, name), _Inert)

    def persistent_load(self, pid: object) -> Any:
        """Stand for what is kept elsewhere."""
        return _Inert()


def take_over(
    filename: str,
    store: Store,
    names: Collection[str],
    keep: Callable[[dict[str, Runs]], dict[str, str]],
) -> dict[str, str]:
    """Have `keep` store the last runs that Celery's file has of entries of these names: once for each file.

    Return what it returns. A file that cannot be read is left as it is, with a warning. Who dies while it
    stores them does it again.
    """
    path = Path(filename).absolute()
    found = [Path(f"{path}{suffix}") for suffix in SUFFIXES]
    sizes = [one.stat().st_size for one in found if one.is_file()]
    if not sizes or not names or store.state.get(store.files_kind, _place(path)):
        return {}
    try:
        if max(sizes) > MOST_BYTES:
            raise ValueError(f"it has {max(sizes)} bytes")
        entries = read(path)
    except Exception as error:  # noqa: BLE001 - a database of any kind, and pickles of any content
        logger.warning(
            "The last runs that Celery's beat kept in %s are not taken over: %s", path, error
        )
        return {}
    runs = {name: one for name, one in entries.items() if name in names}
    kept = keep(runs)
    store.state.put(store.files_kind, _place(path), "taken over")
    logger.warning(
        "Took over from %s, a file of Celery's beat, when %d of its %d entries ran last. It is not needed any"
        " more.",
        path,
        len(runs),
        len(entries),
    )
    return kept


def _place(path: Path) -> str:
    return f"{platform.node()}:{path}"


def read(path: Path) -> dict[str, Runs]:
    """Return the last runs by entry. Raises what the database and its content raise."""
    with dbm.open(str(path), "r") as database:
        raw = database[b"entries"]
    entries = _Unpickler(io.BytesIO(raw)).load()
    if not isinstance(entries, dict):
        raise TypeError(f"its entries are of the type {type(entries).__name__}")
    found = {}
    for entry in entries.values():
        fields = entry.args if isinstance(entry, _Inert) else ()
        if len(fields) > COUNT:
            name, last, count = fields[NAME], fields[LAST_RUN], fields[COUNT]
            if isinstance(name, str) and isinstance(last, datetime):
                number = count if isinstance(count, int) else 0
                moment = aware(last).timestamp()
                found[name] = Runs(last=moment, sent=moment, count=number)
    return found
