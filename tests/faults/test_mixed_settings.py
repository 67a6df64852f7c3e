"""Messages on one server, results and state on another: the safe order holds, though children die."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.rabbit_fleet import RabbitFleet
from tests.faults.scenes import send_some
from tests.postgres_servers import private_server as private_postgres
from tests.rabbitmq_servers import own_vhost
from tests.redis_servers import private_server as private_redis
from umbel.clock import SYSTEM

pytestmark = [pytest.mark.faults, pytest.mark.engine, pytest.mark.forms("short", "full")]


@contextmanager
def store(name: str, place: Path) -> Iterator[str]:
    """Start what keeps results and state; give its URL."""
    if name == "redis":
        with private_redis(place) as redis:
            yield f"redis://127.0.0.1:{redis.port}/0"
    else:
        with private_postgres(place) as postgres:
            yield postgres.url


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_children_die_beside_rabbitmq(place: Path, form: Form, settle: Settle, name: str) -> None:
    with own_vhost() as broker, store(name, place) as url:
        at = {"result_backend": url, "state_url": url}
        with RabbitFleet(place, broker, **at) as fleet:
            (node,) = fleet.start("one")
            for _ in range(form.pick(3, 50)):
                send_some(fleet, form.dice)
                SYSTEM.sleep(form.dice.uniform(0.05, 0.2))
                if children := node.children():
                    node.kill_child(form.dice.choice(children))
            fleet.wait_until_quiet(60.0)
            settle(fleet)
            fleet.empty()
