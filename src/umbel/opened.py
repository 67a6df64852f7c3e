"""The engines behind an app's URLs: which URLs those are, and one open engine for each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from umbel.amqp import AMQP
from umbel.engines import is_served, open_engine
from umbel.engines.forks import at_rest
from umbel.entities import Queue
from umbel.exceptions import ImproperlyConfigured
from umbel.location import shown_url
from umbel.ports import Broker, Engine, QueueAdmin, ResultStore, StateStore
from umbel.settings import Settings
from umbel.settings.engines import engine_options
from umbel.waiting import stop_listening

__all__ = ["OpenEngines", "at_rest"]


#: What names results that are sent to who asked, through the broker.
REPLIES = ("rpc://", "rpc")


class OpenEngines:
    """The engines of an app, by its present settings.

    `default_url` returns the URL that stands for both broker and result store where nothing is set,
    `other_store` what keeps results where no engine serves ``result_backend``.
    """

    def __init__(
        self,
        snapshot: Callable[[], Settings],
        default_url: Callable[[], str],
        other_store: Callable[[str], Engine | None] = lambda url: None,
    ) -> None:
        self._snapshot = snapshot
        self._default_url = default_url
        self._other_store = other_store
        #: What declares the app's queues, for brokers that have to be told of them.
        self.amqp: AMQP | None = None
        self._engines: dict[str, Engine] = {}
        #: Broker and result store, and the settings by which they are that: every call asks for both.
        self._broker: tuple[Settings, Broker] | None = None
        self._results: tuple[Settings, ResultStore] | None = None
        self._lock = threading.RLock()

    @property
    def broker_url(self) -> str:
        """The broker's URL: the setting, else the default one."""
        return self._snapshot().broker_url or self._default_url()

    @property
    def result_url(self) -> str | None:
        """The result store's URL; None when there are no results."""
        settings = self._snapshot()
        if settings.result_backend is not None:
            disabled = settings.result_backend.startswith("disabled")
            return None if disabled else settings.result_backend
        return self._default_url() if settings.broker_url is None else None

    def engine(self, url: str) -> Engine:
        """Return the engine of a URL, opened once."""
        found = self._engines.get(url)
        if found is None:
            with self._lock:
                found = self._engines.get(url)
                if found is None:
                    found = self._engines[url] = self.new_engine(url)
        return found

    def new_engine(self, url: str) -> Engine:
        """Return an engine with connections of its own, for whoever must not wait for the others."""
        if url in REPLIES:
            return self._replying()
        options = engine_options(
            self._snapshot(), broker=url == self.broker_url, results=url == self.result_url
        )
        if url == self.result_url and not is_served(url):
            other = self._other_store(url)
            if other is not None:
                return other
        self._declare(options)
        return open_engine(url, options)

    def _declare(self, options: dict[str, Any]) -> None:
        """Let an engine ask how queues are declared."""
        amqp = self.amqp
        if amqp is None:
            return

        def declared(name: str) -> Queue:
            return amqp.queues.as_declared(name)  # those of now: settings may change

        options["declared_queue"] = declared
        options["queue_names"] = lambda: tuple(amqp.queues)

    def _replying(self) -> Engine:
        """Return the engine of the broker, with results that are sent to who asked for them."""
        settings = self._snapshot()
        options = engine_options(settings, broker=True, results=True)
        options["replies"] = True
        self._declare(options)
        engine = open_engine(self.broker_url, options)
        if engine.results is None or engine.results.reply_to is None:
            raise ImproperlyConfigured(
                f"result_backend is {settings.result_backend!r}, which answers through RabbitMQ, but"
                f" broker_url is {shown_url(self.broker_url)}. Set result_backend to a store of its own."
            )
        return engine

    @property
    def broker(self) -> Broker:
        """The broker. Raises ImproperlyConfigured when the URL's engine cannot be one."""
        return self.broker_by(self._snapshot())

    def broker_by(self, settings: Settings) -> Broker:
        """Return the broker by the present settings, for who has read them already."""
        known = self._broker
        if known is not None and known[0] is settings:
            return known[1]
        url = settings.broker_url or self._default_url()
        broker = self.engine(url).broker
        if broker is None:
            raise ImproperlyConfigured(
                f"broker_url is {shown_url(url)}, whose engine keeps results only. Set it to a"
                " broker, such as sqlite:////var/lib/shop/umbel.db."
            )
        if settings.broker_url:  # else where the default one is may change, too
            self._broker = settings, broker
        return broker

    @property
    def queues(self) -> QueueAdmin:
        """The queue administration of the broker. Raises ImproperlyConfigured when it has none."""
        queues = self.engine(self.broker_url).queues
        if queues is None:
            raise ImproperlyConfigured(
                f"The broker at {shown_url(self.broker_url)} does not let anyone look into its queues."
            )
        return queues

    @property
    def results(self) -> ResultStore | None:
        """The result store, or None when there is none."""
        url = self.result_url
        return None if url is None else self.engine(url).results

    @property
    def reply_to(self) -> str | None:
        """Where results of calls of this process go, if their messages have to say it."""
        url = self._snapshot().result_backend
        if url not in REPLIES:
            return None
        results = self.engine(url).results
        return None if results is None else results.reply_to

    def result_store(self) -> ResultStore:
        """Return the result store. Raises ImproperlyConfigured when results are not kept."""
        settings, known = self._snapshot(), self._results
        if known is not None and known[0] is settings:
            return known[1]
        store = self.results
        if store is None:
            raise ImproperlyConfigured(f"Results are not kept: {self._why_no_results()}")
        if settings.result_backend:  # else where the default one is may change
            self._results = settings, store
        return store

    def _why_no_results(self) -> str:
        url, given = self.result_url, self._snapshot().result_backend
        if url is not None:
            return f"the engine of result_backend, {shown_url(url)}, keeps none. Set it to another one."
        if given is not None:
            return f"result_backend is {given!r}. Set it to a URL, for example to the one of broker_url."
        return (
            "broker_url is set and result_backend is not. Set result_backend, for example to the same URL as"
            " broker_url."
        )

    @property
    def state_url(self) -> str | None:
        """The state store's URL: the setting, else the broker's, else the result store's; None for none."""
        given = self._snapshot().state_url
        if given is not None:
            return given
        for url in filter(None, (self.broker_url, self.result_url)):
            if self.engine(url).state is not None:
                return url
        return None

    def state_store(self) -> StateStore:
        """Return the state store. Raises ImproperlyConfigured when there is none."""
        url = self.state_url
        state = None if url is None else self.engine(url).state
        if state is None:
            raise ImproperlyConfigured(
                f"There is no state store: {shown_url(url or self.broker_url)} keeps no state that processes"
                " agree on. Set state_url, for example to redis://localhost/0 or sqlite:////var/lib/shop.db."
            )
        return state

    def close(self) -> None:
        """Close all; what is used again is opened again."""
        with self._lock:
            for engine in self._engines.values():
                stop_listening(engine.results)
                engine.close()
            self._engines.clear()
            self._broker = self._results = None
