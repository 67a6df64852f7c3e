"""`ResultSet`: several results as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing
from typing import Any, cast

from umbel import states
from umbel.absent import tell_of_absent
from umbel.backend import Backend, ResultBase, Source
from umbel.current import get_current_app
from umbel.progress import Progress
from umbel.records import ResultRecord
from umbel.result.asyncresult import AsyncResult
from umbel.result.ending import call_back
from umbel.result.gathering import Leaf, Members, aarriving, arriving, in_turn, look
from umbel.result.graph import leading_to
from umbel.result.joining import assert_will_not_block
from umbel.result_backend import Meta
from umbel.waiting import News, Patience, hub_of

Callback = Callable[[Any, Any], object]
#: A member with the value that `get` returns for it.
Gathered = tuple[Any, Any]


@tell_of_absent
class ResultSet(ResultBase):
    """Several results, which may be sets themselves. ``get()`` waits for all of them."""

    parent: ResultBase | None = None
    #: One subscription hears of all members.
    supports_native_join = True

    def __init__(
        self, results: Iterable[Any] | None = None, app: Source | None = None, **kwargs: Any
    ) -> None:
        """Make a set of results; other arguments are there for Celery's sake and change nothing.

        Raises TypeError for what is no result.
        """
        self.results: list[Any] = results if isinstance(results, list) else list(results or ())
        _require_results(self.results)
        self._app = app

    @property
    def app(self) -> Source:
        """The app that knows the result store."""
        if self._app is None and self.results:
            return cast(Source, self.results[0].app)
        return self._app or get_current_app()

    @app.setter
    def app(self, app: Source) -> None:
        self._app = app

    @property
    def backend(self) -> Backend:
        """Where results are read from."""
        return self.app.backend

    # Members

    def add(self, result: Any) -> None:
        """Add a result, unless it is there. Raises TypeError for what is none."""
        if result not in self.results:
            _require_results([result])
            self.results.append(result)

    def remove(self, result: Any) -> None:
        """Remove a result, or the one of an id. Raises KeyError if it is not there."""
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        """Remove a result if it is there."""
        if result in self.results:
            self.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Add results, unless they are there. Raises TypeError for what is none."""
        new = [one for one in results if one not in self.results]
        _require_results(new)
        self.results.extend(new)

    def clear(self) -> None:
        """Remove all results."""
        self.results.clear()

    def _leaves(self) -> list[Leaf]:
        """Return the results of calls, those of sets among the members too."""
        return [leaf for member in self.results for leaf in member._leaves()]

    # What is known

    def _members(self, test: Callable[[Leaf, str], bool]) -> Iterator[bool]:
        """Tell of each member whether a test holds of all its results; they are read in one call."""
        found = look(self.backend, self._leaves())
        return (all(test(leaf, found[leaf]) for leaf in one._leaves()) for one in self.results)

    def ready(self) -> bool:
        """Tell whether all have ended."""
        return all(self._members(_is_ready))

    def waiting(self) -> bool:
        """Tell whether any has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Tell whether all have ended well."""
        return all(self._members(_is_successful))

    def failed(self) -> bool:
        """Tell whether any has failed."""
        return states.FAILURE in look(self.backend, self._leaves()).values()

    def _failed_join_report(self) -> Iterator[Leaf]:
        """Yield the results of calls that have failed; result backends ask why a chord cannot go on."""
        leaves = self._leaves()
        found = look(self.backend, leaves)
        return (leaf for leaf in leaves if found[leaf] in states.PROPAGATE_STATES)

    def completed_count(self) -> int:
        """Return how many have ended well."""
        return sum(self._members(_is_successful))

    @property
    def progress(self) -> Progress:
        """How many of the calls have ended, well or not, of how many."""
        leaves = self._leaves()
        found = look(self.backend, leaves)
        ended = sum(_is_ready(leaf, found[leaf]) for leaf in leaves)
        return Progress(ended, len(leaves))

    async def aprogress(self) -> Progress:
        """Return `progress` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.progress)

    def maybe_throw(self, callback: Callback | None = None, propagate: bool = True) -> None:
        """Raise the exception of the first that has failed; call `callback` with id and value of others."""
        look(self.backend, self._leaves())
        for member in self.results:
            member.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    # Waiting

    def get(  # noqa: PLR0913, PLR0917 - Celery's signature
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> Any:
        """Wait for all and return their values, in order; raise the first exception that comes.

        With a `callback`, which is called with id and value of each as it comes, returns None. The other
        arguments are those of `AsyncResult.get`.
        """
        gathered = self._gathered(
            Patience(self.app.clock, timeout, interval, on_interval),
            propagate,
            on_message,
            disable_sync_subtasks,
        )
        if callback is not None:
            for member, value in gathered:
                callback(getattr(member, "id", None), value)
            return None
        return self._in_order(gathered)

    def join_native(  # noqa: PLR0913, PLR0917 - Celery's signature
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """Wait like `get`, to which it is another name."""
        return self.get(
            timeout,
            propagate,
            interval,
            callback,
            on_message=on_message,
            on_interval=on_interval,
            disable_sync_subtasks=disable_sync_subtasks,
        )

    def join(  # noqa: PLR0913, PLR0917 - Celery's signature
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], object] | None = None,
    ) -> list[Any]:
        """Wait like `get`. With a `callback`, which is called in order as they come, returns []."""
        gathered = self._gathered(
            Patience(self.app.clock, timeout, interval, on_interval),
            propagate,
            on_message,
            disable_sync_subtasks,
        )
        if callback is None:
            return self._in_order(gathered)
        for member, value in in_turn(self.results, gathered):
            callback(getattr(member, "id", None), value)
        return []

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield the id of each as it ends, with its meta; that of a set, or None, with its results."""
        patience = Patience(self.app.clock, timeout, interval, on_interval)
        for member in self._ending(patience, {}, on_message):
            found = member._meta if isinstance(member, AsyncResult) else member.results
            yield getattr(member, "id", None), found

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> list[Any]:
        """Wait for all like `get`, without blocking the event loop."""
        assert_will_not_block()
        parents = self._parents() if propagate else {}
        async with aclosing(aarriving(self.backend, self._leaves(), parents, timeout)) as leaves:
            async for leaf in leaves:
                leaf._outcome(propagate)
        return self._outcome(propagate)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.aget().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield members as they end, well or not; sets when all their results have.

        ``async for result in group(...).delay(): await result`` has no more to wait for.
        """
        assert_will_not_block()
        members = Members(self.results)
        for member in members.empty:
            yield member
        async with aclosing(aarriving(self.backend, self._leaves(), {}, None)) as leaves:
            async for leaf in leaves:
                for member in members.ended(leaf):
                    yield member

    def _gathered(
        self,
        patience: Patience,
        propagate: bool,
        on_message: Callable[[Meta], object] | None,
        disable_sync_subtasks: bool,
    ) -> Iterator[Gathered]:
        """Yield members as they end, with their values; raise the first exception if `propagate`."""
        if disable_sync_subtasks:
            assert_will_not_block()
        parents = self._parents() if propagate else {}
        for member in self._ending(patience, parents, on_message, propagate):
            yield member, member._outcome(propagate)

    def _ending(
        self,
        patience: Patience,
        parents: dict[str, Leaf],
        on_message: Callable[[Meta], object] | None,
        propagate: bool = False,
    ) -> Iterator[Any]:
        """Yield members as they end; sets when all their results have, if they do not raise before."""
        members = Members(self.results)
        yield from members.empty
        for leaf in arriving(self.backend, self._leaves(), parents, patience, on_message):
            if propagate:
                leaf._outcome(propagate)
            yield from members.ended(leaf)

    def _in_order(self, gathered: Iterator[Gathered]) -> list[Any]:
        values = {id(member): value for member, value in gathered}
        return [values[id(member)] for member in self.results]

    def _outcome(self, propagate: bool) -> list[Any]:
        """Return the values of all, which have ended, or raise the first exception if `propagate`."""
        return [member._outcome(propagate) for member in self.results]

    def _parents(self) -> dict[str, Leaf]:
        """Return those before the members, and before the set, that have not ended well."""
        waiting = [leaf for leaf in self._leaves() if not leaf._is_known]
        found: dict[str, Leaf] = {}
        node = self.parent if waiting else None
        while node is not None:
            own = {str(one.id): one for one in node._leaves() if not _is_over(one)}
            found, node = {**own, **found}, node.parent
        for leaf in waiting:
            found.update(leaf._parents())
        return found

    def then(
        self,
        callback: Callable[[Any], object],
        on_error: Callable[[Exception], object] | None = None,
        weak: bool = False,
    ) -> Any:
        """Call `callback` with this set when all have ended, well or not; return the set.

        As with `AsyncResult.then`, what it calls must not wait for other results. `weak` is there for
        Celery's sake and changes nothing.
        """
        left = {str(leaf.id): leaf for leaf in self._leaves() if not leaf._is_known}
        if not left:
            call_back(self, callback, on_error, None)
            return self

        def listener(news: News) -> None:
            if not left or (isinstance(news, ResultRecord) and not news.ready):
                return
            if isinstance(news, ResultRecord):
                leaf = left.pop(news.task_id, None)
                if leaf is not None:
                    leaf._noted(news)
            else:
                left.clear()  # it is told once, not for each that was waited for
            if not left:
                call_back(self, callback, on_error, news)

        hub_of(self.backend.store).add(list(left), listener)
        return self

    # Ending it

    def forget(self) -> None:
        """Delete the stored results, and those of all that was before them."""
        found = leading_to(self)
        for result in found:
            result._unknow()
        self.backend.forget_many({str(result.id): None for result in found})

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Let none of the calls run any more, as `AsyncResult.revoke`, by one step."""
        ids = [str(leaf.id) for leaf in self._leaves()]
        self.app.control.revoke(ids, terminate=terminate, signal=signal)

    # Identity

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return bool(other.results == self.results)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as with any collection that can change

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {shown(self.results)}>"


def shown(members: Iterable[Any]) -> str:
    """Return the ids of results as text; those of a set that has none are shown in its place."""
    return f"[{', '.join(str(getattr(one, 'id', one)) for one in members)}]"


def _require_results(members: Iterable[Any]) -> None:
    for one in members:
        if not isinstance(one, ResultBase):
            raise TypeError(
                f"A set of results was given {one!r}, which is none. Of a call whose id is known,"
                " app.AsyncResult(id) is its result."
            )


def _is_ready(leaf: Leaf, state: str) -> bool:
    return leaf._is_known or state in states.READY_STATES


def _is_over(leaf: Leaf) -> bool:
    """Tell whether a call is known here to have ended well."""
    return leaf._done is not None and leaf._done.state == states.SUCCESS


def _is_successful(leaf: Leaf, state: str) -> bool:
    return state == states.SUCCESS
