"""Beats are killed, frozen, cut off, and die at each fail point: every due time is sent, and once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import postgres_servers, rabbitmq_servers
from tests.faults.beats import Beats, all_of
from tests.faults.conftest import MEASURED, Form
from tests.faults.fleet import wait_until
from tests.faults.proxy import Proxy
from tests.faults.scenes import SERVERS, at, on
from tests.redis_servers import private_server
from umbel.clock import SYSTEM

pytestmark = pytest.mark.faults

#: The engines that keep state, and a broker that keeps none beside a store that does.
RABBITMQ = pytest.param("rabbitmq", marks=pytest.mark.engine)
LONGER = pytest.mark.forms("short", "full")
QUICK_ON_A_FILE = pytest.mark.parametrize(
    "engine",
    [
        on("sqlite"),
        *(pytest.param(one, marks=(pytest.mark.engine, LONGER)) for one in (*SERVERS, "rabbitmq")),
    ],
)
#: Between sending and noting, where these are two steps.
APART = "beat.after_publish"
#: Seconds within which another beat takes over.
TAKE_OVER = 5.0


@contextmanager
def settings_of(engine: str, place: Path) -> Iterator[dict[str, Any]]:
    """Yield what beats on an engine are told: a file, a server of its own, or a broker and a file beside."""
    if engine == "sqlite":
        yield {"url": f"sqlite:///{place}/beats.db"}
    elif engine == "rabbitmq":
        with rabbitmq_servers.own_vhost() as url:
            yield {"url": url, "state_url": f"sqlite:///{place}/state.db", "worker": True}
    else:
        start = postgres_servers.private_server if engine == "postgres" else private_server
        with start(place) as server:
            yield {"url": server.url}


def check(beats: Beats) -> None:
    """Hold what was sent, or has run, against what was due."""
    assert beats.double() == {}
    assert beats.missing() == []
    assert len({run.id for run in beats.runs}) == len(beats.runs)


def tell(request: pytest.FixtureRequest, beats: Beats, taken: list[float]) -> None:
    """Keep the figures."""
    figures = {"trials": 1, "tasks": len(beats.runs), "faults": len(taken), "recoveries": taken}
    request.node.user_properties.append((MEASURED, figures))


@pytest.mark.alone
@QUICK_ON_A_FILE
def test_leaders_are_killed_and_frozen(
    place: Path, engine: str, form: Form, request: pytest.FixtureRequest
) -> None:
    """T1: the leader is killed or frozen every few seconds; 50 entries are due each second."""
    seconds = form.pick(0.0, 180.0)
    taken: list[float] = []
    with settings_of(engine, place) as settings, Beats(place, **settings) as beats:
        beats.start(*[""] * form.pick(3, 5))
        beats.wait_for(60)
        ends, frozen = SYSTEM.monotonic() + seconds, []
        while len(taken) < 2 or SYSTEM.monotonic() < ends:
            beats.start("")
            taken.append(beats.harm(signal.SIGKILL))
            beats.wait_for(60)
            frozen.append(beats.leader())
            taken.append(beats.freeze())
            beats.wait_for(100)
            # Those that sleep for longer miss more turns.
            if len(frozen) >= form.pick(1, 3):
                os.kill(frozen.pop(0), signal.SIGCONT)
                beats.wait_for(100)
        beats.stop()
        check(beats)
        tell(request, beats, taken)
    assert max(taken) <= TAKE_OVER


@QUICK_ON_A_FILE
def test_beats_die_at_each_fail_point(place: Path, engine: str, form: Form) -> None:
    """T3: between sending and noting, and on either side, all at once in projects of their own.

    Where the state is in another place than the messages, a run is sent first; of its copies one runs.
    """
    nth = form.dice.randint(2, 5)
    with settings_of(engine, place) as settings:
        projects = []
        for point in at("beat.", f"{engine}.change"):
            own: dict[str, Any] = dict(settings)
            if engine == "sqlite":
                own["url"] = f"sqlite:///{place / point}.db"
            if point == APART or engine == "rabbitmq":
                own |= {"state_url": f"sqlite:///{place / point}-state.db", "worker": True}
            own |= {"task_default_queue": point, "beat_name": point}
            projects.append(Beats(place / point, entries=5, every=0.5, **own))
        with all_of(*projects):
            doomed = [beats.start(f"{beats.directory.name}=kill@{nth}")[0] for beats in projects]
            for beats, process in zip(projects, doomed, strict=True):
                assert process.wait(30) == -signal.SIGKILL, beats.text()
                beats.start("")
            for beats, process in zip(projects, doomed, strict=True):
                wait_until(partial(_has_gone_on, beats, process.pid), 30.0, "another one to send")
                beats.stop()
                check(beats)


def _has_gone_on(beats: Beats, died: int) -> bool:
    return beats.sent_without(died) >= 10


# Networks and servers


class Network:
    """A way to each server of a beat, which is this beat's own."""

    def __init__(self, stack: ExitStack, form: Form, **urls: str) -> None:
        self.proxies = []
        self.through: dict[str, str] = {}
        for name, url in urls.items():
            before, here, after = url.rpartition("127.0.0.1:")
            port, slash, rest = after.partition("/")
            proxy = stack.enter_context(Proxy(int(port), form.dice))
            self.proxies.append(proxy)
            self.through[name] = f"{before}{here}{proxy.port}{slash}{rest}"

    def silence(self) -> None:
        for proxy in self.proxies:
            proxy.silence()

    def heal(self) -> None:
        for proxy in self.proxies:
            proxy.heal()

    def calm(self) -> None:
        for proxy in self.proxies:
            proxy.calm()


@pytest.mark.parametrize("engine", [*map(on, SERVERS), RABBITMQ])
@pytest.mark.forms("short", "full")
def test_networks_are_cut(
    place: Path, engine: str, form: Form, request: pytest.FixtureRequest
) -> None:
    """T1: the leader's network passes nothing on for a while; then connections of all are cut."""
    taken: list[float] = []
    with ExitStack() as stack:
        settings = stack.enter_context(settings_of(engine, place))
        urls = {"broker_url": settings["url"]}
        if engine == "rabbitmq":  # whose state is behind a network, too
            server = stack.enter_context(private_server(place))
            settings["state_url"] = urls["state_url"] = server.url
        beats = stack.enter_context(Beats(place, **settings))
        networks: dict[int, Network] = {}
        for _ in range(3):
            network = Network(stack, form, **urls)
            networks[beats.start_with(**network.through).pid] = network
        beats.wait_for(60)
        for _ in range(form.pick(1, 8)):
            leader = networks[beats.leader()]
            taken.append(beats.harmed_by(leader.silence))
            beats.wait_for(150)
            leader.heal()
            beats.wait_for(100)
        for _ in range(form.pick(20, 200)):
            for network in networks.values():
                form.dice.choice(network.proxies).harm()
            SYSTEM.sleep(0.1)
        for network in networks.values():
            network.calm()
        beats.wait_for(100)
        beats.stop()
        check(beats)
        tell(request, beats, taken)
    assert max(taken) <= TAKE_OVER


@pytest.mark.parametrize("engine", [on(name) for name in SERVERS])
@pytest.mark.forms("short", "full")
def test_the_server_is_away_when_entries_are_due(
    place: Path, engine: str, form: Form, request: pytest.FixtureRequest
) -> None:
    """T3: the server is killed and started again, with all that it had acknowledged, and frozen."""
    private = (
        postgres_servers.private_server(place)
        if engine == "postgres"
        else private_server(place, "--appendonly", "yes", "--appendfsync", "always")
    )
    # What a worker does with an answer that was lost is tested; who only takes messages would stop here.
    with private as server, Beats(place, server.url, worker=True) as beats:
        beats.start("", "", "")
        beats.wait_for(60)
        for _ in range(form.pick(1, 8)):
            server.stop()
            SYSTEM.sleep(form.dice.uniform(0.5, 6.0))
            server.start()
            beats.wait_for(100, 60.0)
            server.freeze()
            SYSTEM.sleep(form.dice.uniform(0.5, 10.0))
            server.thaw()
            beats.wait_for(100, 60.0)
        beats.stop()
        check(beats)
        tell(request, beats, [])
