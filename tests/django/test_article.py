"""The article's code as it is printed, ``from celery import`` included: it runs where umbel is celery."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.django import article
from tests.django.support import SOURCE, make_project, run

PACKAGES = SOURCE.parent / "packages" / "umbel-as-celery" / "src"
PATH = {"PYTHONPATH": os.pathsep.join(map(str, (PACKAGES, SOURCE)))}

PROJECT = """
import json, sys
from project_name.taskapp import app
import django

django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from project_name.books.models import Book
from umbel.beat import check

call_command("migrate", run_syncdb=True, verbosity=0)
get_user_model().objects.create(username="ada")
try:
    Client().get(f"/article/{Book.objects.create(title='Dune').pk}/")
except Exception as error:
    said = str(error)
Client().get("/books/1/")
(message,) = app.queues.peek("books", 10)
print(json.dumps([
    [type(app).__module__, sys.modules["celery"].__name__],
    "charge" in app.tasks,
    said,
    message.message.headers["task"],
    [[problem.entry, problem.text] for problem in check(app)],
    repr(app.conf.beat_schedule["send_conversations_details"]["schedule"]),
]))
"""
TWEETS = """
import json, tweets
from umbel.testing import run_pending

print(json.dumps([[ran.name, ran.state, repr(ran.result)] for ran in run_pending(tweets.app)]))
"""


def told(project: Path, *words: str) -> Any:
    return json.loads(run(project, *words, variables=PATH).splitlines()[-1])


def test_the_first_example(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (project / "tweets.py").write_text(article.TWEETS, "utf-8")
    (project / "requests.py").touch()  # it is imported, and not used
    run(project, "tweets.py", variables=PATH)
    assert told(project, "-c", TWEETS) == [
        ["tweets.send_tweet", "FAILURE", "NotImplementedError()"]
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    project = make_project(tmp_path_factory.mktemp("printed"), "celery")
    taskapp = project / "project_name" / "taskapp" / "__init__.py"
    taskapp.write_text(article.TASKAPP + article.SCHEDULE)
    return told(project, "-c", PROJECT)


def test_the_projects_configuration(found: Any) -> None:
    (app, celery), discovered, *_ = found
    assert (app, celery) == ("umbel.app", "umbel.alias.celery")
    assert discovered


def test_the_view(found: Any) -> None:
    """As printed it gives the user where the user's key is meant; with that corrected, it charges."""
    _, _, said, task, *_ = found
    assert "argument 'user' cannot be sent as json: it is a User. Pass its primary key" in said
    assert task == "charge_user"


def test_the_schedule(found: Any) -> None:
    *_, problems, schedule = found
    assert schedule == "<crontab: 0 0 * * monday (m/h/dM/MY/d)>"
    ((name, text),) = problems
    assert name == "send_conversations_details"
    assert "has '' as its task, so nothing would run" in text
