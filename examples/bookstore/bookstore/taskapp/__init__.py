"""The app of tasks, as the article has it; what its page lost is filled in."""

import os

from django.apps import AppConfig, apps
from django.conf import settings

from umbel import Celery
from umbel.schedules import crontab

if not settings.configured:
    # set the default Django settings module for the 'celery' program.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")


app = Celery()


class CeleryConfig(AppConfig):
    name = "bookstore.taskapp"
    verbose_name = "Celery Config"

    def ready(self):
        app.config_from_object("django.conf:settings", namespace="CELERY")
        installed_apps = [app_config.name for app_config in apps.get_app_configs()]
        app.autodiscover_tasks(lambda: installed_apps, force=True)

        app.conf.beat_schedule = {
            "send_conversations_details": {
                "task": "bookstore.chat.tasks.send_conversations_details",
                "schedule": crontab(day_of_week="monday", hour=0, minute=0),
            }
        }
