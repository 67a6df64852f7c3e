"""Waiting for results: one subscription for each store and process, however many wait.

Whoever waits leaves a listener for a task's id, from any thread or event loop. One of them *drives*:
it receives for all and hands on. A thread that waits with nobody beside it drives by itself, so that
a plain ``get()`` needs no other thread. Else a thread of our own does, which ends `LINGER` seconds
after the last one who waited.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import weakref
from collections.abc import Callable, Collection, Generator
from math import inf
from time import monotonic

from umbel.checks import require_patience
from umbel.clock import Clock
from umbel.parents import Parents, listened
from umbel.ports import ResultStore, ResultSubscription
from umbel.records import ResultRecord
from umbel.values import value

logger = logging.getLogger("umbel.results")

#: What was stored for a task, or why nobody can tell.
News = ResultRecord | Exception
#: Hears of one task until its record is final, or an error came. Called by who drives, whom it must not
#: keep: it passes on, and does not raise.
Listener = Callable[[News], None]

#: Seconds that the thread stays when nobody waits: who awaits one result after the other finds it.
LINGER = 1.0
#: Seconds of one wait of the subscription, which an interrupt ends.
STEP = 60.0
#: Seconds of one wait of who waits: more than any lock can be waited for would be an error.
LONGEST = 3600.0


class OutOfPatience(Exception):
    """What was waited for did not come in time."""


class Hub:
    """Who waits for what of one store, and who drives: takes what comes and hands it on."""

    def __init__(self, store: ResultStore) -> None:
        self._store = weakref.ref(store)
        self._subscription: ResultSubscription | None = None
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, list[Listener]] = {}
        #: What the subscription does not know yet: ids to listen for (True) or no longer (False).
        self._changes: dict[str, bool] = {}
        #: Which thread drives.
        self._driver: int | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def busy(self) -> bool:
        """True while somebody waits."""
        return bool(self._listeners)

    def add(self, task_ids: Collection[str], listener: Listener, drives: bool = False) -> None:
        """Let a listener hear of tasks: of what is stored already, and of what will be.

        With `drives` its thread will call `next_news`, so that it needs no other.
        """
        with self._lock:
            known = bool(self._changes)
            for task_id in task_ids:
                listeners = self._listeners.setdefault(task_id, [])
                listeners.append(listener)
                if len(listeners) == 1:
                    self._changes[task_id] = True
            if self._driver is not None:
                if not known:
                    self._tell()
            elif not drives:
                self._start()

    def remove(self, task_ids: Collection[str], listener: Listener) -> None:
        """Forget a listener; one that was told all there is has gone by itself."""
        with self._lock:
            for task_id in task_ids:
                listeners = self._listeners.get(task_id, [])
                if listener in listeners:
                    listeners.remove(listener)
                    if not listeners:
                        del self._listeners[task_id]
                        self._changes[task_id] = False
            if not self._changes:
                return
            drives = self._driver is None
            if drives:
                self._driver = threading.get_ident()
            else:
                self._tell()
        if drives:
            self._drive(listener, None, 0.0, None)

    def next_news(
        self, news: queue.SimpleQueue[News], timeout: float, patience: float | None = None
    ) -> News:
        """Return what comes first for a listener that puts it there. Raises `queue.Empty` in the end.

        `patience` is how long who waits would wait for the store itself.
        """
        with self._lock:
            drives = self._driver is None
            if drives:
                self._driver = threading.get_ident()
        if not drives:
            return news.get(timeout=timeout)
        self._drive(news.put, news, timeout, patience)
        return news.get_nowait()

    def is_own_thread(self) -> bool:
        """Tell whether the caller is called by the hub, and would keep it."""
        return threading.get_ident() == self._driver

    def close(self) -> None:
        """End thread and subscription, unless somebody waits."""
        with self._lock:
            self._closing = True
            thread = self._thread
            idle = self._driver is None and not self._listeners
            if not idle:
                self._tell()
        if idle:
            self._disconnect()
        elif thread is not None and not self.busy and not self.is_own_thread():
            thread.join(LINGER)

    def _tell(self) -> None:
        """Make the driver take up changes; the lock is held by the caller."""
        if self._driver is not None and self._subscription is not None:
            self._subscription.interrupt()

    def _start(self) -> None:
        """Start a thread that drives; the lock is held by the caller."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="umbel-results", daemon=True)
        self._thread.start()
        self._driver = self._thread.ident

    def _run(self) -> None:
        """Drive until nobody has waited for a while."""
        idle = False
        while True:
            with self._lock:
                if not (self._listeners or self._changes) and (idle or self._closing):
                    closing, self._driver, self._thread = self._closing, None, None
                    break
                waiting = bool(self._listeners)
            happened = self._turn(monotonic() + (STEP if waiting else LINGER))
            idle = self._subscription is None or not (happened or waiting)
        if closing:
            self._disconnect()

    def _drive(
        self,
        listener: Listener,
        news: queue.SimpleQueue[News] | None,
        timeout: float,
        patience: float | None,
    ) -> None:
        """Drive in the thread of a waiter, until its `news` has some or time is up, and leave it to others.

        Whatever interrupts it, such as Ctrl-C, may have lost what had just been received: begin anew.
        """
        deadline = monotonic() + timeout
        try:
            while news is None or news.empty():
                now = monotonic()
                self._turn(min(deadline, now + STEP), patience, listener)
                if now >= deadline:
                    break
        except BaseException:
            self._disconnect()
            raise
        finally:
            with self._lock:
                self._driver = None
                if self._subscription is None:
                    self._changes = dict.fromkeys(self._listeners, True)
                if self._changes or (self._listeners and self._is_wanted_by_others(listener)):
                    self._start()

    def _is_wanted_by_others(self, listener: Listener | None) -> bool:
        """Tell whether any other one listens; the lock is held by the caller."""
        for several in self._listeners.values():
            for one in several:
                if one != listener:
                    return True
        return False

    def _turn(
        self, until: float, patience: float | None = None, listener: Listener | None = None
    ) -> bool:
        """Take up changes, and hand on what comes. What fails is told to all who wait.

        The store may take so long as a `listener` has `patience` if there is no other one.
        """
        try:
            # First, so that whoever adds to the changes from here on has something to interrupt.
            subscription = self._subscription or self._connected()
            with self._lock:
                changes, self._changes = self._changes, {}
                if self._closing and not self._listeners:
                    until = 0.0
                if patience is not None and self._is_wanted_by_others(listener):
                    patience = None
            new = list(changes)
            if not all(changes.values()):
                new = [task_id for task_id, wanted in changes.items() if wanted]
                subscription.discard([task_id for task_id, wanted in changes.items() if not wanted])
            if new:
                subscription.add(new, patience)
            news = subscription.receive(max(until - monotonic(), 0.0))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait
            self._disconnect()
            self._fail(error)
            return True
        self._hand_on(news)
        return bool(changes or news)

    def _connected(self) -> ResultSubscription:
        if self._subscription is None:
            store = self._store()
            if store is None:  # whoever waits has it, so nobody does
                raise RuntimeError("The result store is gone.")
            self._subscription = store.subscribe()
        return self._subscription

    def _disconnect(self) -> None:
        with self._lock:  # nobody interrupts what was closed
            subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(Exception):  # it is of no use any more, whatever became of it
                subscription.close()

    def _hand_on(self, news: dict[str, ResultRecord]) -> None:
        for task_id, record in news.items():
            with self._lock:
                if record.ready:
                    listeners = self._listeners.pop(task_id, [])
                    self._changes.pop(task_id, None)
                else:
                    listeners = list(self._listeners.get(task_id, ()))
            _call(listeners, record)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            listeners = [one for several in self._listeners.values() for one in several]
            self._listeners.clear()
            self._changes.clear()
        _call(listeners, error)

    def forked(self) -> None:
        """Begin anew in the child of a fork: those who wait are the parent's."""
        self._begin()
        self._disconnect()

    def __del__(self) -> None:
        """Let go of the subscription when the store is gone."""
        self._disconnect()


def _call(listeners: Collection[Listener], news: News) -> None:
    for listener in listeners:
        try:
            listener(news)
        except Exception:  # others wait too
            logger.exception("A listener for results failed.")


_hubs: weakref.WeakKeyDictionary[ResultStore, Hub] = weakref.WeakKeyDictionary()
_hubs_lock = threading.Lock()


def hub_of(store: ResultStore) -> Hub:
    """Return the hub of a store, one for the whole process."""
    found = _hubs.get(store)
    if found is None:
        with _hubs_lock:
            found = _hubs.get(store)
            if found is None:
                found = _hubs[store] = Hub(store)
    return found


def stop_listening(store: ResultStore | None) -> None:
    """End a store's thread, if it has one and nobody waits."""
    hub = None if store is None else _hubs.get(store)
    if hub is not None:
        hub.close()


@value
class Patience:
    """How long to wait, in seconds (None: for ever), and what to call meanwhile how often.

    Who waits for what was `just_sent` listens at once: it is not there yet. Else a look may save that.
    """

    clock: Clock
    timeout: float | None = None
    interval: float = 0.5
    on_interval: Callable[[], object] | None = None
    just_sent: bool = False

    def __post_init__(self) -> None:
        """Check the timeout, which whoever waits gives."""
        if self.timeout is not None:
            require_patience(self.timeout)


def watch(
    store: ResultStore,
    task_ids: Collection[str],
    patience: Patience,
    parents: Collection[str] = (),
) -> Generator[ResultRecord, None, None]:
    """Yield what is stored for tasks, and then what will be.

    What is there comes in the order given. That of one of the `parents` comes first, at least when it has
    failed; where they are many, a second later perhaps (`Parents`). Raises OutOfPatience in the end,
    OperationalError when the store fails, and whatever ``on_interval`` raises. Close it to wait no longer.
    """
    timeout, now = patience.timeout, patience.clock.monotonic
    deadline = inf if timeout is None else now() + timeout
    over = timeout is not None and timeout <= 0
    hub = hub_of(store)
    task_ids, looked_at = listened(task_ids, parents) if parents else (task_ids, ())
    before = Parents(store, parents, now, heard=not looked_at) if parents else None
    said: dict[str, ResultRecord] = {}
    if over or not (patience.just_sent or (hub.busy and not looked_at)):
        # Else the hub looks when it listens, for all who come at the same time at once.
        said = store.get([*looked_at, *task_ids], None if over else timeout)
        found = (said[one] for one in task_ids if one in said)
        yield from found if before is None else before.and_what_is_there(said, task_ids)
        task_ids = [one for one in task_ids if one not in said or not said[one].ready]
    if not task_ids:
        return
    if over:
        raise OutOfPatience
    if hub.is_own_thread():
        raise RuntimeError(
            "A callback given to `then` must not wait for other results: the thread that it runs in brings"
            " them. Give those a callback too."
        )
    news: queue.SimpleQueue[News] = queue.SimpleQueue()
    hub.add(task_ids, news.put, drives=True)
    try:
        while True:
            record = _next_of(hub, news, patience, deadline, before)
            if isinstance(record, Exception):
                raise record.with_traceback(None)
            failed = None if before is None else before.cause_of(record)
            if failed is not None:
                yield failed
            if not (said and record.says_the_same_as(said.get(record.task_id))):
                yield record
    finally:
        hub.remove(task_ids, news.put)


def _next_of(
    hub: Hub,
    news: queue.SimpleQueue[News],
    patience: Patience,
    deadline: float,
    parents: Parents | None,
) -> News:
    """Return what comes next; raise OutOfPatience when nothing does."""
    now, on_interval = patience.clock.monotonic, patience.on_interval
    call_at = inf if on_interval is None else now() + patience.interval
    while True:
        moment = now()
        due = None if parents is None else parents.due
        look_at = inf if due is None else due
        wait = min(deadline, call_at, look_at, moment + LONGEST) - moment
        left = None if deadline == inf else max(deadline - moment, 0.0)
        try:
            return hub.next_news(news, max(wait, 0.0), left)
        except queue.Empty:
            if now() >= deadline:
                raise OutOfPatience from None
        if on_interval is not None and now() >= call_at:
            on_interval()
            call_at = now() + patience.interval
        if parents is not None and now() >= look_at and (failed := parents.look()):
            return failed


def _after_fork_in_child() -> None:
    global _hubs_lock  # noqa: PLW0603 - another thread of the parent may have held it
    _hubs_lock = threading.Lock()
    for hub in list(_hubs.values()):
        hub.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
