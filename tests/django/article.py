"""The Django code of an article for Celery's first users (November 2019), as it is printed there.

What the page lost of its text is filled in, and said beside it.
"""

from __future__ import annotations

#: The first example. The page lost the decorator, without which a function has no `delay`.
TWEETS = """
from celery import Celery

import requests

app = Celery()

@app.task
def send_tweet(username, content):
    raise NotImplementedError

if __name__ == '__main__':
    send_tweet.delay("wkulikowski1", "Nice haircut! 🔥")
"""

#: ``project_name/taskapp/__init__.py``. The page lost ``app_config.name``.
TASKAPP = """
import os

from django.apps import AppConfig, apps
from django.conf import settings

from celery import Celery

if not settings.configured:
    # set the default Django settings module for the 'celery' program.
    os.environ.setdefault(
        "DJANGO_SETTINGS_MODULE", "config.settings.local"
    )


app = Celery()


class CeleryConfig(AppConfig):
    name = "project_name.taskapp"
    verbose_name = "Celery Config"

    def ready(self):
        app.config_from_object("django.conf:settings", namespace="CELERY")
        installed_apps = [app_config.name for app_config in apps.get_app_configs()]
        app.autodiscover_tasks(lambda: installed_apps, force=True)
"""

#: The view that charges a user. It is printed with a serializer that it does not import, `AccountSerializer`.
VIEW = """
from rest_framework import mixins
from rest_framework import viewsets

from .models import Book
from .serializers import BookSerializer
from .payments import charge_user

class BookViewset(mixins.ListModelMixin,
                  mixins.RetrieveModelMixin,
                  viewsets.GenericViewSet):

    queryset = Book.objects.all()
    serializer_class = BookSerializer

    def retrieve(self, request, *args, **kwargs):
        charge_user.delay(request.user)
        return super().list(request, *args, **kwargs)
"""


#: What the article adds to `ready`, with the import that it does not print.
SCHEDULE = """
        from celery.schedules import crontab

        app.conf.beat_schedule = {
            "send_conversations_details": {
                "task": "",
                "schedule": crontab(day_of_week='monday', hour=0, minute=0),
            }
        }
"""


def written(text: str, framework: str) -> str:
    """Return the text of a file that imports a framework in Celery's place."""
    return text.replace("from celery", f"from {framework}")
