"""How workflows are shown: as Celery shows them."""

from __future__ import annotations

from typing import Any


def shown(task: str, text: str) -> str:
    """Return a text in which the module of a task's name stands once; a name may have none."""
    module, dot, _ = str(task).rpartition(".")
    if not dot:
        return text
    head, found, rest = text.partition(f"{module}.")
    return head + found + rest.replace(f"{module}.", "") if found else text


def shortened(value: Any, most: int = 100) -> str:
    """Return the text of a value, without the end of a long one."""
    text = repr(value)
    return f"{text[:most].rsplit(' ', 1)[0]}..." if len(text) >= most else text


def shown_chain(tasks: Any, otherwise: str) -> str:
    """Return the text of calls that run one after the other."""
    return shown(tasks[0]["task"], " | ".join(repr(task) for task in tasks)) if tasks else otherwise


def shown_chord(header: Any, body: Any) -> str:
    """Return the text of a chord: its body, as if it were called with the header."""
    if not body:
        return f"<chord without body: {header!r}>"
    if body.get("subtask_type") != "chain":
        return "%" + shown(body["task"], body.reprcall(header))
    first, *rest = body.tasks
    after = shown_chain(rest, "<_chain: empty>")
    return shown(first["task"], f"%({first.reprcall(header)} | {after})")
