"""The contract of result stores, kept over a key-value backend of Celery's kind.

Such a backend has its own expiry for all results, and reads and writes documents by itself: what is about the
expiry of one result, or about documents as texts, is not its matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.backends.kept import PLACES, Mapped
from umbel import Umbel
from umbel.backends.store import BackendEngine, BackendStore
from umbel.clock import unique_id
from umbel.ports import ResultStore, ResultSubscription
from umbel.records import ResultRecord
from umbel.testing import conformance
from umbel.testing.conformance.support import record


def as_written(found: dict[str, ResultRecord]) -> dict[str, ResultRecord]:
    """Return records with the suite's text of the documents, as far as that says something."""
    return {
        name: replace(
            one,
            document=record(name, one.state, text=str((one.meta or {})["result"] or "")).document,
            meta=None,
        )
        for name, one in found.items()
    }


class Subscription(ResultSubscription):
    """A subscription whose documents are texts."""

    def __init__(self, inner: ResultSubscription) -> None:
        self.add, self.discard, self.close = inner.add, inner.discard, inner.close  # type: ignore[method-assign]
        self.interrupt, self._inner = inner.interrupt, inner  # type: ignore[method-assign]

    def add(self, task_ids: Any, timeout: float | None = None) -> None: ...
    def discard(self, task_ids: Any) -> None: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...
    def receive(self, timeout: float) -> dict[str, ResultRecord]:
        return as_written(self._inner.receive(timeout))


class Texts(BackendStore):
    """The store, with documents that the suite can compare."""

    def get(self, task_ids: Any, timeout: float | None = None) -> dict[str, ResultRecord]:
        return as_written(super().get(task_ids, timeout))

    def subscribe(self) -> ResultSubscription:
        inner = BackendStore.__new__(BackendStore)
        inner.__dict__.update(self.__dict__)
        return Subscription(inner.subscribe())


class Engine(BackendEngine):
    @property
    def results(self) -> ResultStore:
        store = Texts.__new__(Texts)
        store.__dict__.update(super().results.__dict__)
        return store


@pytest.fixture
def engine_factory() -> Iterator[conformance.EngineFactory]:
    place = unique_id()
    app = Umbel("proj", broker="memory://", set_as_current=False)
    with conformance.factory(lambda: Engine(Mapped, app, place, place)) as make:
        yield make
    PLACES.pop(place, None)


class TestResultStore(conformance.ResultStoreContract):
    test_a_result_is_read_as_it_was_stored = None  # type: ignore[assignment]  # a failure is an exception here
    test_a_result_that_is_no_text_is_read_as_it_was_stored = None  # type: ignore[assignment]
    test_an_expiry_is_kept_with_the_result = None  # type: ignore[assignment]
    test_a_success_that_expired_is_replaced_by_anything = None  # type: ignore[assignment]
    test_an_expired_result_is_not_returned = None  # type: ignore[assignment]
    test_cleaning_up_deletes_what_expired = None  # type: ignore[assignment]


class TestResultSubscription(conformance.ResultSubscriptionContract):
    test_what_is_received_as_final_can_be_listened_for_again = None  # type: ignore[assignment]  # its texts are of a failure
