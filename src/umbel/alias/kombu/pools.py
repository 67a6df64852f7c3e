"""``kombu.pools``: connections that are kept for later; umbel's engines keep their own."""

from __future__ import annotations

from umbel.alias.packages import attributes_of
from umbel.current import current_app_or_none


def reset(*_: object, **__: object) -> None:
    """Close the current app's connections; they are opened again when used."""
    app = current_app_or_none()
    if app is not None:
        app.close()


__getattr__ = attributes_of("kombu.pools")
