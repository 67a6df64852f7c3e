"""How what is given to a signature later joins what it has: Celery's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Options that stay as they are once a signature has them: its group waits for it under that id, and stamps
#: belong together.
_LASTING = frozenset({"group_id", "stamped_headers"})


def merged_options(own: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with more of them, which count more, but for those that stay as they are."""
    lasting = _LASTING.union(own.get("stamped_headers") or ())
    given = {name: value for name, value in more.items() if name not in lasting or name not in own}
    return {**own, **given}


def merged_arguments(
    own_args: Sequence[Any],
    own_kwargs: Mapping[str, Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return arguments with more in front of them, and keywords with others in their place."""
    return (
        (*args, *own_args) if args else own_args,
        {**own_kwargs, **kwargs} if kwargs else own_kwargs,
    )
