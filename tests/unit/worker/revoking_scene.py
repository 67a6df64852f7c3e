"""What the tests of revoking share: a process that knows of revocations, and what it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.worker.support import consumer_of
from umbel import Umbel
from umbel.exceptions import OperationalError
from umbel.message import Delivery
from umbel.ports import FetchRequest, StateStore
from umbel.worker.execute import Runner
from umbel.worker.outcome import Job, Revoked
from umbel.worker.page import Page
from umbel.worker.revocations import Revocations


class Counted:
    """A state store that counts what it is asked, and may be silent."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self.asked: list[str] = []
        self.silent = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            self.asked.append(name)
            if self.silent:
                raise OperationalError("silent")
            return getattr(self._state, name)(*arguments)

        return ask


class Scene:
    def __init__(self, app: Umbel, monkeypatch: pytest.MonkeyPatch, told: bool = True) -> None:
        self.app = app
        self.task = app.task(name="t")(lambda: None)
        self.page = Page.private()
        self.known = Revocations(app, self.page)
        self.state = Counted(app.engines.state_store())
        monkeypatch.setattr(self.known, "_place", (self.state, told))
        self.consumer = consumer_of(app)
        self.runner = Runner(app, "host")

    def fetch(self) -> list[Delivery]:
        return self.consumer.fetch(FetchRequest(("celery",), 100), 0.0)

    def learn(self) -> dict[str, bool]:
        """Fetch, learn, and return of each id whether it may run."""
        fetched = self.fetch()
        self.known.learn(self.consumer.revocations, fetched)
        admitted = [self.known.admit(self.runner.prepare(one)) for one in fetched]
        assert all(isinstance(one.work, Job | Revoked) for one in admitted)
        return {one.call.id: isinstance(one.work, Job) for one in admitted if one.call is not None}

    def send(self, *names: str, **stamps: Any) -> None:
        for name in names:
            self.task.s().stamp(**stamps).apply_async(task_id=name)
