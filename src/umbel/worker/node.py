"""A node: what every worker has, whatever runs its tasks."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
from collections.abc import Iterator

from umbel import signals
from umbel.app import Umbel
from umbel.broadcasts import Listening, listening
from umbel.clock import unique_id
from umbel.exceptions import ImproperlyConfigured, UmbelError
from umbel.ports import Owner, StateStore
from umbel.worker import report
from umbel.worker.aftermath import is_news, tell_of
from umbel.worker.autoscale import Autoscaler, Bounds, keepalive
from umbel.worker.bootstrap import Orders
from umbel.worker.children import Nursery
from umbel.worker.completing import Chords
from umbel.worker.decide import Verdict
from umbel.worker.health import Health, judge
from umbel.worker.keeper import Keeper
from umbel.worker.namesakes import Namesakes
from umbel.worker.nodes import NodeDirectory, runtime_directory
from umbel.worker.page import Page
from umbel.worker.preload import values
from umbel.worker.probes import probes
from umbel.worker.recovery import Recovery
from umbel.worker.revocation_watch import RevocationWatch
from umbel.worker.settler import Settler
from umbel.worker.steps import Steps
from umbel.worker.stops import wait_for

logger = logging.getLogger("umbel.worker")


def _scaler(orders: Orders) -> Autoscaler | None:
    """Return what decides on the number of children, if that is not fixed."""
    if orders.most is None:
        return None
    return Autoscaler(Bounds(orders.most, orders.children), keepalive(), orders.slots or 1)


class Node:
    """What every node has, whatever runs its tasks.

    A place on its host, leases of its own, and a keeper.
    """

    def __init__(self, app: Umbel, orders: Orders, nursery: Nursery | None) -> None:
        self.app = app
        self.orders = orders
        scaler = _scaler(orders)  # first: it may refuse
        # Connections of the keeper's own: it must never wait for one that user code is using.
        self._engines = {
            url: app.new_engine(url) for url in {app.broker_url, app.result_url} if url
        }
        broker = self._engines[app.broker_url].broker
        if broker is None:
            raise ImproperlyConfigured(f"broker_url names no broker: {app.broker_url}")
        results = self._engines[app.result_url].results if app.result_url else None
        base = runtime_directory(app.show_url(app.broker_url))
        self.directory = NodeDirectory(base, orders.node, orders.hostname)
        self.directory.enter("")

        def attach() -> Settler:
            owner = Owner(unique_id(), orders.node, platform.node(), os.getpid())
            # Written down first: whoever finds this node dead finds all that it may hold.
            self.directory.enter(owner.id)
            consumer = broker.consumer(owner, app.conf.snapshot.worker_lease_ttl)
            return Settler(broker, consumer, results, Chords(app, results, plainly=True))

        self._recovery = recovery = Recovery(app, broker, attach, self._tell_of_lost)
        self.nursery = nursery
        self.keeper = Keeper(
            app,
            orders,
            broker,
            results,
            recovery,
            self.directory,
            nursery,
        )
        self.steps = Steps(app, orders.hostname, self.keeper.stop)
        #: Hears the keeper's news where the main thread runs tasks.
        self._listener: threading.Thread | None = None
        if scaler is not None and nursery is not None:
            self.keeper.scaling = (scaler, self._waiting)
        #: What a living node says again whenever it renews its leases.
        self._kept = [one for one in (self._listen(), self._namesakes()) if one is not None]
        self.keeper.on_renewal = self._say_again
        #: The pages of children in this very process.
        self.pages: list[Page] = []
        self._watch = self._watch_revocations()

    def _listen(self) -> Listening | None:
        queues = [self.app.amqp.queues[name] for name in self.orders.queues]
        ttl = self.app.conf.snapshot.worker_lease_ttl
        return listening(queues, self._state, self._engines[self.app.broker_url].queues, ttl)

    def _namesakes(self) -> Namesakes | None:
        """Return what notices others of the same name, where that takes no connection more."""
        engine = self._engines.get(self.app.engines.state_url or "")
        if engine is None or engine.state is None or not engine.features.shared:
            return None
        orders = self.orders
        return Namesakes(engine.state, orders.hostname, orders.node, self.app.clock)

    def _watch_revocations(self) -> RevocationWatch | None:
        """Return what hears of revocations: the keeper where its broker tells, else a thread beside it."""
        url = self.app.engines.state_url
        if url is None:
            return None
        tells = url == self.app.broker_url and self._engines[url].features.tells_revocations
        watch = RevocationWatch(
            self._state,
            lambda: [*self.keeper.pages(), *self.pages],
            self._engines[url].broker if tells else None,
        )
        if tells:
            self.keeper.on_look = watch.step  # just after it has asked what has expired
        else:
            watch.start()
        return watch

    def _say_again(self) -> None:
        for one in self._kept:
            one.renew()

    def _state(self) -> StateStore | None:
        url = self.app.engines.state_url
        if url is None:
            return self.app.engines.state_store()  # whose error says what to set
        if url not in self._engines:
            self._engines[url] = self.app.new_engine(url)
        return self._engines[url].state

    def _waiting(self) -> int:
        """Return how many messages wait for the node's children."""
        queues = self._engines[self.app.broker_url].queues
        depths = queues.depths() if queues is not None else {}
        return sum(depths[name].ready for name in self.orders.queues if name in depths)

    def set_up(self) -> None:
        """Say that the node is made, and about to start; make its bootsteps."""
        app, orders = self.app, self.orders
        namesakes = self.directory.namesakes()
        if namesakes:
            logger.warning(
                "Another worker on this host has the name %s, too: pid %s. Both take messages; but whoever"
                " asks for one by name may get the other, and files that are named after it are shared. Give"
                " each a name of its own: -n other@%%h.",
                orders.hostname,
                ", ".join(map(str, namesakes)),
            )
        signals.celeryd_after_setup.send(orders.hostname, instance=self, conf=app.conf)
        self.steps.make(
            {
                "concurrency": orders.concurrency,
                "loglevel": orders.loglevel,
                "logfile": orders.logfile,
                "pool_cls": orders.executor,
                **values(app, "worker", orders.source.options),
            }
        )

    def _tell_of_lost(self, verdict: Verdict) -> None:
        """Log what became of what a dead process held; called by the keeper."""
        report.lost(verdict)
        if is_news(verdict):
            self.keeper.news.failures.append(verdict)
            self.keeper.news.ring()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Have the keeper at work; however the block ends, children end with it in order."""
        self.keeper.start()
        try:
            yield
        finally:
            self.keeper.stop()
            self.wait()

    @contextlib.contextmanager
    def probed(self) -> Iterator[None]:
        """Answer probes in this block. Raises ImproperlyConfigured when they cannot be answered."""
        settings, clock = self.app.conf.snapshot, self.app.clock

        def ask() -> Health:
            return judge(self.keeper.seen, clock.monotonic(), settings.worker_unready_after)

        with probes(settings, self.orders.hostname, clock, ask):
            yield

    def wait_until_ready(self) -> bool:
        """Wait for the children; False when the node ends before they are ready."""
        while not self.keeper.is_ready and self._hear():
            pass
        return self.keeper.is_ready

    def wait(self) -> None:
        """Wait for the keeper's end."""
        if self._listener is not None:
            self._listener.join()
        else:
            while self._hear():
                pass
        self.keeper.join()

    def _hear(self) -> bool:
        """Wait for the keeper's next news, and heed them; False at its end."""
        wait_for(self.keeper.news.bell)
        return self._heed_news()

    def listen(self) -> None:
        """Let a thread heed the keeper's news: the main thread runs tasks."""

        def heed() -> None:
            while self._heed_news():
                pass

        self._listener = threading.Thread(target=heed, name="umbel-listener", daemon=True)
        self._listener.start()

    def _heed_news(self) -> bool:
        """Run the code of users that the keeper's news are for; False when there will be no more."""
        news = self.keeper.news
        more = news.heard()
        if self.keeper.stopping:
            self.steps.close()
        if news.renewed:
            news.renewed = False
            signals.heartbeat_sent.send(self)
        while news.failures:
            tell_of(news.failures.popleft())
        return more

    def say_ready(self) -> None:
        """Say that the node takes messages."""
        logger.info("%s ready.", self.orders.hostname)
        signals.worker_ready.send(self)

    def _let_go(self) -> None:
        """Give back what the node holds at servers, unless it has just waited for them in vain."""
        if self.keeper.is_cut_off:
            logger.warning("Leaving without the broker's answer; leases end by themselves.")
            return
        try:
            self._recovery.close()
            for one in self._kept:
                one.leave()
        except UmbelError as error:
            logger.warning("Leaving without the broker's answer. %s", error)

    def leave(self) -> None:
        """Give up the node's place; nothing of it is left behind."""
        if self.nursery is not None:
            self.nursery.close()
        self.keeper.close()
        if self._watch is not None:
            self._watch.end()
        self._let_go()
        self.directory.leave()
        for engine in self._engines.values():
            engine.close()
        signals.worker_shutdown.send(self)
