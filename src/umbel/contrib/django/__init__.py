"""Django's side of umbel: its class of tasks, and an app for INSTALLED_APPS with checks and a command.

Tasks have what `DjangoTask` adds without this being installed: an app that is made where
``DJANGO_SETTINGS_MODULE`` is set makes them so.
"""

from umbel.contrib.django.task import DjangoTask, shared_task

__all__ = ["DjangoTask", "shared_task"]
