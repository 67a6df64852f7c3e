"""``kombu.utils.json``: JSON with the types that messages carry, such as dates and UUIDs."""

from __future__ import annotations

import json
from typing import Any

from umbel.exceptions import EncodeError
from umbel.serialization import JSON, loads, register_type
from umbel.serialization import dumps as _dumps

__all__ = ["JSONEncoder", "dumps", "loads", "register_type"]


class JSONEncoder(json.JSONEncoder):
    """Writes the types that messages carry in ``json.dumps(value, cls=JSONEncoder)``."""

    def default(self, o: Any) -> Any:
        """Return a form of a value that JSON knows. Raises TypeError when there is none."""
        try:
            return json.loads(JSON.dumps(o))
        except EncodeError as error:
            raise TypeError(str(error)) from error


def dumps(value: Any, cls: type[json.JSONEncoder] = JSONEncoder, **options: Any) -> str:
    """Return a value as JSON. `options` are those of `json.dumps`.

    Raises TypeError for what JSON cannot carry, as kombu and the standard library do.
    """
    if options or cls is not JSONEncoder:
        return json.dumps(value, cls=cls, **options)
    try:
        return _dumps(value)
    except EncodeError as error:
        raise TypeError(str(error)) from error
