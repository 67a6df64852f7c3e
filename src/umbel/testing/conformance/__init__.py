"""The contract of the ports as tests, for any engine: ours, and those of other packages.

Each sentence of the docstrings in `umbel.ports` is a test here. To run them against an engine, write a
test module that provides the fixture ``engine_factory`` and names the contracts that apply::

    import pytest
    from umbel.testing import conformance

    @pytest.fixture
    def engine_factory(tmp_path):
        with conformance.factory(lambda: MyEngine(f"mine:///{tmp_path}", {})) as make:
            yield make

    class TestBroker(conformance.BrokerContract): pass
    class TestConsumer(conformance.ConsumerContract): pass

``engine_factory()`` returns a new engine object at each call, as another process would open it, on a
storage that is empty when the test begins. What the engine does not offer, by `Engine.features` or by
a port that is None, is skipped. No test sleeps; those that wait have deadlines that a slow machine keeps.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in (
            "broadcast",
            "broker",
            "consumer",
            "forks",
            "groups",
            "leases",
            "queues",
            "results",
            "revocations",
            "settle",
            "state",
        )
    )
)

from umbel.testing.conformance.broadcast import BroadcastContract  # noqa: E402 - asserts first
from umbel.testing.conformance.broker import BrokerContract  # noqa: E402
from umbel.testing.conformance.consumer import ConsumerContract  # noqa: E402
from umbel.testing.conformance.forks import ForkContract  # noqa: E402
from umbel.testing.conformance.groups import GroupContract  # noqa: E402
from umbel.testing.conformance.leases import LeaseContract  # noqa: E402
from umbel.testing.conformance.queues import QueueAdminContract  # noqa: E402
from umbel.testing.conformance.results import (  # noqa: E402
    ResultStoreContract,
    ResultSubscriptionContract,
)
from umbel.testing.conformance.revocations import RevocationsContract  # noqa: E402
from umbel.testing.conformance.settle import SettleContract  # noqa: E402
from umbel.testing.conformance.state import StateStoreContract  # noqa: E402
from umbel.testing.conformance.support import EngineFactory, factory  # noqa: E402

__all__ = [
    "BrokerContract",
    "ConsumerContract",
    "SettleContract",
    "LeaseContract",
    "ForkContract",
    "QueueAdminContract",
    "ResultStoreContract",
    "ResultSubscriptionContract",
    "GroupContract",
    "StateStoreContract",
    "RevocationsContract",
    "BroadcastContract",
    "EngineFactory",
    "factory",
]
