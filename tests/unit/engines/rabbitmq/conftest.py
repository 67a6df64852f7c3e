from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.rabbitmq_servers import shared_space
from umbel.engines.rabbitmq import RabbitEngine


@pytest.fixture
def engine() -> Iterator[RabbitEngine]:
    """An engine in an empty space of the server's."""
    with (
        shared_space() as (url, prefix),
        closing(RabbitEngine(url, {"queue_name_prefix": prefix})) as made,
    ):
        yield made
