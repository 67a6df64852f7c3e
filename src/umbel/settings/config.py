"""What users see as ``app.conf``: attributes and items that may be read and written at any time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from umbel.absent import ABSENT, told_absent
from umbel.exceptions import ImproperlyConfigured
from umbel.masking import masked, masked_place
from umbel.options import warn_once
from umbel.settings.declare import Declared, Mistake, Within
from umbel.settings.table import TABLE, Settings, near_miss, spelling, unrelated

#: Letters of a wrong value that an error shows.
MOST_SHOWN = 200

#: Environment variables that count more than what the code says; the first one that is set counts.
ENVIRONMENT = {
    "broker_url": ("UMBEL_BROKER_URL", "CELERY_BROKER_URL"),
    "broker_read_url": ("UMBEL_BROKER_READ_URL", "CELERY_BROKER_READ_URL"),
    "broker_write_url": ("UMBEL_BROKER_WRITE_URL", "CELERY_BROKER_WRITE_URL"),
    "result_backend": ("UMBEL_RESULT_BACKEND", "CELERY_RESULT_BACKEND"),
}


class Rank(IntEnum):
    """Who said a value; the highest one counts, and of equals the last."""

    DEFAULT = 0
    ADDED = 1
    LOADED = 2
    GIVEN = 3
    WRITTEN = 4
    ENVIRONMENT = 5
    COMMAND_LINE = 6


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: who said it, and where, for people to read."""

    rank: Rank
    place: str


COMMAND_LINE = Origin(Rank.COMMAND_LINE, "the command line")
_DEFAULT = Origin(Rank.DEFAULT, "default")
_WRITTEN = Origin(Rank.WRITTEN, "app.conf")


class Config(MutableMapping[str, Any]):
    """The settings as users see them: ``conf.task_acks_late`` and ``conf["task_acks_late"]``.

    Every write is checked at once: a wrong value raises ImproperlyConfigured, and so does a name
    that is almost, but not quite, a known one. Other unknown names are kept for plugins unless
    ``strict_settings``.
    """

    _snapshot: Settings
    _other: dict[str, Any]
    _origins: dict[str, Origin]
    _pending: list[Callable[[], bool | None]]
    _sources: list[Callable[[], bool | None]]
    _loading: set[int]
    _lock: threading.RLock

    def __init__(
        self, initial: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.__dict__.update(_snapshot=Settings(), _other={}, _origins={})
        self.__dict__.update(_pending=[], _sources=[], _loading=set(), _lock=threading.RLock())
        self.load(initial or {}, Origin(Rank.GIVEN, "the app's constructor"))
        for name, variables in ENVIRONMENT.items():
            variable = next((variable for variable in variables if environment.get(variable)), None)
            if variable is not None:
                place = f"the environment variable {variable}"
                self.load({name: environment[variable]}, Origin(Rank.ENVIRONMENT, place))

    @property
    def snapshot(self) -> Settings:
        """The settings in force now, as a value that no later write changes."""
        own = self.__dict__  # asked for once, since attributes here cost more than elsewhere
        if own["_pending"]:
            self.finalize()
        found: Settings = own["_snapshot"]
        return found

    def finalize(self) -> Config:
        """Load what was put off until the settings are first read.

        What cannot be loaded raises its error again each time: nobody shall go on with the defaults.
        """
        # No lock is held meanwhile: another thread may be importing the same module, and read settings in
        # it. Two threads that load the same come to the same.
        thread = threading.get_ident()
        if (
            thread in self._loading
        ):  # what is being loaded reads settings itself: it gets those there are
            return self
        self._loading.add(thread)
        try:
            for load in iter(self._first_pending, None):
                if load() is False:
                    break
                with self._lock:
                    if self._first_pending() is load:  # else another thread was faster
                        del self._pending[0]
        finally:
            self._loading.discard(thread)
        return self

    def _first_pending(self) -> Callable[[], bool | None] | None:
        return next(iter(self._pending), None)

    def put_off(self, load: Callable[[], bool | None]) -> None:
        """Have something done before the settings are read the next time.

        `load` returns False where that cannot be done yet, and is asked again at the next read.
        """
        self._pending.append(load)

    def add_source(self, load: Callable[[], bool | None]) -> None:
        """Remember what loads settings, for `reread`."""
        self._sources.append(load)

    def reread(self) -> None:
        """Forget what was loaded from objects and modules, and load it anew when a setting is read."""
        if not self._sources:
            return
        self.finalize()
        for name, origin in list(self._origins.items()):
            if origin.rank is Rank.LOADED:
                del self[name]
        self._pending.extend(self._sources)

    # Writing

    def load(self, values: Mapping[str, Any], origin: Origin) -> None:
        """Take many settings. Raises one ImproperlyConfigured that tells all that is wrong with them."""
        wrong = []
        for name, value in values.items():
            try:
                self._write(name, value, origin)
            except ImproperlyConfigured as error:
                wrong.append(str(error))
        if len(wrong) == 1:
            raise ImproperlyConfigured(f"{wrong[0]} It comes from {origin.place}.")
        if wrong:
            listed = "".join(f"\n  - {text}" for text in wrong)
            raise ImproperlyConfigured(
                f"{len(wrong)} settings of {origin.place} are wrong:{listed}"
            )

    def add_defaults(self, values: Mapping[str, Any]) -> None:
        """Give defaults of one's own: they count where nothing else is said."""
        self.load(values, Origin(Rank.ADDED, "add_defaults"))

    def _write(self, name: str, value: Any, origin: Origin) -> None:
        known = spelling(name)
        if known is None:
            self._keep_unknown(name, value, origin)
            return
        row = TABLE[known]
        kept = _checked(row, name, value)
        with self._lock:
            if self._rank(known) > origin.rank:
                return
            if known == "strict_settings" and kept:
                for other in self._other:
                    self._refuse_strange(other, self._rank(other))
            self._origins[known] = origin
            self.__dict__["_snapshot"] = self._snapshot.replaced(known, kept)
            if known == "umbel_compat":
                self._take_defaults()
        if row.later and kept != row.default:
            warn_once(f"The setting {known} {row.later}.")
        if row.unused and kept != row.celery_default:
            warn_once(f"The setting {known} has no effect. {row.unused}")

    def _keep_unknown(self, name: str, value: Any, origin: Origin) -> None:
        # What is unrelated in a module was looked at when the module was read.
        looked_at = origin.rank is Rank.LOADED and unrelated(name)
        near = None if looked_at else near_miss(name)
        if near is not None:
            raise ImproperlyConfigured(f"There is no setting {name!r}. Did you mean {near!r}?")
        if self._snapshot.strict_settings:
            self._refuse_strange(name, origin.rank)
        if self._rank(name) <= origin.rank:
            self._other[name] = value
            self._origins[name] = origin

    def _refuse_strange(self, name: str, rank: Rank) -> None:
        """Refuse an unknown name, unless it stands among a module's settings for others."""
        if rank is not Rank.LOADED or not unrelated(name):
            raise ImproperlyConfigured(
                f"There is no setting {name!r}, and strict_settings allows none that umbel does not know."
                " Correct the name, or turn strict_settings off."
            )

    def _rank(self, name: str) -> Rank:
        return self._origins.get(name, _DEFAULT).rank

    def __setitem__(self, name: str, value: Any) -> None:
        self._write(name, value, _WRITTEN)

    def update(self, *mappings: Any, **values: Any) -> None:
        """Write many settings. Raises one ImproperlyConfigured that tells all that is wrong with them."""
        self.load(dict(*mappings, **values), _WRITTEN)

    def clear(self) -> None:
        """Take back everything that was said: all settings are the defaults again."""
        for name in self.changed():
            del self[name]

    def __delitem__(self, name: str) -> None:
        self.finalize()
        known = spelling(name)
        with self._lock:
            if known is None:
                del self._other[name]
            else:
                default = TABLE[known].fresh_default(self._snapshot.umbel_compat)
                self.__dict__["_snapshot"] = self._snapshot.replaced(known, default)
            self._origins.pop(known or name, None)
            if known == "umbel_compat":
                self._take_defaults()

    def _take_defaults(self) -> None:
        """Give what nobody wrote the defaults that ``umbel_compat`` wants."""
        changed = self._snapshot
        for name, row in TABLE.items():
            if row.differs and name not in self._origins:
                changed = changed.replaced(name, row.fresh_default(changed.umbel_compat))
        self.__dict__["_snapshot"] = changed

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    # Reading

    def __getitem__(self, name: str) -> Any:
        snapshot = self.snapshot
        known = spelling(name)
        if known is None:
            return self._other[name]
        value = getattr(snapshot, known)
        like = TABLE[known].like
        return getattr(snapshot, like) if value is None and like else value

    def __iter__(self) -> Iterator[str]:
        self.finalize()
        yield from TABLE
        yield from self._other

    def __len__(self) -> int:
        self.finalize()
        return len(TABLE) + len(self._other)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            absent = ABSENT["Config"].get(name)
            if absent:
                raise told_absent(type(self), name, absent) from None
            near = near_miss(name)
            hint = f" Did you mean {near!r}?" if near else ""
            raise AttributeError(f"There is no setting {name!r}.{hint}") from None

    def origin(self, name: str) -> Origin:
        """Return where the value of a setting came from."""
        self.finalize()
        return self._origins.get(spelling(name) or name, _DEFAULT)

    def changed(self) -> dict[str, Any]:
        """Return the settings that were written, with their values."""
        self.finalize()
        return {name: self[name] for name in (*TABLE, *self._other) if name in self._origins}

    def __repr__(self) -> str:
        return f"<Config: {len(self._origins)} settings changed>"

    # Celery's names

    def without_defaults(self) -> dict[str, Any]:
        """Return the settings that were written, with their values."""
        return self.changed()

    def value_set_for(self, key: str) -> bool:
        """Tell whether a setting was written."""
        return (spelling(key) or key) in self.changed()

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Return the settings that were written, or all; secrets are masked when `censored`."""
        shown = dict(self) if with_defaults else self.changed()
        return {
            name: masked(name, value) if censored else value
            for name, value in shown.items()
            if not name.startswith("_")
        }

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """Return the same as a text with a line for each setting."""
        shown = self.table(with_defaults, censored)
        return "\n".join(f"{name}: {value!r}" for name, value in shown.items())

    def first(self, *names: str) -> Any:
        """Return the first value of these settings that is not None."""
        return next((self[name] for name in names if self.get(name) is not None), None)

    def get_by_parts(self, *parts: str) -> Any:
        """Return a setting by the parts of its name: ``("worker", "concurrency")``."""
        return self["_".join(part for part in parts if part)]

    def find_option(self, name: str, namespace: str = "") -> tuple[str | None, str, Declared]:
        """Return the first word, the others and the declaration of the setting called so.

        The first word is `namespace` if there is such a setting, None where the setting has that name
        alone, else the first one by the alphabet. Raises KeyError when there is none.
        """
        wanted = name.lower()
        if wanted in TABLE:
            return None, wanted, TABLE[wanted]
        firsts = [known.partition("_")[0] for known in TABLE if known.partition("_")[2] == wanted]
        if not firsts:
            raise KeyError(name)
        first = min(firsts, key=lambda first: (first != namespace.lower(), first))
        return first, wanted, TABLE[f"{first}_{wanted}"]

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """Return the value of the setting that ends in `name`."""
        first, rest, _ = self.find_option(name, namespace)
        return self.get_by_parts(first or "", rest)


def _checked(row: Declared, written: str, value: Any) -> Any:
    try:
        return row.value(value)
    except (TypeError, ValueError, OverflowError) as error:
        name = row.name if written == row.name else f"{row.name} (written {written})"
        if isinstance(error, Within):
            raise ImproperlyConfigured(f"In the setting {name}: {error}") from None
        reason = f" {error}" if isinstance(error, Mistake) else ""
        raise ImproperlyConfigured(
            f"The setting {name} is {_shown(row, value)}, but must be {row.wanted}.{reason} {row.doc}"
        ) from None


def _shown(row: Declared, value: Any) -> str:
    """Return a wrong value for people to read, without its secrets and not too long."""
    holds_url = "url" in row.name or row.name == "result_backend"
    if holds_url and isinstance(value, str):
        shown = repr(masked_place(value))
    elif holds_url and value is not None:
        shown = f"of the type {type(value).__name__}"  # bytes may hold a password
    else:
        shown = repr(masked(row.name, value))
    return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."
