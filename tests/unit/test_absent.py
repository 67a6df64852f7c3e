"""What Celery has and umbel does not says so, by its name; and is absent all the same."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

import umbel
from tests.each import for_each
from umbel import Umbel
from umbel.absent import (
    ABSENT,
    ABSENT_FROM,
    ABSENT_MODULES,
    ABSENT_VARIABLES,
    NotThere,
    NotThereToImport,
    all_absent,
)
from umbel.amqp import AMQP
from umbel.backend import Backend
from umbel.connections import Channel, Connection
from umbel.control import Control
from umbel.entities import Exchange, Queue, binding
from umbel.exceptions import Retry
from umbel.log import Logging
from umbel.producers import Producer
from umbel.registry import Tasks
from umbel.result import ResultSet
from umbel.settings import Config
from umbel.signals import Signal
from umbel.topology import Queues

#: Those whose instances have other names than their class are asked in a test of their own.
KINDS = (
    *(Umbel, umbel.Task, umbel.AsyncResult, AMQP, Queues, Tasks, Backend, Logging, Signal, Retry),
    *(Connection, Channel, Producer, Queue, Exchange, binding, umbel.Signature, ResultSet),
    Control,
)


@pytest.fixture
def app() -> Umbel:
    return Umbel("proj", broker="memory://", backend="memory://")


def test_the_table_is_about_these_classes() -> None:
    assert set(ABSENT) == {kind.__name__ for kind in (*KINDS, Config)}


@for_each(("kind", "name"), [(kind, name) for kind in KINDS for name in ABSENT[kind.__name__]])
def test_a_name_that_is_missing_says_why(kind: Any, name: str) -> None:
    assert not hasattr(kind, name), f"{name} is there now: remove it from absent/classes.py"
    with pytest.raises(NotThere, match=rf"^{kind.__name__}\.{name} (is|has) ") as caught:
        getattr(kind, name)
    assert isinstance(caught.value, NotImplementedError)


@for_each("name", ABSENT["Config"])
def test_a_setting_that_is_missing_says_why(name: str) -> None:
    with pytest.raises(NotThere, match=rf"^Config\.{name} (is|has) "):
        getattr(Config(), name)


@for_each(("module", "name"), [(module, name) for module, of in ABSENT_FROM.items() for name in of])
def test_an_import_that_fails_says_why(module: str, name: str) -> None:
    with pytest.raises(NotThereToImport, match=rf"^{module}\.{name} (is|has) "):
        exec(f"from {module} import {name}")  # noqa: S102 - the statement is what is tested


@for_each("module", ABSENT_FROM)
def test_what_nobody_knows_is_missing_as_usual(module: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
        _ = import_module(module).nothing


def test_an_app_does_not_have_them_either(app: Umbel) -> None:
    assert [name for name in ABSENT["Umbel"] if hasattr(app, name)] == []


def test_instances_and_subclasses_may_have_it_after_all(app: Umbel) -> None:
    class Own(umbel.Task[..., Any]):
        def start_strategy(self) -> str:
            return "own"

    task: Any = app.task(base=Own)(lambda: None)
    assert task.start_strategy() == "own"
    with pytest.raises(NotThere, match="is part of Celery's worker from within"):
        task.Strategy()
    anything: Any = app
    anything.control = "own"
    assert anything.control == "own"


def test_every_reason_is_a_sentence_that_goes_on_with_the_name() -> None:
    for name, reason in (*all_absent(), *ABSENT_MODULES.items(), *ABSENT_VARIABLES.items()):
        assert reason.split()[0] in ("is", "has"), name
        assert not reason.endswith("."), name
