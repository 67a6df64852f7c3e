"""Connections, channels and producers, as Celery's users know them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.conftest import ManualClock
from tests.redis_servers import free_port
from umbel import Umbel
from umbel.clock import unique_id
from umbel.exceptions import OperationalError, Unroutable
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


@pytest.mark.parametrize(
    ("timeout", "pauses"), [(0, []), (1, [1]), (5, [2, 3]), (6.5, [2, 4, 0.5])]
)
def test_a_broker_is_waited_for_no_longer_than_wanted(
    app: Away, timeout: float, pauses: list[float]
) -> None:
    app.failures = 9
    told: list[float] = []
    with pytest.raises(OperationalError, match="The broker is away"):
        app.connection().ensure_connection(lambda _, pause: told.append(pause), timeout=timeout)
    assert told == pauses


def test_a_dead_server_is_waited_for_no_longer_than_wanted() -> None:
    """It used to be waited for for ever, whatever the timeout."""
    app = Umbel("proj", broker=f"redis://127.0.0.1:{free_port()}", set_as_current=False)
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1"):
        app.connection().ensure_connection(interval_start=0.01, timeout=0.05)


def test_whoever_waits_is_called_each_second_and_may_give_up(app: Away, clock: ManualClock) -> None:
    app.failures, app.clock = 9, clock
    times: list[float] = []

    def stopped() -> None:
        times.append(clock.now)
        if len(times) == 4:
            raise KeyboardInterrupt

    begin = clock.now
    with pytest.raises(KeyboardInterrupt):
        app.connection().ensure_connection(
            interval_start=2.5, callback=stopped, reraise_as_library_errors=False
        )
    assert [moment - begin for moment in times] == [0, 1, 2, 2.5]


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
    assert app.connection(hostname=app.broker_url).connected
    with pytest.raises(ValueError, match=r"redis://:\*+@other is none of this app's"):
        app.connection(hostname="redis://:secret@other")


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        *((name, "broker_url") for name in ("userid", "password", "virtual_host", "transport")),
        ("ssl", "broker_use_ssl"),
    ],
)
def test_an_option_that_leads_elsewhere_is_refused(app: Away, option: str, setting: str) -> None:
    given: dict[str, Any] = {option: None}
    assert app.connection(**given).connected
    with pytest.raises(ValueError, match=f"takes no {option}, .* the setting {setting}") as caught:
        app.connection_for_read(**given | {option: "secret"})
    assert "'secret'" not in str(caught.value)


def test_an_option_without_a_meaning_says_so_once(
    app: Away, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        app.connection(connect_timeout=2, heartbeat=10, login_method=None)
    for name in ("connect_timeout", "heartbeat"):
        assert caplog.text.count(f"The option {name} of a connection has no effect") == 1
    assert "login_method" not in caplog.text


@pytest.mark.parametrize(
    ("call", "wrong", "meant"),
    [
        (lambda app: app.connection().ensure_connection, "max_retires", "max_retries"),
        (lambda app: app.connection_for_read, "hostnam", "hostname"),
        (lambda app: app.connection_for_write, "conect_timeout", "connect_timeout"),
        (lambda app: app.connection_or_acquire, "pol", "pool"),
        (lambda app: partial(app.connection().channel().queue_declare, "q"), "pasive", "passive"),
        (lambda app: partial(app.connection().channel().queue_purge, "q"), "nowiat", "nowait"),
    ],
)
def test_an_unknown_option_is_refused(app: Away, call: Any, wrong: str, meant: str) -> None:
    with pytest.raises(TypeError, match=rf"has no option '{wrong}'\. Did you mean '{meant}'\?"):
        call(app)(**{wrong: 1})


def test_what_a_declaration_says_is_no_error(app: Away) -> None:
    channel = app.connection().channel()
    given: dict[str, Any] = {"durable": True, "arguments": {"x-max-priority": 9}, "nowait": True}
    assert channel.queue_declare("other", **given) == ("other", 0, 0)
    assert channel.queue_purge("other", nowait=True) == 0


def test_what_is_given_is_passed_on_and_else_made(app: Away) -> None:
    own: Any = object()
    with app.producer_or_acquire(own) as producer, app.connection_or_acquire(own) as connection:
        assert producer is connection is own
    with app.producer_or_acquire() as producer:
        assert app.tasks["t"].apply_async((1,), producer=producer).id
        assert producer.connection.connected
    with app.producer_pool.acquire() as producer, pytest.raises(Unroutable):
        producer.publish({})


def test_closing_the_pool_closes_what_the_app_has_open(app: Away) -> None:
    first = app.broker
    app.pool.force_close_all()
    assert app.broker is not first
