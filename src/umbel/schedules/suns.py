"""At events of the sun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from umbel.exceptions import ImproperlyConfigured
from umbel.localtimes import aware
from umbel.schedules.base import BaseSchedule


@dataclass(frozen=True, slots=True)
class _Event:
    """What to ask ephem for: the sun's centre, or its upper edge, passes a height above the horizon."""

    method: str
    horizon: str
    center: bool = False


def _events() -> Mapping[str, _Event]:
    heights = {"civil": "-6", "nautical": "-12", "astronomical": "-18"}
    twilights = {
        f"{name}_{kind}": _Event(method, height, center=True)
        for name, method in (("dawn", "next_rising"), ("dusk", "next_setting"))
        for kind, height in heights.items()
    }
    # The air lifts the sun by 34 minutes of arc, so it is seen before it is there.
    return {
        **twilights,
        "sunrise": _Event("next_rising", "-0:34"),
        "solar_noon": _Event("next_transit", "0"),
        "sunset": _Event("next_setting", "-0:34"),
    }


_EVENTS = _events()


class solar(BaseSchedule):
    """At an event of the sun, as seen from a latitude and a longitude in degrees, north and east positive.

    The events: ``dawn_astronomical``, ``dawn_nautical``, ``dawn_civil``, ``sunrise``, ``solar_noon``,
    ``sunset``, ``dusk_civil``, ``dusk_nautical``, ``dusk_astronomical``. Where there is no such event for a
    time, as in summer beyond the polar circle, it is due at the next one after that. Needs ``umbel[solar]``.

    Raises ImproperlyConfigured when the package ephem is not there, ValueError for an unknown event, or a
    place that is not on Earth.
    """

    _all_events = frozenset(_EVENTS)  # Celery's name, by which packages compare theirs
    #: For how many days an event is looked for that does not happen every day.
    max_search_days = 366

    def __init__(self, event: str, lat: float, lon: float, **kwargs: Any) -> None:
        self.ephem: Any = _ephem()
        self.event = event
        self.lat = lat
        self.lon = lon
        super().__init__(**kwargs)
        if event not in _EVENTS:
            raise ValueError(
                f"There is no event {event!r} of the sun. There are: {', '.join(sorted(_EVENTS))}."
            )
        for name, value, most in (("latitude", lat, 90), ("longitude", lon, 180)):
            if not -most <= value <= most:
                raise ValueError(f"The {name} is {value!r}, but must be from {-most} to {most}.")
        self.method = _EVENTS[event].method
        self.use_center = _EVENTS[event].center
        self.cal = self._observer()

    def _observer(self) -> Any:
        """Return a new observer at the place: one is changed by what it is asked."""
        observer = self.ephem.Observer()
        observer.lat = str(self.lat)
        observer.lon = str(self.lon)
        observer.elev = 0
        observer.horizon = _EVENTS[self.event].horizon
        observer.pressure = 0
        return observer

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the next event after a moment; None when there is none for `max_search_days`."""
        sun, observer = self.ephem.Sun(), self._observer()
        start = self.ephem.Date(aware(moment).replace(tzinfo=None))
        center = {"use_center": True} if self.use_center else {}
        for _ in range(self.max_search_days):
            try:
                found = getattr(observer, self.method)(sun, start=start, **center)
            except self.ephem.CircumpolarError:
                start = observer.next_antitransit(sun, start=start)  # the next night
            else:
                event: datetime = found.datetime()
                return event.replace(tzinfo=UTC).astimezone(self.tz)
        return None

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it takes from now until the next event after the last run."""
        found = self.next_after(last_run_at)
        # None does not say that there is never one again, so it is looked for again.
        until = found or aware(last_run_at) + timedelta(days=self.max_search_days)
        return until - aware(self.now())

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, solar):
            return (other.event, other.lat, other.lon) == (self.event, self.lat, self.lon)
        return NotImplemented

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.event, self.lat, self.lon)


def _ephem() -> Any:
    try:
        return import_module("ephem")
    except ImportError:
        raise ImproperlyConfigured(
            "Schedules by the sun need the package ephem, which is not installed: pip install 'umbel[solar]'"
        ) from None
