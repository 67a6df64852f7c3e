"""Pages that are made from the code when the documentation is built: the settings, and how they differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from umbel.absent import ABSENT_MODULES, ABSENT_VARIABLES, all_absent
from umbel.alias.finder import FINDER, NoSuchModule
from umbel.alias.table import TABLE as ALIASES
from umbel.settings import TABLE
from umbel.settings.declare import Declared


def generate(directory: Path) -> None:
    """Write all of them into a directory; files that would not change stay as they are."""
    directory.mkdir(exist_ok=True)
    pages = {
        "settings": settings(),
        "defaults": defaults(),
        "unused": unused(),
        "later": later(),
        "absent": absent(all_absent()),
        "modules": absent((f"celery.{name}", why) for name, why in ABSENT_MODULES.items()),
        "alias": alias(),
        "variables": absent(ABSENT_VARIABLES.items()),
    }
    for name, lines in pages.items():
        path = directory / f"{name}.md"
        text = "\n".join(lines) + "\n"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def settings() -> Iterator[str]:
    """Yield the reference of all settings that mean something, by subject."""
    rows = [row for row in TABLE.values() if not row.unused]
    for group, members in itertools.groupby(rows, key=lambda row: row.group):
        yield f"## {group}\n"
        for row in members:
            yield from _entry(row)


def _entry(row: Declared) -> Iterator[str]:
    yield f"(setting-{row.name})="
    yield f"`{row.name}`\n: {row.doc}"
    facts = [f"Default: {_shown(row.default)}."]
    facts.append(f"Must be {row.wanted}.")
    if row.ours:
        facts.append("Celery has no such setting.")
    elif row.differs:
        facts.append(f"Celery's default: {_shown(row.celery_default)}. {row.why}")
    if row.later:
        facts.append(f"**It {row.later}.**")
    old = row.old_name
    if old is not None and old != row.name.upper():
        facts.append(f"Old name: `{old}`.")
    yield f"\n  {' '.join(facts)}\n"


def defaults() -> Iterator[str]:
    """Yield the table of defaults that differ from Celery's."""
    yield "| Setting | Default | Celery's default | Why |"
    yield "| --- | --- | --- | --- |"
    for row in TABLE.values():
        if row.differs and not row.unused:
            shown = (_shown(row.default), _shown(row.celery_default))
            yield f"| [`{row.name}`](#setting-{row.name}) | {shown[0]} | {shown[1]} | {row.why} |"


def unused() -> Iterator[str]:
    """Yield the list of Celery's settings that have no meaning here."""
    rows = [row for row in TABLE.values() if row.unused]
    for reason, members in itertools.groupby(rows, key=lambda row: row.unused):
        yield f"{', '.join(f'`{row.name}`' for row in members)}\n: {reason}\n"


def later() -> Iterator[str]:
    """Yield the list of settings that are accepted and not heeded yet."""
    rows = sorted((row for row in TABLE.values() if row.later), key=lambda row: row.later)
    for reason, members in itertools.groupby(rows, key=lambda row: row.later):
        names = ", ".join(f"[`{row.name}`](#setting-{row.name})" for row in members)
        yield f"{reason[0].upper()}{reason[1:]}\n: {names}\n"


def alias() -> Iterator[str]:
    """Yield what can be imported under Celery's names, and which module of umbel it is."""
    yield "| name | is |\n| --- | --- |"
    for name in ALIASES:
        try:
            target = FINDER.target_of(name).name
        except NoSuchModule:
            continue
        yield f"| `{name}` | `{target}` |"


def absent(missing: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a list of names of Celery's that are missing, by the reason."""
    rows = sorted(missing, key=lambda row: row[1])
    for reason, members in itertools.groupby(rows, key=lambda row: row[1]):
        names = ", ".join(f"`{name.removeprefix('umbel.')}`" for name, _ in members)
        yield f"{names}\n: {reason[0].upper()}{reason[1:]}.\n"


def _shown(value: Any) -> str:
    return f"`{value!r}`".replace("|", r"\|")
