"""How a setting is declared: one line that says its kind, its default and what it means.

``task_acks_late = flag(True, "…", celery=False, why="…")`` in a class makes a `Declared` row of the
table. To type checkers it is the value itself, so that `Settings` needs no second declaration.
"""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast, overload
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from umbel.checks import RATE, is_rate
from umbel.exceptions import ImproperlyConfigured
from umbel.policies import checked_policy
from umbel.serialization import serializer
from umbel.settings.transport import checked_options

T = TypeVar("T")

#: Seconds that a setting may be at most, some 300 years: sums of times must stay times.
MOST_SECONDS = 1e10

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0", ""})

#: How Celery's old name of a setting begins where its new name begins so; else it is the name in upper case.
OLD_PREFIXES = {
    "arangodb_": "CELERY_ARANGODB_",
    "beat_": "CELERYBEAT_",
    "cache_": "CELERY_CACHE_",
    "couchbase_": "CELERY_COUCHBASE_",
    "elasticsearch_": "CELERY_ELASTICSEARCH_",
    "event_": "CELERY_EVENT_",
    "mongodb_": "CELERY_MONGODB_",
    "redis_": "CELERY_REDIS_",
    "result_": "CELERY_RESULT_",
    "security_": "CELERY_SECURITY_",
    "task_": "CELERY_",
    "worker_": "CELERYD_",
}


class Mistake(ValueError):
    """A value is wrong, and the text says more of it than the kind of its setting can."""


class Within(Mistake):
    """The value is of the right kind, and something in it is wrong, which the text says."""


class Facts(TypedDict, total=False):
    """What else a declaration may say.

    `old` is Celery's old name where the rule does not give it. `celery` is Celery's default where it
    differs, and `why` the reason. `ours` says that Celery has no such setting. `later` says what is
    missing where a setting is accepted and not heeded yet, `unused` why it never will be. `like` names
    the setting whose value stands for None.
    """

    old: str
    celery: Any
    why: str
    ours: bool
    later: str
    unused: str
    like: str


@dataclass(slots=True)
class Declared:
    """One row of the table of settings."""

    convert: Callable[[Any], Any]
    kind: str
    default: Any
    doc: str
    facts: Facts
    none: bool = False
    name: str = ""
    group: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.group = (owner.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def celery_default(self) -> Any:
        """Celery's default; None where Celery has no such setting."""
        return None if self.ours else self.facts.get("celery", self.default)

    @property
    def ours(self) -> bool:
        """True when Celery has no such setting."""
        return self.facts.get("ours", False)

    @property
    def why(self) -> str:
        """Why the default differs from Celery's."""
        return self.facts.get("why", "")

    @property
    def later(self) -> str:
        """What is missing where the setting is accepted and not heeded yet."""
        return self.facts.get("later", "")

    @property
    def unused(self) -> str:
        """Why the setting has no meaning here."""
        return self.facts.get("unused", "")

    @property
    def like(self) -> str | None:
        """The setting whose value is read where this one is None."""
        return self.facts.get("like")

    @property
    def differs(self) -> bool:
        """True when the default is another one than Celery's."""
        return not self.ours and self.celery_default != self.default

    @property
    def old_name(self) -> str | None:
        """Celery's old name of the setting, in upper case."""
        if self.ours:
            return None
        given = self.facts.get("old")
        if given is not None:
            return given
        for prefix, old in OLD_PREFIXES.items():
            if self.name.startswith(prefix):
                return old + self.name.removeprefix(prefix).upper()
        return self.name.upper()

    def fresh_default(self, compat: str = "umbel") -> Any:
        """Return the default, or Celery's with `compat` "celery", as a copy that its user may change."""
        if compat == "celery" and self.differs:
            unsaid = self.celery_default is None and isinstance(self.default, bool)
            return False if unsaid else copy.copy(self.celery_default)
        return copy.copy(self.default)

    def value(self, given: Any) -> Any:
        """Return what is given as the setting's type. Raises TypeError or ValueError if it is not."""
        if given is None:
            if self.none:
                return None
            if not self.ours and self.celery_default is None:
                return self.fresh_default()  # None is Celery's way to say "as by default" here
        return self.convert(given)

    @property
    def wanted(self) -> str:
        """What the setting must be, in words."""
        return f"{self.kind}, or None" if self.none else self.kind


class Kind(Generic[T]):
    """A type of settings. Calling it declares a setting of that type."""

    def __init__(
        self, convert: Callable[[Any], T], description: str, *, empty_is_none: bool = False
    ) -> None:
        self._convert = convert
        self._description = description
        self._empty_is_none = empty_is_none

    @overload
    def __call__(self, default: None, doc: str, **facts: Unpack[Facts]) -> T | None: ...
    @overload
    def __call__(self, default: T, doc: str, **facts: Unpack[Facts]) -> T: ...
    def __call__(self, default: T | None, doc: str, **facts: Unpack[Facts]) -> T | None:
        """Declare a setting; with the default None it may be None."""
        return self._declared(default, doc, facts, default is None)

    def or_none(self, default: T, doc: str, **facts: Unpack[Facts]) -> T | None:
        """Declare a setting that may be None, which is not its default."""
        return self._declared(default, doc, facts, True)

    def _declared(self, default: T | None, doc: str, facts: Facts, none: bool) -> T:
        convert: Callable[[Any], T | None] = self._convert
        if self._empty_is_none and none:
            convert = self._convert_or_none
        row = Declared(convert, self._description, default, doc, facts, none)
        return cast("T", row)

    def _convert_or_none(self, value: Any) -> T | None:
        """Take an empty text, as of a variable that is not set, for None."""
        return None if value == "" else self._convert(value)


def to_bool(value: Any) -> bool:
    """Return a truth value, also of such words as yes and off. Raises ValueError for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    if type(value) is int and value in (0, 1):
        return bool(value)
    raise ValueError


def _to_int(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    number = int(value)
    if not isinstance(value, str) and number != value:  # 1.5, as a float, Decimal or Fraction
        raise ValueError
    return number


def _to_natural(value: Any) -> int:
    number = _to_int(value)
    if number < 0:
        raise ValueError
    return number


def _to_number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if number != number:  # noqa: PLR0124 - NaN
        raise ValueError
    return number


def _to_seconds(value: Any) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    seconds = _to_number(value)
    if not 0 <= seconds <= MOST_SECONDS:
        raise ValueError
    return seconds


def _to_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _to_path(value: Any) -> str:
    return _to_text(os.fspath(value))


def _to_texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, Collection) or isinstance(value, Mapping):
        raise TypeError
    return tuple(_to_text(part) for part in value)


def _to_mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):  # dict() would also take a list of texts of two letters
        raise TypeError
    return dict(value)


def _to_retries(value: Any) -> dict[str, Any]:
    try:
        return checked_policy(_to_mapping(value))
    except (TypeError, ValueError) as error:
        raise Mistake(str(error)) from None


def _to_transport(value: Any) -> dict[str, Any]:
    given = _to_mapping(value)
    try:
        return checked_options(given)
    except ValueError as error:
        raise Within(str(error)) from None


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9+-]*")
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*(\+[A-Za-z]+://.*|://.*)?")


def _to_url(value: Any) -> str:
    """Take one URL, or several as a list or separated by semicolons: a list of alternatives."""
    if isinstance(value, list | tuple):
        return ";".join(_to_url(part) for part in value)
    if not _URL.match(_to_text(value)):
        raise Mistake("It does not begin with a scheme, such as sqlite:// or redis://.")
    return str(value)


def _to_store(value: Any) -> str:
    """Take a URL, a word alone, which names an engine (``disabled``, ``django-db``), or where a class is."""
    if isinstance(value, str) and (_WORD.fullmatch(value) or _CLASS.fullmatch(value)):
        return value
    return _to_url(value)


def _to_zone(value: Any) -> str:
    """Take the name of a time zone, or a ZoneInfo, and return the name."""
    name = _to_text(getattr(value, "key", value))
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory, such as Europe
        raise ValueError from None
    return name


def _to_serializer(value: Any) -> str:
    try:
        return serializer(_to_text(value)).name
    except ImproperlyConfigured as error:
        raise Mistake(f"{error} Others are made known by umbel.serialization.register.") from None


def _to_format(value: Any) -> str:
    """Take a serializer or a content type that is not used for writing."""
    return value if "/" in _to_text(value) else _to_serializer(value)


def _to_formats(value: Any) -> tuple[str, ...]:
    return tuple(_to_format(part) for part in _to_texts(value))


def _to_priority(value: Any) -> int:
    number = _to_int(value)
    if not 0 <= number <= 255:
        raise ValueError
    return number


def _to_protocol(value: Any) -> int:
    number = _to_int(value)
    if number not in (1, 2):
        raise ValueError
    return number


def _to_rate(value: Any) -> str | float:
    if not is_rate(value):
        raise ValueError
    found: str | float = value
    return found


def _to_log_format(value: Any) -> str:
    try:
        logging.Formatter(_to_text(value))
    except ValueError as error:
        raise Mistake(f"It cannot be the format of a log line: {error}.") from None
    return str(value)


flag = Kind(to_bool, "True or False")
whole = Kind(_to_int, "a whole number")
natural = Kind(_to_natural, "a whole number, 0 or more")
number = Kind(_to_number, "a number")
seconds = Kind(
    _to_seconds, "a number of seconds, such as 300, or a timedelta, of 300 years at most"
)
priority = Kind(_to_priority, "a whole number from 0 to 255")
rate = Kind(_to_rate, RATE)
protocol = Kind(_to_protocol, "1 or 2")
text = Kind(_to_text, "a text")
path = Kind(_to_path, "a path, as a text or a Path")
log_format = Kind(_to_log_format, "a format of logging, such as '%(levelname)s %(message)s'")
texts = Kind(_to_texts, "a list of texts")
url = Kind(_to_url, "a URL, or a list of URLs", empty_is_none=True)
store = Kind(_to_store, "a URL, a list of URLs, or a class as module:Class", empty_is_none=True)
zone_name = Kind(
    _to_zone, "the name of an IANA time zone, such as Europe/Paris", empty_is_none=True
)
serializer_name = Kind(_to_serializer, "the name of a serializer")
format_name = Kind(_to_format, "the name of a serializer")
format_names = Kind(_to_formats, "a list of serializers' names or content types")
mapping = Kind(_to_mapping, "a mapping, such as a dict")
transport = Kind(_to_transport, "a mapping, such as a dict")
retries = Kind(_to_retries, "a mapping with max_retries, interval_start and so on")
anything = Kind[Any](lambda value: value, "any value")


def choice(*options: str) -> Kind[str]:
    """Return the kind of a setting that is one of some texts."""

    def convert(value: Any) -> str:
        for option in options:
            if _to_text(value).lower() == option.lower():
                return option
        raise ValueError

    return Kind(convert, "one of " + ", ".join(map(repr, options)))


def unused(default: Any, why: str, *, old: str | None = None) -> Any:
    """Declare a setting of Celery's that means nothing here, with Celery's default and why."""
    facts: Facts = {"unused": why}
    if old is not None:
        facts["old"] = old
    return anything.or_none(default, "", **facts)
