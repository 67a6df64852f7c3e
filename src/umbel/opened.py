"""The engines behind an app's URLs: which URLs those are, and one open engine for each."""

from __future__ import annotations

import threading
from collections.abc import Callable

from umbel.engines import is_served, open_engine
from umbel.engines.forks import at_rest
from umbel.exceptions import ImproperlyConfigured
from umbel.location import shown_url
from umbel.ports import Broker, Engine, QueueAdmin, ResultStore
from umbel.settings import Settings
from umbel.settings.engines import engine_options
from umbel.waiting import stop_listening

__all__ = ["OpenEngines", "at_rest"]


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
        self._engines: dict[str, Engine] = {}
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
        options = engine_options(
            self._snapshot(), broker=url == self.broker_url, results=url == self.result_url
        )
        if url == self.result_url and not is_served(url):
            other = self._other_store(url)
            if other is not None:
                return other
        return open_engine(url, options)

    @property
    def broker(self) -> Broker:
        """The broker. Raises ImproperlyConfigured when the URL's engine cannot be one."""
        broker = self.engine(self.broker_url).broker
        if broker is None:
            raise ImproperlyConfigured(
                f"broker_url is {shown_url(self.broker_url)}, whose engine keeps results only. Set it to a"
                " broker, such as sqlite:////var/lib/shop/umbel.db."
            )
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

    def result_store(self) -> ResultStore:
        """Return the result store. Raises ImproperlyConfigured when results are not kept."""
        store = self.results
        if store is None:
            raise ImproperlyConfigured(f"Results are not kept: {self._why_no_results()}")
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

    def close(self) -> None:
        """Close all; what is used again is opened again."""
        with self._lock:
            for engine in self._engines.values():
                stop_listening(engine.results)
                engine.close()
            self._engines.clear()
