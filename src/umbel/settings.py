"""Every setting, declared once: its name, type, default, Celery's default, old names and meaning.

`Settings` is both the table and the snapshot that the rest of umbel reads: a frozen value. `Config`
is what users see as ``app.conf``: attributes and items that may be written at any time; a write is
checked and replaces the snapshot.
"""

# ruff: noqa: RUF009 - `setting` declares a field; no default is shared.

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta, tzinfo
from typing import Any, Literal, NewType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from umbel.exceptions import ImproperlyConfigured
from umbel.options import checked_policy, warn_once
from umbel.serialization_settings import SerializationSettings, setting

#: Seconds that a setting may be at most, some 300 years: sums of times must stay times.
_MOST_SECONDS = 1e10


Executor = Literal["prefork", "solo"]
Durability = Literal["full", "normal"]
PublishRetries = NewType("PublishRetries", dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Settings(SerializationSettings):
    """The settings in force at one moment."""

    # Brokers and stores
    broker_url: str | None = setting(
        None,
        "Where messages are kept, for example sqlite:////var/lib/shop/umbel.db. None: the SQLite"
        " file of the project.",
        old=("BROKER_URL", "BROKER_HOST"),
    )
    broker_transport_options: dict[str, Any] = setting(
        {}, "Options of the broker's engine.", old=("BROKER_TRANSPORT_OPTIONS",)
    )
    result_backend: str | None = setting(
        None,
        "Where results are kept. None: no results when broker_url is set, else the SQLite file of"
        " the project. disabled:// turns results off.",
        old=("CELERY_RESULT_BACKEND",),
    )
    result_backend_transport_options: dict[str, Any] = setting(
        {},
        "Options of the result store's engine.",
        old=("CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",),
    )
    data_dir: str | None = setting(
        None,
        "Directory of the default SQLite file. None: .umbel beside the nearest pyproject.toml or"
        " manage.py above the app's module, else beside the module. UMBEL_DATA_DIR"
        " overrides it.",
    )
    sqlite_durability: Durability = setting(
        "full",
        "full: a publish or settle returns after its data is on disk. normal: faster; survives the"
        " death of any process, but a power cut may take back the last moments.",
    )
    broker_publish_timeout: float = setting(
        5.0, "Seconds after which a publish that cannot reach the broker raises OperationalError."
    )

    # Messages
    enable_utc: bool = setting(
        True,
        "Times in messages are in UTC.",
        old=("CELERY_ENABLE_UTC",),
        yet="has no effect yet: every time in a message says its offset",
    )
    timezone: str | None = setting(
        None, "The app's time zone by its IANA name. None: UTC.", old=("CELERY_TIMEZONE",)
    )

    # Modules
    imports: tuple[str, ...] = setting(
        (), "Modules that a worker imports when it starts.", old=("CELERY_IMPORTS",)
    )
    include: tuple[str, ...] = setting(
        (), "More modules to import, after imports.", old=("CELERY_INCLUDE",)
    )

    # Queues
    task_default_queue: str = setting(
        "celery", "The queue of tasks that name none.", old=("CELERY_DEFAULT_QUEUE",)
    )
    task_default_priority: int | None = setting(
        None,
        "Priority of messages that name none, 0 to 255; higher is more urgent.",
        old=("CELERY_DEFAULT_PRIORITY",),
    )
    task_routes: Any = setting(
        None, "Which task goes to which queue, by name or pattern.", old=("CELERY_ROUTES",)
    )

    # Tasks
    task_acks_late: bool = setting(
        True,
        "Acknowledge a message after its task ran (at least once), not before (at most once).",
        old=("CELERY_ACKS_LATE",),
        celery=False,
        why="A worker that dies must not take its tasks with it.",
    )
    task_reject_on_worker_lost: bool = setting(
        True,
        "Run a task again when the process that ran it died.",
        old=("CELERY_REJECT_ON_WORKER_LOST",),
        celery=None,
        why="A worker that dies must not take its tasks with it; worker_max_deliveries bounds the"
        " tries.",
    )
    task_ignore_result: bool = setting(False, "Store no results.", old=("CELERY_IGNORE_RESULT",))
    task_store_errors_even_if_ignored: bool = setting(
        False,
        "Store failures even of tasks whose results are ignored.",
        old=("CELERY_STORE_ERRORS_EVEN_IF_IGNORED",),
    )
    task_track_started: bool = setting(
        False, "Store the state STARTED when a task starts.", old=("CELERY_TRACK_STARTED",)
    )
    task_publish_retry: bool = setting(
        True,
        "Try again when the broker cannot be reached, up to broker_publish_timeout.",
        old=("CELERY_TASK_PUBLISH_RETRY",),
    )
    task_publish_retry_policy: PublishRetries = setting(
        {"max_retries": None, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        "How often, and after how many seconds, a publish is tried again; max_retries None: as often"
        " as broker_publish_timeout allows.",
        old=("CELERY_TASK_PUBLISH_RETRY_POLICY",),
        celery={"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        why="A broker that restarts refuses four tries within a second.",
    )
    task_time_limit: float | None = setting(
        None,
        "Seconds after which a task is killed.",
        old=("CELERYD_TASK_TIME_LIMIT",),
        yet="is not enforced yet: tasks run as long as they like",
    )
    task_soft_time_limit: float | None = setting(
        None,
        "Seconds after which SoftTimeLimitExceeded is raised in a task.",
        old=("CELERYD_TASK_SOFT_TIME_LIMIT",),
        yet="is not enforced yet: tasks run as long as they like",
    )
    task_default_rate_limit: Any = setting(
        None,
        "How many tasks of a kind may start in a time, such as 10/m.",
        old=("CELERY_DEFAULT_RATE_LIMIT",),
        yet="is not enforced yet: tasks start as fast as they can",
    )
    task_always_eager: bool = setting(
        False,
        "Run tasks where they are called instead of sending them.",
        old=("CELERY_ALWAYS_EAGER",),
        yet="has no effect yet: calls are sent to the broker",
    )

    # Results
    result_expires: float | None = setting(
        86400.0,
        "Seconds that results are kept; None keeps them for ever.",
        old=("CELERY_TASK_RESULT_EXPIRES",),
    )

    # The worker
    worker_concurrency: int | None = setting(
        None, "Number of child processes. None: one for each CPU.", old=("CELERYD_CONCURRENCY",)
    )
    worker_pool: Executor = setting(
        "prefork",
        "What runs the tasks: prefork (child processes) or solo (the worker process itself).",
        old=("CELERYD_POOL",),
    )
    worker_prefetch_multiplier: int = setting(
        0,
        "Most messages that a child holds at a time; 0 leaves it to the measured length of tasks.",
        old=("CELERYD_PREFETCH_MULTIPLIER",),
        celery=4,
        why="The worker holds what it can run in a few tens of milliseconds, no more.",
    )
    worker_max_tasks_per_child: int | None = setting(
        None,
        "How many tasks a child process runs before a new one takes its place.",
        old=("CELERYD_MAX_TASKS_PER_CHILD",),
        yet="is not enforced yet: children live as long as the worker",
    )
    worker_max_memory_per_child: int | None = setting(
        None,
        "Kilobytes of memory at which a new child process takes the place of one.",
        old=("CELERYD_MAX_MEMORY_PER_CHILD",),
        yet="is not enforced yet: children live as long as the worker",
    )
    worker_lease_ttl: float = setting(
        15.0,
        "Seconds after which the leases of a node that no longer renews them are taken over.",
    )
    worker_max_deliveries: int = setting(
        3, "How many processes may die running a message before it is dead-lettered."
    )
    worker_dead_letter_expires: float | None = setting(
        7 * 86400.0, "Seconds that dead letters are kept; None keeps them for ever."
    )
    worker_log_format: str = setting(
        "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
        "Format of the worker's log lines.",
        old=("CELERYD_LOG_FORMAT",),
    )
    worker_hijack_root_logger: bool = setting(
        True,
        "Let the worker command set up the root logger.",
        old=("CELERYD_HIJACK_ROOT_LOGGER",),
    )

    # How wrong settings are taken
    strict_settings: bool = setting(
        False, "Raise for unknown settings instead of keeping them for plugins."
    )


@dataclass(frozen=True, slots=True)
class Declared:
    """One row of the table."""

    name: str
    type: Any
    default: Any
    celery_default: Any
    doc: str
    why: str
    old_names: tuple[str, ...]
    yet: str


def _declared() -> dict[str, Declared]:
    hints = typing.get_type_hints(Settings)
    defaults = Settings()
    return {
        entry.name: Declared(
            entry.name,
            hints[entry.name],
            getattr(defaults, entry.name),
            *(entry.metadata[key] for key in ("celery", "doc", "why", "old", "yet")),
        )
        for entry in fields(Settings)
    }


TABLE: Mapping[str, Declared] = types.MappingProxyType(_declared())
_OLD_NAMES = {old: row.name for row in TABLE.values() for old in row.old_names}


def spelling(name: str) -> str | None:
    """Return the declared name meant by `name` in any of its spellings, or None."""
    if name in TABLE:
        return name
    return _OLD_NAMES.get(name) or (
        name.lower() if name.isupper() and name.lower() in TABLE else None
    )


def _coerce(name: str, kind: Any, value: Any, instead: str = "") -> Any:
    """Return `value` as the setting's type, or raise ImproperlyConfigured.

    `instead` tells what the setting takes beside that type.
    """
    if kind is Any:
        return value
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        kind = next(option for option in options if option is not type(None))
        return _coerce(name, kind, value, ", or None" if type(None) in options else "")
    if origin is Literal:
        if value in options:
            return value
        raise _wrong(name, value, "one of " + ", ".join(map(repr, options)))
    convert, description = _CONVERSIONS[origin or kind]
    try:
        return convert(value)
    except (TypeError, ValueError):
        raise _wrong(name, value, description + instead) from None


def _wrong(name: str, value: Any, description: str) -> ImproperlyConfigured:
    secret = "url" in name or name == "result_backend"
    shown = "a value of the wrong type" if secret else repr(value)
    return ImproperlyConfigured(
        f"The setting {name} is {shown}, but must be {description}. {TABLE[name].doc}"
    )


def _unknown(name: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"There is no setting {name!r}, and strict_settings allows none that umbel does not know."
    )


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    raise ValueError


def _to_int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _to_seconds(value: Any) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool):
        raise ValueError
    seconds = float(value)
    if not 0 <= seconds <= _MOST_SECONDS:  # NaN is refused too
        raise ValueError
    return seconds


def _to_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _to_texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(_to_text(part) for part in value)


_CONVERSIONS: dict[Any, tuple[Callable[[Any], Any], str]] = {
    bool: (_to_bool, "True or False"),
    int: (_to_int, "a whole number"),
    float: (_to_seconds, "a number of seconds or a timedelta, of 300 years at most"),
    str: (_to_text, "a text"),
    tuple: (_to_texts, "a list of texts"),
    dict: (dict, "a mapping"),
    PublishRetries: (checked_policy, "a mapping with max_retries, interval_start and so on"),
}


class Config(MutableMapping[str, Any]):
    """The settings as users see them: ``conf.task_acks_late`` and ``conf["task_acks_late"]``.

    Every write is checked at once: a wrong value raises ImproperlyConfigured, and so does a name
    that is almost, but not quite, a known one. Other unknown names are kept for plugins unless
    ``strict_settings``.
    """

    _snapshot: Settings
    _other: dict[str, Any]
    _changed: set[str]

    def __init__(self, initial: Mapping[str, Any] | None = None) -> None:
        self.__dict__.update(_snapshot=Settings(), _other={}, _changed=set())
        self.update(initial or {})

    @property
    def snapshot(self) -> Settings:
        """The settings in force now, as a value that no later write changes."""
        return self._snapshot

    def __setitem__(self, name: str, value: Any) -> None:
        known = spelling(name)
        if known is None:
            self._keep_unknown(name, value)
            return
        row = TABLE[known]
        if value is None and row.celery_default is None:
            value = row.default  # None is Celery's way to say "as by default" here
        changed = replace(self._snapshot, **{known: _coerce(known, row.type, value)})
        if changed.strict_settings and self._other:
            raise _unknown(next(iter(self._other)))
        self.__dict__["_snapshot"] = changed
        self._changed.add(known)
        if row.yet and getattr(changed, known) != row.default:
            warn_once(f"The setting {known} {row.yet}.")

    def _keep_unknown(self, name: str, value: Any) -> None:
        near = difflib.get_close_matches(name.lower(), TABLE, n=1, cutoff=0.6)
        if near and _distance(name.lower(), near[0]) <= 2:
            raise ImproperlyConfigured(f"There is no setting {name!r}. Did you mean {near[0]!r}?")
        if self._snapshot.strict_settings:
            raise _unknown(name)
        self._other[name] = value

    def __getitem__(self, name: str) -> Any:
        known = spelling(name)
        if known is not None:
            return getattr(self._snapshot, known)
        return self._other[name]

    def __delitem__(self, name: str) -> None:
        known = spelling(name)
        if known is None:
            del self._other[name]
        else:
            row = TABLE[known]
            default = _coerce(known, row.type, row.default)  # a copy where it is a mapping
            self.__dict__["_snapshot"] = replace(self._snapshot, **{known: default})
            self._changed.discard(known)

    def __iter__(self) -> Iterator[str]:
        yield from TABLE
        yield from self._other

    def __len__(self) -> int:
        return len(TABLE) + len(self._other)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            near = difflib.get_close_matches(name.lower(), TABLE, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"There is no setting {name!r}.{hint}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def changed(self) -> dict[str, Any]:
        """Return the settings that were written, with their values."""
        return {name: self[name] for name in TABLE if name in self._changed} | self._other

    def __repr__(self) -> str:
        return f"<Config: {len(self._changed) + len(self._other)} settings changed>"


def _distance(one: str, other: str) -> int:
    """Return how many insertions, deletions and substitutions lie between two texts."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


def zone(settings: Settings) -> tzinfo:
    """Return the app's time zone. Raises ImproperlyConfigured for a name that does not exist."""
    name = settings.timezone or "UTC"
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory, such as Europe
        raise ImproperlyConfigured(
            f"The setting timezone is {name!r}, which is no IANA time zone (for example"
            " Europe/Paris)."
        ) from None
