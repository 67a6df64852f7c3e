"""The options of ``umbel schedule`` that say what an entry is, and what they mean."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import reduce
from typing import Any

import click

from umbel.cli.call import read_json
from umbel.exceptions import ImproperlyConfigured
from umbel.options import call_options
from umbel.schedules import BaseSchedule
from umbel.schedules.rules import CATCH_UP, rules_of
from umbel.schedules.written import schedule_of_data

Command = Callable[..., Any]

_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PART = r"(?:(\d+(?:\.\d+)?)\s*{}\s*)?"
_LENGTH = re.compile(r"(?=\d)" + "".join(map(_PART.format, _UNITS)))
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
#: Seconds of the longest one: a hundred years.
_LONGEST = 100 * 365.25 * 86400

WHEN = (
    click.option("--every", metavar="LENGTH", help="So often: 30s, 5m, 1h30m, 1d, 1w."),
    click.option("--crontab", metavar="LINE", help="At these times: '0 4 * * mon'."),
    click.option("--solar", metavar="EVENT,LAT,LON", help="By the sun: sunset,48.86,2.35."),
    click.option(
        "--at", metavar="TIME", help="Once, at an ISO 8601 time; without an offset, local."
    ),
    click.option("--aligned", is_flag=True, help="With --every: at full minutes, hours or days."),
)
WHAT = (
    click.option("-a", "--args", "args_text", help="Positional arguments as JSON: '[1, 2]'."),
    click.option("-k", "--kwargs", "kwargs_text", help="Keyword arguments as JSON."),
    click.option("--queue", help="Queue to put it on."),
    click.option("--priority", type=click.IntRange(0, 255), help="0 to 255."),
    click.option("--expires", metavar="LENGTH", help="Do not run it later than so long after."),
    click.option(
        "--catch-up",
        type=click.Choice(CATCH_UP),
        help="Which missed runs are made up for. Default: once, for all of them.",
    ),
    click.option("--deadline", metavar="LENGTH", help="How late a run may be."),
    click.option("--jitter", metavar="LENGTH", help="By how much, at most, runs are put off."),
    click.option(
        "--overlap/--no-overlap",
        default=None,
        help="Whether it runs while its last run has not ended. Default: it does.",
    ),
    click.option(
        "--option",
        "more",
        multiple=True,
        metavar="NAME=VALUE",
        help="Another option of the call, its value as JSON: time_limit=30. May be given again.",
    ),
)


def options(*declared: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Give a command options, in their order."""
    return lambda function: reduce(lambda made, one: one(made), reversed(declared), function)


def length(text: str, option: str) -> float:
    """Return a length of time in seconds. Raises BadParameter."""
    given = text.strip()
    found = _LENGTH.fullmatch(given)
    if found is not None:
        seconds = sum(
            float(part or 0) * unit
            for part, unit in zip(found.groups(), _UNITS.values(), strict=True)
        )
    elif _NUMBER.fullmatch(given):
        seconds = float(given)
    else:
        raise click.BadParameter(
            f"{text!r} is no length of time, such as 30s, 5m, 1h30m, 1d or 1w.", param_hint=option
        )
    if seconds > _LONGEST:
        raise click.BadParameter(f"{text!r} is more than a hundred years.", param_hint=option)
    return seconds


def schedule_data(
    zone: tzinfo,
    every: str | None,
    crontab: str | None,
    solar: str | None,
    at: str | None,
    aligned: bool,
) -> dict[str, Any] | None:
    """Return the schedule that options name, as it is stored; None if they name none. Raises UsageError."""
    named = {"--every": every, "--crontab": crontab, "--solar": solar, "--at": at}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} are two schedules. Give one.")
    if aligned and every is None:
        raise click.UsageError("--aligned goes with --every.")
    if not given:
        return None
    if every is not None:
        relative = {"relative": True} if aligned else {}
        data: dict[str, Any] = {"every": length(every, "--every"), **relative}
        if not data["every"]:
            raise click.BadParameter("It would run all the time.", param_hint="--every")
    elif crontab is not None:
        data = {"crontab": crontab}
    elif solar is not None:
        data = {"solar": _place(solar)}
    else:
        data = {"at": _moment(str(at), zone)}
    checked(data, given[0])
    return data


def checked(data: Mapping[str, Any], option: str = "") -> BaseSchedule:
    """Return the schedule that was stored. Raises BadParameter for one that cannot be."""
    try:
        return schedule_of_data(data)
    except (ImproperlyConfigured, ValueError) as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _option(text: str) -> tuple[str, Any]:
    """Return the name and the value of an option of the call; a text needs no quotes."""
    name, sign, value = text.partition("=")
    try:
        call_options({name: None} if sign else {}, "A call")
    except TypeError as error:
        raise click.BadParameter(str(error), param_hint="--option") from None
    if not sign:
        raise click.BadParameter(
            f"{text!r} is no option and value, such as time_limit=30.", param_hint="--option"
        )
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _place(text: str) -> list[Any]:
    event, *place = (part.strip() for part in text.split(","))
    try:
        latitude, longitude = map(float, place)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no event and place, such as sunset,48.86,2.35: latitude, then longitude.",
            param_hint="--solar",
        ) from None
    return [event, latitude, longitude]


def _moment(text: str, zone: tzinfo) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no ISO 8601 time, such as 2027-01-31T12:00.", param_hint="--at"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).isoformat()


def what(
    *,
    args_text: str | None,
    kwargs_text: str | None,
    queue: str | None,
    priority: int | None,
    expires: str | None,
    catch_up: str | None,
    deadline: str | None,
    jitter: str | None,
    overlap: bool | None,
    more: Sequence[str],
) -> dict[str, Any]:
    """Return the fields of an entry that options give, as they are stored. Raises BadParameter."""
    rules = {
        "catch_up": catch_up,
        "deadline": None if deadline is None else length(deadline, "--deadline"),
        "jitter": None if jitter is None else length(jitter, "--jitter"),
        "overlap": overlap,
    }
    rules_of(rules)
    call = {
        **dict(map(_option, more)),
        "queue": queue,
        "priority": priority,
        "expires": None if expires is None else length(expires, "--expires"),
    }
    fields = {
        "args": None if args_text is None else read_json(args_text, list, "--args"),
        "kwargs": None if kwargs_text is None else read_json(kwargs_text, dict, "--kwargs"),
        "options": {name: value for name, value in call.items() if value is not None} or None,
        **rules,
    }
    return {name: value for name, value in fields.items() if value is not None}
