"""Connections, channels and producers, as Celery's users know them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel import Umbel
from umbel.clock import unique_id
from umbel.exceptions import OperationalError
from umbel.ports import Broker


class Away(Umbel):
    """An app whose broker does not answer the first times."""

    failures = 0

    @property
    def broker(self) -> Broker:
        if self.failures:
            self.failures -= 1
            raise OperationalError("The broker is away.")
        return super().broker


@pytest.fixture
def app() -> Away:
    app = Away("proj", broker=f"memory://{unique_id()}", clock=ManualClock())
    app.task(name="t")(lambda x: x)
    return app


def test_a_broker_that_is_there(app: Away) -> None:
    with app.connection_for_write() as connection:
        assert connection.ensure_connection(max_retries=0) is connection
        assert connection.connected
    assert connection.clone().connected
    assert app.connection().as_uri() == app.broker_url
    assert app.pool.acquire(block=True).connected


def test_a_broker_that_comes_late_is_waited_for(app: Away) -> None:
    app.failures = 3
    told: list[tuple[str, float]] = []
    connection = app.connection_for_read().ensure_connection(
        lambda error, pause: told.append((str(error), pause)),
        interval_start=1,
        interval_step=2,
        interval_max=4,
    )
    assert told == [("The broker is away.", pause) for pause in (1, 3, 4)]
    assert connection.connected


def test_a_broker_that_stays_away(app: Away) -> None:
    app.failures = 9
    assert not app.connection().connected
    with pytest.raises(OperationalError, match="The broker is away"):
        app.connection().ensure_connection(max_retries=2)
    assert app.failures == 5


def test_the_password_of_a_url_is_not_shown() -> None:
    app = Umbel("proj", broker="memory://user:secret@here", set_as_current=False)
    assert "secret" not in app.connection().as_uri()
    assert "secret" not in repr(app.connection())
    assert app.connection().as_uri(include_password=True) == "memory://user:secret@here"


def test_queues_are_counted_and_purged(app: Away) -> None:
    for number in range(3):
        app.send_task("t", (number,), queue="video")
    channel = app.connection().default_channel
    assert channel.queue_declare(queue="video", passive=True).message_count == 3
    assert channel.queue_declare("other") == ("other", 0, 0)
    assert channel.queue_purge("video") == 3
    assert channel.queue_declare("video").message_count == 0


def test_a_connection_to_another_broker_is_refused(app: Away) -> None:
    assert app.connection_for_read(app.broker_url).connected
    with pytest.raises(ValueError, match="memory://other is none of this app's"):
        app.connection_for_read("memory://other")


def test_what_is_given_is_passed_on_and_else_made(app: Away) -> None:
    own: Any = object()
    with app.producer_or_acquire(own) as producer, app.connection_or_acquire(own) as connection:
        assert producer is connection is own
    with app.producer_or_acquire() as producer:
        assert app.tasks["t"].apply_async((1,), producer=producer).id
        assert producer.connection.connected
    with app.producer_pool.acquire() as producer, pytest.raises(NotImplementedError):
        producer.publish({})


def test_closing_the_pool_closes_what_the_app_has_open(app: Away) -> None:
    first = app.broker
    app.pool.force_close_all()
    assert app.broker is not first
