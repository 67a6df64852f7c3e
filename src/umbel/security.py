"""Signed messages for an app: ``app.setup_security``, and Celery's function of that name.

How bodies are signed is in `umbel.signing`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from umbel import current, serialization, signing
from umbel.exceptions import ImproperlyConfigured
from umbel.serialization import SIGNED

if TYPE_CHECKING:
    from umbel.app import Umbel


def setup_app_security(  # noqa: PLR0913, PLR0917 - Celery's signature
    app: Umbel,
    allowed_serializers: Collection[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
) -> None:
    """Let messages be signed, and read only signed ones, in this whole process (the serializer ``auth``).

    What is not given here is read from the settings ``security_…``. Bodies are written by `serializer`;
    other ones that are `allowed_serializers` are read as well. Raises ImproperlyConfigured when something
    is missing, SecurityError for a key or a certificate that cannot be used.
    """
    settings = app.conf.snapshot
    accepted = serialization.content_types(settings.accept_content)
    if settings.task_serializer != "auth" or accepted != {SIGNED.content_type}:
        raise ImproperlyConfigured(
            'Signed messages need task_serializer = "auth" and accept_content = ["auth"]: signing is of'
            " no use where what is not signed is accepted too."
        )
    paths = {
        "security_key": key or settings.security_key or "",
        "security_certificate": cert or settings.security_certificate or "",
        "security_cert_store": store or settings.security_cert_store or "",
    }
    missing = [name for name, path in paths.items() if not path]
    if missing:
        raise ImproperlyConfigured(f"Signed messages need the settings {', '.join(missing)}.")
    password = key_password or settings.security_key_password
    key, cert, store = map(os.fspath, paths.values())
    files = signing.Files(key, cert, store, password)
    allowed = tuple(allowed_serializers or ())
    signing.setup(files, digest or settings.security_digest, serializer, allowed, app.clock.time)
    serialization.disable_insecure_serializers((*(allowed or ("json",)), "auth"))


def setup_security(  # noqa: PLR0913, PLR0917 - Celery's signature
    allowed_serializers: Collection[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
    app: Umbel | None = None,
) -> None:
    """Let messages of an app, the current one by default, be signed; see `setup_app_security`.

    Raises RuntimeError when no app was ever made.
    """
    app = app or current.get_current_app()
    setup_app_security(app, allowed_serializers, key, key_password, cert, store, digest, serializer)
