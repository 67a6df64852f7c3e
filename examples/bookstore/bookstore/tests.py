"""What holds for the project as a whole: `manage.py test --settings config.settings.test`."""

from django.core.management import call_command
from django.test import TestCase

from bookstore.taskapp import app


class ProjectTests(TestCase):
    """The app of tasks, and the tables."""

    def test_the_app_finds_the_tasks_of_all_apps(self) -> None:
        assert "bookstore.books.tasks.charge_user" in app.tasks
        assert "bookstore.chat.tasks.respond_to_message" in app.tasks

    def test_each_scheduled_task_is_known(self) -> None:
        # The article's schedule names none, which nobody would see before Monday.
        names = [entry["task"] for entry in app.conf.beat_schedule.values()]

        assert names
        assert [name for name in names if name not in app.tasks] == []

    def test_the_tables_are_as_the_models_say(self) -> None:
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)
