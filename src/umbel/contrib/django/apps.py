"""What stands in INSTALLED_APPS: ``"umbel.contrib.django"``. It adds checks and ``manage.py umbel``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from umbel.contrib.django.checks import check_umbel


class UmbelConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """The Django app. It has no models."""

    name = "umbel.contrib.django"
    label = "umbel"
    verbose_name = "umbel"

    def ready(self) -> None:
        """Let ``manage.py check`` and its kin look at umbel's settings too."""
        register(check_umbel, "umbel")
